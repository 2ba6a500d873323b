"""Images given in Python: arrays, a DataFrame, a tf.data.Dataset."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from harness.core.errors import DataError, StorageError
from harness.core.spec import DatasetSpec
from harness.data import in_memory
from harness.data.archives import read_images
from harness.data.in_memory import path_of
from harness.data.listing import Listing
from harness.data.sources import read_listing


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))


def listed(data: Any) -> Listing:
    return read_listing(DatasetSpec.load(path_of(data), Path.cwd()))


def images(n: int = 6, size: int = 4) -> np.ndarray[Any, Any]:
    return np.random.default_rng(n).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def test_a_path_or_a_name_stays_as_it_is() -> None:
    assert path_of("mnist") == "mnist" and path_of(Path("photos")) == "photos"


def test_arrays_are_an_archive_named_by_their_content() -> None:
    pixels, labels = images(), np.array([0, 1, 2, 0, 1, 2])
    first = path_of((pixels, labels))
    listing = listed((pixels, labels))
    assert np.array_equal(read_images(Path(first)), pixels) and listing.labels.tolist() == labels.tolist()
    written = Path(first).stat().st_mtime_ns
    assert path_of((pixels.copy(), labels.tolist())) == first and Path(first).stat().st_mtime_ns == written
    changed = pixels.copy()
    changed[3, 1, 1, 0] ^= 1
    assert len({first, path_of((changed, labels)), path_of((pixels, labels[::-1]))}) == 3
    assert [file.name for file in Path(first).parent.glob(".*")] == []


def test_labels_may_be_texts() -> None:
    listing = listed((images(4), ["dog", "cat", "dog", "cat"]))
    assert listing.class_names == ("cat", "dog") and listing.labels.tolist() == [1, 0, 1, 0]
    assert listed((images(4), pd.Series(["dog", "cat", "dog", "cat"]))).class_names == ("cat", "dog")


def test_labels_may_be_any_integers() -> None:
    assert listed((images(4), [3, 1, 3, 1])).class_names == ("1", "3")
    assert listed((images(4), np.array([3, 1, 10, 1], np.uint8))).labels.tolist() == [1, 0, 2, 0]


def test_other_numbers_from_0_to_255_are_rounded() -> None:
    labels = np.array([0, 1, 2, 0, 1, 2])
    first = path_of((images(), labels))
    assert path_of((images() * 0.999, labels)) == path_of((images().astype(np.int64), labels)) == first


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((images() / 255, np.arange(6)), "have values from 0 to 1: give values from 0 to 255, without rescaling"),
        ((images() - 300.0, np.arange(6)), "have values from -"),
        ((images() > 9, np.arange(6)), "images are bool (6, 4, 4, 3); give uint8"),
        ((images().transpose(0, 3, 1, 2), np.arange(6)), "channels last: numpy.moveaxis(images, 1, -1)"),
        ((["a.png", "b.png"], [0, 1]), "or of files a pandas DataFrame with the columns filename and label"),
        (([Path("a.png")], [0]), "or of files a pandas DataFrame"),
        ((images(3), ["a", None, "b"]), "1 of the labels are missing (None or NaN)"),
        ((images(3), pd.Series(["a", "b", None])), "1 of the labels are missing (None or NaN)"),
        (((images(3), [0, 1, 2]), (images(2), [0, 1])), "its images or its labels have several shapes"),
        ((images(), np.arange(6), 0), "a tuple of 3 is no data set: give a path, a tuple (images, labels)"),
        ((images(), np.arange(5)), "labels are int64 (5,); give one integer for each of the 6 images"),
        ((images(), np.eye(6)), "labels are float64 (6, 6); give one integer"),
        (([images(1)[0], images(1, 5)[0]], [0, 1]), "its images or its labels have several shapes"),
        (np.arange(5), "a ndarray is no data set: give a path, a tuple (images, labels)"),
        (
            pd.DataFrame({"filename": ["a.png"], "class": ["a"]}),
            "no column 'label', only 'filename', 'class': rename one",
        ),
    ],
)
def test_what_is_no_data_set_is_refused_before_anything_is_written(data: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        path_of(data)
    assert message in str(raised.value)
    assert not (tmp_path / "cache").exists()


def test_a_frame_is_a_manifest_of_files_relative_to_the_current_folder(tmp_path: Path) -> None:
    for name, pixels in zip("abcd", images(4), strict=True):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    files = ["a.png", Path("b.png"), str(tmp_path / "c.png"), "d.png"]
    frame = pd.DataFrame(
        {"Filename": files, "label": [1, 2, 1, 2], "split": ["train", "train", "test", "test"], "other": [None] * 4}
    )
    listing = listed(frame)
    assert listing.files is not None
    assert [(listing.home / file).resolve() for file in listing.files] == [tmp_path / f"{name}.png" for name in "abcd"]
    assert listing.class_names == ("1", "2") and listing.parts.tolist() == ["train", "train", "test", "test"]
    assert path_of(frame) == path_of(frame.assign(other=1))


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(StorageError, match="set HARNESS_CACHE to another folder"):
        path_of((images(4), [0, 1, 0, 1]))


class TestDataset:
    """``tf.data.Dataset``, as `keras.utils.image_dataset_from_directory` makes it."""

    def test_its_order_and_batches_do_not_matter(self) -> None:
        tf = pytest.importorskip("tensorflow")
        pixels, labels = images(), np.array([0, 1, 2, 0, 1, 2])
        dataset = tf.data.Dataset.from_tensor_slices((pixels, labels))
        first = path_of(dataset)
        assert path_of(dataset.shuffle(6, seed=1).batch(4)) == first
        floats = dataset.map(lambda image, label: (tf.cast(image, tf.float32) * 0.999, label)).batch(6)
        assert path_of(floats) == first
        listing = listed(dataset)
        kept = {image.tobytes(): label for image, label in zip(read_images(Path(first)), listing.labels, strict=True)}
        assert kept == {image.tobytes(): label for image, label in zip(pixels, labels, strict=True)}

    def test_a_folder_read_by_keras_has_its_class_names(self, tmp_path: Path) -> None:
        keras = pytest.importorskip("keras")
        pytest.importorskip("tensorflow")
        for name, pixels in zip("abcd", images(4, 8), strict=True):
            folder = tmp_path / "photos" / ("cat" if name < "c" else "dog")
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{name}.png")
        dataset = keras.utils.image_dataset_from_directory(tmp_path / "photos", image_size=(8, 8), verbose=False)
        assert listed(dataset).class_names == ("cat", "dog")

    def test_what_does_not_fit_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tf = pytest.importorskip("tensorflow")
        pixels, labels = images(), np.array([0, 1, 2, 0, 1, 2])
        dataset = tf.data.Dataset.from_tensor_slices((pixels, labels))
        monkeypatch.setattr(in_memory, "MOST_BYTES", 1_000)
        for wrong, message in (
            (dataset.repeat(), "more than 1e-06 GB, or it repeats for ever"),
            (dataset.map(lambda image, label: (tf.cast(image, tf.float32) / 255, label)), "values from 0 to 1: give"),
            (dataset.map(lambda image, label: (tf.cast(image, tf.float32) - 300, label)), "values from -"),
            (dataset.map(lambda image, label: (image, tf.one_hot(label, 3))), "give one integer for each image"),
            (dataset.map(lambda image, _: image), "give one of pairs"),
            (dataset.take(0), "the tf.data.Dataset is empty"),
        ):
            with pytest.raises(DataError) as raised:
                path_of(wrong)
            assert message in str(raised.value)
