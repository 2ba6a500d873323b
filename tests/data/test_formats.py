"""Recognising images by names and first bytes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.core.errors import DataError
from harness.core.spec import DatasetSpec
from harness.data.folders import list_folder
from harness.data.formats import format_of
from harness.data.inspection import look
from harness.data.sources import read_listing


def write(path: Path, kind: str = "PNG") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(len(str(path))).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    Image.fromarray(values).save(path, kind)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of three images each of cats and dogs."""
    for i in range(3):
        write(tmp_path / "set" / "cat" / f"{i}.png")
        write(tmp_path / "set" / "dog" / f"{i}.jpg", "JPEG")
    return tmp_path / "set"


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".JPE", ".jif", ".jfi", ".pjpeg", ".pjp", ".Jpg"])
def test_a_jpeg_is_read_by_any_of_its_suffixes(root: Path, suffix: str) -> None:
    write(root / "cat" / f"more{suffix}", "JPEG")
    listing = list_folder("set", root)
    assert listing.notes == () and len(look(listing).readable()) == 7


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
@pytest.mark.parametrize("name", ["no suffix", "photo.jpg~", "photo.tiff", "photo.jpg_large"])
def test_an_image_is_read_under_any_name_with_a_note(root: Path, kind: str, name: str) -> None:
    write(root / "cat" / name, kind)
    write(root / "cat" / ".hidden", kind)
    listing = list_folder("set", root)
    assert listing.notes == (
        f"files that are images, but not named like one, read: 1 ('cat/{name}')",
        "files not named like images, left out: 1 ('cat/.hidden')",
    )
    assert f"cat/{name}" in listing.files and len(look(listing).readable()) == 7


def test_other_formats_are_named_with_their_numbers_and_classes(root: Path) -> None:
    for i in range(3):
        write(root / "cat" / f"{i}.tif", "TIFF")
    write(root / "dog" / "scan", "TIFF")
    (root / "dog" / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (root / "dog" / "phone").write_bytes(b"\0\0\0\x18ftypheic")
    (root / "dog" / "notes.txt").write_text("BMP")
    listing = list_folder("set", root)
    assert len(listing) == 6
    assert listing.notes == (
        "images in formats that are not read, left out: 3 TIFF of 'cat' ('cat/0.tif', 'cat/1.tif' and 1 more); 2 HEIC "
        "of 'dog' ('dog/phone', 'dog/phone.heic'); 1 TIFF of 'dog' ('dog/scan'); convert them to PNG or JPEG",
        "files not named like images, left out: 1 ('dog/notes.txt')",
    )


def test_a_class_of_other_formats_only_is_refused(root: Path) -> None:
    for i in range(3):
        write(root / "owl" / f"{i}.tif", "TIFF")
    (root / "owl" / "4.dcm").touch()
    with pytest.raises(
        DataError,
        match=r"class 'owl' with images only in formats that are not read \(3 TIFF, 1 DICOM\): convert them to PNG or "
        r"JPEG, or move the folder away",
    ):
        read_listing(DatasetSpec(name="set", file=root))
    write(root / "owl" / "5.png")
    assert list_folder("set", root).class_names == ("cat", "dog", "owl")


def test_a_class_of_other_formats_in_one_part_only_is_noted(root: Path, tmp_path: Path) -> None:
    root.rename(tmp_path / "train")
    (tmp_path / "set").mkdir()
    (tmp_path / "train").rename(root / "train")
    write(root / "test" / "cat" / "0.png")
    write(root / "test" / "dog" / "0.tif", "TIFF")
    notes = list_folder("set", root).notes
    assert len(notes) == 1 and "left out: 1 TIFF of 'dog' ('test/dog/0.tif'); convert" in notes[0]


@pytest.mark.parametrize(
    ("kind", "name"),
    [("TIFF", "TIFF"), ("JPEG2000", "JPEG 2000"), ("AVIF", "AVIF"), ("WEBP", "WebP"), ("BMP", "BMP"), ("GIF", "GIF")],
)
def test_formats_are_known_by_their_first_bytes(tmp_path: Path, kind: str, name: str) -> None:
    write(tmp_path / "x", kind)
    assert format_of(tmp_path / "x") == name


def test_a_text_is_no_image(tmp_path: Path) -> None:
    for content in (b"", b"BM", b"BMW and Audi", b"GIF", b"RIFF1234WAVEfmt "):
        (tmp_path / "x").write_bytes(content)
        assert format_of(tmp_path / "x") is None
