"""Data sets by name. There is no network here: Keras's loader and TensorFlow Datasets are stood in for."""

import importlib
import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness import downloads
from harness.data import load_split
from harness.errors import DataError, StorageError
from harness.sources import read_listing
from harness.spec import KERAS_DATASETS, DatasetSpec, DataSpec


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))


def keras_gives(monkeypatch: pytest.MonkeyPatch, load: Any) -> None:
    loaders = SimpleNamespace(**{name: SimpleNamespace(load_data=load) for name in KERAS_DATASETS})
    monkeypatch.setattr(downloads, "import_module", lambda _: loaders)


def photos(n: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 255, (n, 32, 32, 3), dtype=np.uint8)


def test_a_set_of_keras_is_downloaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def load() -> Any:
        calls.append(1)
        return (photos(60), np.arange(60)[:, None] % 3), (photos(12), np.arange(12)[:, None] % 3)

    keras_gives(monkeypatch, load)
    dataset = DatasetSpec.load("cifar10", Path.cwd())
    for _ in range(2):
        split = load_split(dataset, DataSpec(dataset="cifar10"), 0)
    assert (len(split.train), len(split.validation), len(split.test), split.n_classes) == (48, 12, 12, 3)
    assert np.array_equal(split.test.open().pixels, photos(12)) and len(calls) == 1


def test_no_network_names_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def load() -> Any:
        raise Exception("URL fetch failure on https://somewhere: None -- timed out\nmore")

    keras_gives(monkeypatch, load)
    with pytest.raises(
        DataError, match=r"'cifar10' cannot be had from Keras's download \(URL fetch .* timed out\).*--data"
    ):
        read_listing(DatasetSpec.load("cifar10", Path.cwd()))
    assert [path.suffix for path in (tmp_path / "cache" / "datasets").iterdir()] == [".lock"]


def test_keras_has_the_loaders_that_are_named() -> None:
    datasets = importlib.import_module("keras.datasets")
    assert all(callable(getattr(datasets, name).load_data) for name in KERAS_DATASETS)


def encoded(shade: int, kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40 + shade, 30), (shade, 3 * shade, 90)).save(file, kind)
    return file.getvalue()


def tfds_stand_in(rows: list[dict[str, Any]]) -> SimpleNamespace:
    """The parts of the package's interface that are used: `load`, `as_numpy`, `decode.SkipDecoding`."""
    info = SimpleNamespace(features={"label": SimpleNamespace(names=["cat/s", "dog"])})

    def load(name: str, with_info: bool, decoders: dict[str, object]) -> Any:
        assert with_info and decoders == {"image": "skip"}
        if name != "cats_vs_dogs":
            raise ValueError(f"no dataset {name}")
        return {"train": rows, "extra": [{"image": b"x", "label": np.int64(0)}]}, info

    return SimpleNamespace(load=load, as_numpy=iter, decode=SimpleNamespace(SkipDecoding=lambda: "skip"))


def test_a_set_of_tensorflow_datasets_becomes_files(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"image": encoded(i, "JPEG" if i % 3 else "PNG"), "label": np.int64(i % 2)} for i in range(40)]
    hidden = {"image": b"x", "label": np.int64(-1)}
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", tfds_stand_in([*rows, hidden]))
    listing = read_listing(DatasetSpec.load("cats_vs_dogs", Path.cwd()))
    assert listing.class_names == ("cat/s", "dog") and len(listing) == 40
    assert listing.path(5).read_bytes() == rows[5]["image"]
    monkeypatch.delitem(sys.modules, "tensorflow_datasets")
    assert (
        len(load_split(DatasetSpec.load("cats_vs_dogs", Path.cwd()), DataSpec(dataset="x", image_size=32), 0).test) == 8
    )


def test_tensorflow_datasets_that_is_not_installed_or_fails_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(DataError, match=r"which is not installed: `pip install tensorflow-datasets`, or give a folder"):
        read_listing(DatasetSpec.load("cats_vs_dogs", Path.cwd()))
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", tfds_stand_in([{"image": b"x"}]))
    for name, why in (("tfds:unknown", "no dataset unknown"), ("cats_vs_dogs", "'label'")):
        with pytest.raises(DataError, match=rf"cannot be had from TensorFlow Datasets \({why}\)"):
            read_listing(DatasetSpec.load(name, Path.cwd()))
    assert {path.suffix for path in (tmp_path / "cache" / "datasets").iterdir()} == {".lock"}


def test_a_cache_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    keras_gives(monkeypatch, lambda: None)
    (tmp_path / "cache").write_text("a file in its place")
    with pytest.raises(StorageError, match="set HARNESS_CACHE to another"):
        read_listing(DatasetSpec.load("cifar10", Path.cwd()))
