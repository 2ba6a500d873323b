"""Decisions on labels: read from a table, applied to training and validation images, never to test images."""

from pathlib import Path

import numpy as np
import pytest

from harness.core.errors import DataError
from harness.core.spec import DataSpec, Relabelled
from harness.data.listing import Listing
from harness.data.relabelling import count, in_words, read_decisions, relabelled
from harness.data.split import Parts

FILES = tuple(f"{kind}/{i}.png" for kind in ("cat", "dog") for i in range(4))
LISTING = Listing(
    "pets", Path("pets"), FILES, np.repeat([0, 1], 4), ("cat", "dog"), np.full(8, "train"), notes=("a note",)
)
PARTS = Parts(np.array([0, 1, 4, 5]), np.array([2, 6]), np.array([3, 7]))


def table(folder: Path, *rows: str, header: str = "file,label,suggested,score,decision") -> Path:
    path = folder / "suspects.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_decisions_that_change_nothing_are_left_out(tmp_path: Path) -> None:
    rows = ["cat/0.png,cat,dog,0.1,dog", "cat/1.png,cat,dog,0.2,Keep", "dog/0.png,dog,cat,0.3,drop",
            "dog/1.png,dog,cat,0.4,", "dog/2.png,dog,cat,0.4,dog", "cat/0.png,cat,dog,0.1,dog"]  # fmt: skip
    found = read_decisions(table(tmp_path, *rows), LISTING)
    assert found == (
        Relabelled(file="cat/0.png", label="cat", becomes="dog"),
        Relabelled(file="dog/0.png", label="dog"),
    )
    assert in_words(*count(found)) == "1 label changed, 1 image dropped"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("cat/9.png,cat,,,drop", "no image 'cat/9.png'"),
        ("cat/1.png,dog,,,drop", "'cat/1.png' is of class 'cat' in pets, not 'dog'"),
        ("cat/1.png,cat,,,dgo", "no class 'dgo': did you mean 'dog'?"),
        ("cat/0.png,cat,,,drop", "two decisions on 'cat/0.png', 'dog' and drop"),
        ("cat/0.png,cat,,,", "two decisions on 'cat/0.png', 'dog' and keep"),
    ],
)
def test_what_is_invalid_is_refused(tmp_path: Path, row: str, expected: str) -> None:
    with pytest.raises(DataError, match=r"suspects\.csv") as error:
        read_decisions(table(tmp_path, "cat/0.png,cat,,,dog", row), LISTING)
    assert expected in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("header", ["file,label", "filename,label,decision", "file,label,decision,decision"])
def test_columns_are_needed_once(tmp_path: Path, header: str) -> None:
    with pytest.raises(DataError, match="needs one each of file, label, decision"):
        read_decisions(table(tmp_path, header=header), LISTING)


def test_a_class_that_is_called_like_a_decision_is_not_guessed(tmp_path: Path) -> None:
    listing = Listing("odd", Path("odd"), ("a.png",), np.array([0]), ("a", "drop"), np.array(["train"]))
    with pytest.raises(DataError, match="rename the class"):
        read_decisions(table(tmp_path, "a.png,a,,,drop"), listing)


def test_an_image_stays_in_its_part_and_test_images_as_they_are() -> None:
    decisions = [
        Relabelled(file="cat/0.png", label="cat", becomes="dog"),
        Relabelled(file="dog/2.png", label="dog"),
        Relabelled(file="cat/2.png", label="cat", becomes="dog"),
        Relabelled(file="cat/3.png", label="cat", becomes="dog"),
        Relabelled(file="dog/3.png", label="dog"),
    ]
    listing, parts = relabelled(LISTING, PARTS, decisions)
    assert listing.labels.tolist() == [1, 0, 1, 0, 1, 1, 1, 1]
    assert [rows.tolist() for rows in (parts.train, parts.validation, parts.test)] == [[0, 1, 4, 5], [2], [3, 7]]
    assert listing.notes[0] == "a note"
    assert "2 labels changed, 1 image dropped" in listing.notes[1]
    assert "decisions on test images, not followed, so that the test set stays as it was: 2" in listing.notes[1]
    assert LISTING.labels.tolist() == [0] * 4 + [1] * 4 and relabelled(LISTING, PARTS, []) == (LISTING, PARTS)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["cat/0.png", "cat/1.png"], "class 'cat' without a training image"),
        (["cat/2.png", "dog/2.png"], "the validation set without an image"),
        (["fox.png"], "no image 'fox.png'"),
    ],
)
def test_a_study_that_lacks_something_is_refused(files: list[str], expected: str) -> None:
    decisions = [Relabelled(file=file, label=file[:3]) for file in files]
    with pytest.raises(DataError, match=expected):
        relabelled(LISTING, PARTS, decisions)


def test_a_study_of_before_has_none() -> None:
    assert DataSpec(dataset="mnist").relabel == ()
