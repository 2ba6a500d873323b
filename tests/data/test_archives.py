"""Archives of odd arrays: read rightly, or one line."""

import io
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core.errors import DataError
from harness.core.spec import DatasetSpec
from harness.data.archives import read_images
from harness.data.arrays import read_headers
from harness.data.listing import Listing
from harness.data.sources import read_listing

N = 6
IMAGES = np.random.default_rng(0).integers(0, 255, (N, 5, 4), dtype=np.uint8)
LABELS = np.arange(N) % 2


def listed(folder: Path, **arrays: Any) -> Listing:
    np.savez(folder / "set.npz", **{"images": IMAGES, "labels": LABELS} | arrays)
    return read_listing(DatasetSpec(name="set", file=folder / "set.npz"))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": IMAGES[:, :0, :0]}, "images are uint8 (6, 0, 0), of no pixel: give a height and a width of 1"),
        ({"images": np.zeros((N, 5, 0, 3), np.uint8)}, "of no pixel"),
        ({"images": np.zeros((N, 5, 4, 0), np.uint8)}, "images are uint8 (6, 5, 4, 0); give uint8"),
        ({"images": np.zeros((N, 5, 4, 4), np.uint8)}, "images are uint8 (6, 5, 4, 4); give uint8"),
        ({"images": np.zeros((N, 3, 5, 4), np.uint8)}, "images are uint8 (6, 3, 5, 4); give uint8"),
        ({"images": np.uint8(3)}, "images are uint8 (); give uint8"),
        ({"images": IMAGES.astype(np.uint16)}, "images are uint16 (6, 5, 4); give uint8"),
        ({"images": IMAGES > 9}, "images are bool (6, 5, 4); give uint8"),
        ({"images": np.array([b"x"] * N)}, "images are |S1 (6,); give uint8"),
        ({"images": np.array([{}] * N)}, "images holds Python objects: give plain numbers or texts"),
        ({"labels": np.array([{}] * N)}, "labels holds Python objects: give plain numbers or texts"),
        ({"labels": np.array(["a", None] * 3, object)}, "labels holds Python objects"),
        ({"class_names": np.array(["a", "b"], object)}, "class_names holds Python objects"),
        ({"labels": np.array([("a", 1)] * N, "U1,i4")}, "labels holds records"),
        ({"labels": LABELS + 1}, "labels are 2 different numbers from 1 to 2, but without class_names they must be 0"),
        ({"labels": LABELS * 1_000_000}, "labels are 2 different numbers from 0 to 1000000, but without class_names"),
        ({"labels": LABELS.astype(np.uint64) * (2**64 - 1)}, "from 0 to 18446744073709551615"),
        ({"labels": LABELS - 1}, "labels are 2 different numbers from -1 to 0"),
        ({"labels": LABELS - 1, "class_names": np.array(["a", "b"])}, "labels run from -1 to 0, but there are 2"),
        ({"labels": LABELS + 1, "class_names": np.array(["a", "b"])}, "labels run from 1 to 2, but there are 2"),
        ({"labels": LABELS * 1.0}, "labels are float64 (6,); give one integer for each of the 6 images"),
        ({"labels": np.full(N, np.nan)}, "labels are float64 (6,); give one integer"),
        ({"labels": LABELS > 0}, "labels are bool (6,); give one integer"),
        ({"labels": LABELS.astype(str)}, "labels are <U21 (6,); give one integer"),
        ({"labels": LABELS[:, None]}, "labels are int64 (6, 1); give one integer"),
        ({"labels": LABELS[:3]}, "labels are int64 (3,); give one integer for each of the 6 images"),
        ({"labels": np.int64(1)}, "labels are int64 (); give one integer"),
        ({"class_names": np.array(["a", "a"])}, "classes 0 and 1 have the same name 'a': give each its own"),
        ({"class_names": np.array([b"a", b"a"])}, "classes 0 and 1 have the same name 'a'"),
        ({"class_names": np.array(["é", "e\u0301"])}, "classes 0 and 1 have the same name 'é'"),
        ({"class_names": np.array(["a", " "])}, "the name of class 1 is empty: name it"),
        ({"class_names": np.array(["a"])}, "labels run from 0 to 1, but there are 1 classes"),
        ({"class_names": np.array([["a", "b"]])}, "class_names have shape (1, 2): give one row of names"),
        ({"class_names": np.array("ab")}, "class_names have shape (): give one row of names"),
        ({"class_names": np.array([1j, 2j])}, "class_names are complex128: give texts or numbers"),
        ({"split": np.array([b"train", b"tr\xe9in"] * 3)}, r"split has 'tr\\xe9in'"),
        ({"split": np.arange(N)}, "split has '0', '1', '2' and 3 more: only 'train'"),
        ({"split": np.array("train")}, "split has shape (), labels (6,)"),
        ({"split": np.array(["2020"] * N, "M8[Y]")}, "split are datetime64[Y]: give texts or numbers"),
        ({"groups": np.arange(N) * 1j}, "groups are complex128: give texts or numbers"),
        ({"groups": np.zeros((N, 2))}, "groups has shape (6, 2)"),
    ],
)
def test_odd_arrays_are_refused_with_the_reason(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)) as raised:
        listed(tmp_path, **arrays)
    assert "\n" not in str(raised.value) and "pickle" not in str(raised.value)


def test_texts_may_be_bytes_and_numbers_of_any_kind(tmp_path: Path) -> None:
    names = ["Katze", "Hündin"]
    expected = listed(tmp_path, class_names=np.array(names), split=np.array(["train", "test"] * 3))
    found = listed(
        tmp_path,
        class_names=np.array([name.encode() for name in names]),
        split=np.array([b"train", b"test"] * 3),
        labels=LABELS.astype(">i2"),
        images=np.asfortranarray(IMAGES[..., None]),
    )
    assert found.class_names == expected.class_names == ("Katze", "Hündin")
    assert found.parts.tolist() == expected.parts.tolist() and found.labels.tolist() == LABELS.tolist()
    assert listed(tmp_path, class_names=np.array([30, 4])).class_names == ("30", "4")
    assert listed(tmp_path).class_names == ("0", "1")


def test_names_that_differ_in_spelling_only_are_noted(tmp_path: Path) -> None:
    notes = listed(tmp_path, class_names=np.array(["Cat", "cat"])).notes
    assert len(notes) == 1 and notes[0].startswith("the classes 'Cat', 'cat' differ in upper and lower case only")


def test_a_group_that_is_no_number_is_a_group_of_its_own(tmp_path: Path) -> None:
    found = listed(tmp_path, groups=np.array([1, 1, 2, np.nan, np.nan, 2]))
    assert found.groups.tolist() == [0, 0, 1, 2, 3, 1]
    assert found.notes == ("rows without a group, each read as a group of its own: 2",)


def member(shape: str, descr: str = "'<i8'", version: int = 1, data: bytes = bytes(48)) -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY" + bytes([version, 0]) + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize(
    "labels",
    [
        member("(1000000000000,)"),
        member("(-6,)"),
        member("(6,)", data=bytes(47)),
        member("(6,)", data=bytes(49)),
        member("(6,)", version=3),
        member("(6,)", version=9),
        member("6"),
        member("(6,)", "'<i9'"),
        member("(6,)", "'no'"),
        member("(6,)", "(" * 300),
        member("(6,)", "'''"),
        member("(6,)" + " " * 20_000),
        b"",
        b"\x80\x04N.",
    ],
)
def test_a_damaged_array_is_refused_in_one_line(tmp_path: Path, labels: bytes) -> None:
    np.savez(tmp_path / "set.npz", images=IMAGES)
    with zipfile.ZipFile(tmp_path / "set.npz", "a") as archive:
        archive.writestr("labels.npy", labels)
    with pytest.raises(
        DataError, match=r"set\.npz cannot be read as an \.npz of plain arrays: write it again"
    ) as raised:
        read_listing(DatasetSpec(name="set", file=tmp_path / "set.npz"))
    assert "\n" not in str(raised.value) and "pickle" not in str(raised.value)


def test_a_file_that_is_no_archive_of_this_kind_is_refused_in_one_line(tmp_path: Path) -> None:
    whole, single = io.BytesIO(), io.BytesIO()
    np.savez(whole, images=IMAGES, labels=LABELS)
    np.save(single, IMAGES)
    encrypted, unknown = bytearray(whole.getvalue()), bytearray(whole.getvalue())
    for at in range(len(encrypted)):
        if encrypted[at : at + 4] in (b"PK\x01\x02", b"PK\x03\x04"):
            flags = at + (8 if encrypted[at + 2] == 1 else 6)
            encrypted[flags] |= 1
            unknown[flags + 2] = 99  # the method of compression
    contents = [
        b"",
        b"words",
        b"\x80\x04N.",
        single.getvalue(),
        whole.getvalue()[:500],
        bytes(encrypted),
        bytes(unknown),
    ]
    for content in contents:
        (tmp_path / "set.npz").write_bytes(content)
        with pytest.raises(DataError, match=r"set\.npz cannot be read as an \.npz of plain arrays") as raised:
            read_listing(DatasetSpec(name="set", file=tmp_path / "set.npz"))
        assert "\n" not in str(raised.value) and "pickle" not in str(raised.value)


def test_an_archive_that_cannot_be_opened_is_not_called_damaged(tmp_path: Path) -> None:
    os.mkdir(tmp_path / "set.npz")  # noqa: PTH102
    with pytest.raises(DataError, match=r"set\.npz cannot be opened \(Is a directory\): make it readable"):
        read_headers(tmp_path / "set.npz", ["images"])


def test_an_array_that_does_not_fit_into_memory_is_refused(tmp_path: Path) -> None:
    images = io.BytesIO()
    np.lib.format.write_array_header_1_0(images, {"descr": "|u1", "fortran_order": False, "shape": (N, 10**6, 10**6)})
    np.savez(tmp_path / "set.npz", labels=LABELS)
    with zipfile.ZipFile(tmp_path / "set.npz", "a") as archive:
        archive.writestr("images.npy", images.getvalue())
        archive.getinfo("images.npy").file_size += N * 10**12  # as of an archive that holds them
    listing = read_listing(DatasetSpec(name="set", file=tmp_path / "set.npz"))
    with pytest.raises(DataError, match=r"set\.npz: images take 6,000\.0 GB in memory, of which .* GB are free: give"):
        read_images(listing.home)
