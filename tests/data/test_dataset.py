"""Data sets: reading, splitting and invalid input."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.errors import DataError
from harness.core.spec import DatasetSpec, DataSpec, StudySpec
from harness.data.dataset import SealedTest, draw, join, load_split
from harness.data.listing import printable
from harness.data.sources import read_listing

MNIST_ROWS = "5e6538086465628605c286fadd905d2ceb41798e7b86be4ce8278ec82d2df634"
"""The sha256 of the parts of the shipped study: with other parts, studies that were begun could not go on."""

ASKED = DataSpec(dataset="x", train_size=60, validation_size=30, test_size=15)


def written(folder: Path, **arrays: Any) -> DatasetSpec:
    np.savez(folder / "set.npz", **arrays)
    return DatasetSpec(name="set", file=folder / "set.npz", similar_to_imagenet=False)


def images(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (n, 8, 8), dtype=np.uint8)


def test_parts_are_stratified_and_share_no_image(digits: DatasetSpec) -> None:
    split = draw(digits, ASKED, seed=0).load(32)
    assert np.bincount(split.train.labels).tolist() == [20, 20, 20]
    assert np.bincount(split.validation.labels).tolist() == [10, 10, 10]
    assert len(split.test) == 15
    parts = [{image.tobytes() for image in part.pixels} for part in (split.train, split.validation, split.test.open())]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]


def test_the_seed_decides_the_split(digits: DatasetSpec) -> None:
    first, again, other = (draw(digits, ASKED, seed).load(32) for seed in (0, 0, 1))
    assert first.train.digest() == again.train.digest() != other.train.digest()
    assert np.array_equal(first.test.rows, again.test.rows)


def test_the_sealed_test_set_is_of_test_rows_and_holds_no_image(digits: DatasetSpec) -> None:
    split = draw(digits, ASKED, seed=0).load(32)
    assert split.test.rows.min() >= 180  # the data set's own test set
    assert SealedTest.__slots__ == ("listing", "rows", "image_size") and split.test.rows.ndim == 1
    arrays = [value for value in vars(split.test.listing).values() if isinstance(value, np.ndarray)]
    assert {array.ndim for array in arrays} == {1} and not {np.dtype(np.uint8)} & {array.dtype for array in arrays}


@given(n=st.integers(60, 200), classes=st.integers(2, 5), seed=st.integers(0, 99))
@settings(max_examples=40)
def test_a_data_set_without_parts_is_split_in_three(
    tmp_path_factory: pytest.TempPathFactory, n: int, classes: int, seed: int
) -> None:
    labels = np.arange(n) % classes
    dataset = written(tmp_path_factory.mktemp("set"), images=images(n), labels=labels)
    split = draw(dataset, DataSpec(dataset="set"), seed).load(32)
    assert len(split.train) + len(split.validation) + len(split.test) == n
    for part in (split.train, split.validation):
        assert np.ptp(np.bincount(part.labels, minlength=classes)) <= 2


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"train_size": 500}, "data.train_size 500 + data.validation_size 30 asked of digits, which has 180 images"),
        ({"test_size": 500}, "data.test_size 500, but digits has 60 test images: ask for 60 or fewer"),
        ({"train_size": 2}, "data.train_size 2 is fewer than the 3 classes of digits: ask for 3 or"),
        ({"validation_size": 1}, "data.validation_size 1 is fewer than the 3 classes of digits"),
        (
            {"train_size": None, "validation_size": 179},
            "data.validation_size 179 leaves 1 of 180 images of digits, but its other parts need",
        ),
    ],
)
def test_sizes_too_large_or_too_small_are_refused(digits: DatasetSpec, sizes: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        draw(digits, ASKED.model_copy(update=sizes), seed=0).load(32)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": images(0), "labels": np.zeros(0, int)}, "is empty: it has 0 images"),
        ({"images": images(9), "labels": np.zeros(9, int)}, "has one class only (label 0)"),
        ({"images": images(9)}, "has no array 'labels'"),
        ({"images": images(9) / 255, "labels": np.arange(9)}, "images are float64 (9, 8, 8); give uint8"),
        ({"images": images(9)[:, 0], "labels": np.arange(9)}, "images are uint8 (9, 8)"),
        ({"images": images(9), "labels": np.arange(8)}, "give one integer for each of the 9 images"),
        (
            {"images": images(9), "labels": np.arange(9) - 1},
            "labels are 9 different numbers from -1 to 7, but without class_names they must be 0 to 8",
        ),
        ({"images": images(9), "labels": np.arange(9), "class_names": np.array(["a"])}, "but there are 1 classes"),
        ({"images": images(9), "labels": np.arange(9) % 2, "split": np.array(["train"])}, "split has shape (1,)"),
        (
            {"images": images(9), "labels": np.arange(9) % 2, "split": np.array(["train", "val", "tset"] * 3)},
            "split has 'tset': only 'train', 'validation' (or 'val') and 'test' are known",
        ),
        (
            {"images": images(60), "labels": np.arange(60) % 2, "class_names": np.array(["a", "b", "c"])},
            "has no training image of class 'c': no image has its label 2, and labels are numbered from 0: number",
        ),
        (
            {"images": images(60), "labels": np.arange(60) % 2 + 1},
            "labels are 2 different numbers from 1 to 2, but without class_names they must be 0 to 1: number them so",
        ),
    ],
)
def test_an_invalid_archive_is_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        draw(written(tmp_path, **arrays), DataSpec(dataset="set"), seed=0).load(32)


@pytest.mark.parametrize("kind", ["U", "S"])
def test_spellings_of_a_group_in_an_archive_are_merged(tmp_path: Path, kind: str) -> None:
    groups = np.array(["p07", "P07 ", "p08", "p08", "", ""]).astype(kind)
    listing = read_listing(written(tmp_path, images=images(6), labels=np.arange(6) % 2, groups=groups))
    assert listing.groups.tolist() == [0, 0, 1, 1, 2, 3] and len(listing.notes) == 2
    numbers = written(tmp_path, images=images(6), labels=np.arange(6) % 2, groups=np.array([9, 9, 3, 4, 4, 3]))
    assert read_listing(numbers).groups.tolist() == [2, 2, 0, 1, 1, 0]


def test_a_missing_truncated_or_pickled_file_is_refused(tmp_path: Path, digits: DatasetSpec) -> None:
    with pytest.raises(DataError, match="there is no file or folder"):
        draw(digits.model_copy(update={"file": tmp_path / "none.npz"}), ASKED, seed=0).load(32)
    digits.file.write_bytes(digits.file.read_bytes()[:500])
    with pytest.raises(DataError, match="cannot be read"):
        draw(digits, ASKED, seed=0).load(32)
    pickled = written(tmp_path, images=np.array([{}], dtype=object), labels=np.zeros(1, int))
    with pytest.raises(DataError, match="images holds Python objects: give plain numbers"):
        draw(pickled, ASKED, seed=0).load(32)


def test_mnist_is_the_declared_file() -> None:
    import hashlib

    spec, dataset = StudySpec.load("mnist")
    assert hashlib.sha256(dataset.file.read_bytes()).hexdigest() == dataset.sha256
    split = load_split(dataset, spec)
    assert (len(split.train), len(split.validation), len(split.test), split.n_classes) == (2000, 1000, 2000, 10)
    assert split.train.pixels.shape == (2000, 28, 28)
    assert split.test.rows.min() >= 60_000
    drawn = draw(dataset, spec.data, spec.seed).parts
    rows = np.concatenate([drawn.train, drawn.validation, drawn.test]).astype("<i8")
    assert hashlib.sha256(rows.tobytes()).hexdigest() == MNIST_ROWS
    assert 0.10 < split.majority_share() < 0.13


def test_a_file_other_than_the_declared_one_is_refused(digits: DatasetSpec) -> None:
    with pytest.raises(DataError, match=r"digits\.npz is not the file that digits's TOML declares"):
        draw(digits.model_copy(update={"sha256": "0" * 64}), ASKED, seed=0).load(32)


def test_majority_predicts_the_most_common_training_class(digits: DatasetSpec) -> None:
    split = draw(digits, ASKED, seed=0).load(32)
    labels = np.zeros(60, np.int64)
    skewed = replace(split, train=replace(split.train, labels=labels))
    assert skewed.majority_share() == np.mean(split.validation.labels == 0)


def test_joined_parts_keep_each_image_with_its_label(digits: DatasetSpec) -> None:
    split = draw(digits, ASKED, seed=0).load(32)
    both = join(split.train, split.validation)
    assert len(both) == 90 and both.pixels.shape == (90, 12, 12)
    for start, part in ((0, split.train), (60, split.validation)):
        assert np.array_equal(both.pixels[start : start + len(part)], part.pixels)
        assert np.array_equal(both.labels[start : start + len(part)], part.labels)


@pytest.mark.parametrize(
    ("name", "text"),
    [("\u00fc", "\u00fc"), ("a\udcff", "a\\xff"), ("a\0", "a\\0"), ("\ud800b\udfff", "\\ud800b\\udfff")],
)
def test_a_name_of_invalid_unicode_is_escaped(name: str, text: str) -> None:
    assert printable(name) == text
    text.encode()
