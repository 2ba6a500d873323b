"""Finding the files of a manifest under other spellings, and in the folders where they may be."""

import unicodedata
from pathlib import Path

import pytest

from harness.data.filenames import find_files

FOLDERS = ["", "Images/train", "train", "Images"]


def touch(home: Path, *files: str) -> None:
    for file in files:
        (home / file).parent.mkdir(parents=True, exist_ok=True)
        (home / file).touch()


@pytest.mark.parametrize("first", ["gone.png", "", "x" * 300, "nul\0.png", "/nowhere/a.png", "C:\\photos\\a.png", ".."])
def test_a_missing_file_does_not_decide_the_folder(tmp_path: Path, first: str) -> None:
    touch(tmp_path, *(f"Images/train/{i}.png" for i in range(1, 20)))
    files, notes = find_files(tmp_path, [first, *(f"{i}.png" for i in range(1, 20))], FOLDERS)
    assert files == [files[0], *(f"Images/train/{i}.png" for i in range(1, 20))]
    assert files[0] in (first, f"Images/train/{first}") and notes == []


def test_the_folder_with_most_files_is_taken_and_the_first_of_equals(tmp_path: Path) -> None:
    touch(tmp_path, "0.png", "train/0.png", "train/1.png", "Images/0.png", "Images/1.png")
    assert find_files(tmp_path, ["0.png", "1.png", "2.png"], FOLDERS)[0] == [
        "train/0.png",
        "train/1.png",
        "train/2.png",
    ]
    assert find_files(tmp_path, ["0.png", "gone.png"], FOLDERS)[0] == ["0.png", "gone.png"]


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        ("cat\\000.png", "cat/000.png"),
        (".\\cat\\000.png", "cat/000.png"),
        ("cat/000", "cat/000.png"),
        ("cat\\0", "cat/000.png"),
        ("cat/0.0", "cat/000.png"),
        ("cat/000.png ", "cat/000.png"),
        (" cat / 000.png", "cat/000.png"),
        ("CAT/000.PNG", "cat/000.png"),
        (unicodedata.normalize("NFD", "café/ü.JPG"), "café/ü.jpg"),
        ("café/ü", "café/ü.jpg"),
        ("cat/../cat\\000.png", "cat/../cat/000.png"),
        ("train\\7", "Images/train/7.png"),
        ("same/7", "same/7.png"),
    ],
)
def test_other_spellings_are_found_and_said(tmp_path: Path, listed: str, found: str) -> None:
    touch(tmp_path, "cat/000.png", "cat/001.png", "cat/000.txt", "café/ü.jpg", "same/7.png", "same/07.png")
    touch(tmp_path, "Images/train/7.png")
    files, notes = find_files(tmp_path, [listed], FOLDERS)
    assert files == [found]
    assert notes == [
        f"files whose names are spelled differently in the manifest, read all the same: 1 ({listed!r} is {found!r})"
    ]


@pytest.mark.parametrize("listed", ["a/1", "a/X.png", "a/2", "b", "a/b.png", "a\\gone.png", "Z:\\a\\1.png", "/A/x"])
def test_an_ambiguous_or_missing_name_stays_as_it_is(tmp_path: Path, listed: str) -> None:
    touch(tmp_path, "a/01.png", "a/001.png", "a/x.png", "a/x.PNG", "a/2.png", "a/2.jpg", "b/0.png")
    assert find_files(tmp_path, [listed], FOLDERS) == ([listed], [])


def test_a_name_that_exists_is_taken_to_the_letter(tmp_path: Path) -> None:
    odd = ["a\\b.png", " a.png", "A.png", "a.png", "0", "00"]
    touch(tmp_path, "a/b.png", "0.png", *odd)
    assert find_files(tmp_path, odd, FOLDERS) == (odd, [])
