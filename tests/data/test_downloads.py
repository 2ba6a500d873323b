"""Data sets by name, without a network: fakes of keras.datasets and TensorFlow Datasets are put on the import path of
the subprocess that downloads."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.core.errors import DataError, SpecError, StorageError
from harness.core.spec import KERAS_DATASETS, DatasetSpec, DataSpec
from harness.data.dataset import draw
from harness.data.sources import read_listing

KERAS = """
import numpy as np
from pathlib import Path
from types import SimpleNamespace

def part(n):
    return np.random.default_rng(n).integers(0, 255, (n, 32, 32, 3), dtype=np.uint8), np.arange(n)[:, None] % 3

def load_data():
    assert not Path("downloaded").exists(), "downloaded twice"
    Path("downloaded").touch()
    print("a message that no script wants to read")
    return part(60), part(12)

def without_network():
    raise Exception("URL fetch failure on https://somewhere: None -- timed out")

cifar10, mnist = SimpleNamespace(load_data=load_data), SimpleNamespace(load_data=without_network)
"""

# The API that is used: `load`, `as_numpy`, `decode.SkipDecoding`.
TFDS = """
import io
from types import SimpleNamespace
import numpy as np
from PIL import Image

def encoded(shade):
    file = io.BytesIO()
    Image.new("RGB", (40 + shade, 30), (shade, 3 * shade, 90)).save(file, "JPEG" if shade % 3 else "PNG")
    return file.getvalue()

as_numpy = iter
decode = SimpleNamespace(SkipDecoding=lambda: "skip")

def load(name, with_info, decoders):
    assert with_info and decoders == {"image": "skip"}
    if name != "cats_vs_dogs":
        raise ValueError(f"no dataset {name}")
    rows = [{"image": encoded(i), "label": np.int64(i % 2)} for i in range(40)]
    hidden = {"image": b"x", "label": np.int64(-1)}
    info = SimpleNamespace(features={"label": SimpleNamespace(names=["cat/s", "dog"])})
    return {"train": [*rows, hidden], "extra": [{"image": b"x"}]}, info
"""


@pytest.fixture(autouse=True)
def _fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("keras/datasets", KERAS), ("tensorflow_datasets/__init__", TFDS)):
        file = tmp_path / "packages" / f"{name}.py"
        file.parent.mkdir(parents=True)
        file.write_text(text)
    (tmp_path / "packages" / "keras" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "packages")


def test_a_keras_data_set_is_downloaded_once(capfd: pytest.CaptureFixture[str]) -> None:
    dataset = DatasetSpec.load("cifar10", Path.cwd())
    for _ in range(2):
        split = draw(dataset, DataSpec(dataset="cifar10"), 0).load(32)
    assert (len(split.train), len(split.validation), len(split.test), split.n_classes) == (48, 12, 12, 3)
    wanted = np.random.default_rng(12).integers(0, 255, (12, 32, 32, 3), dtype=np.uint8)
    assert np.array_equal(split.test.open().pixels, wanted)
    assert capfd.readouterr().out == ""


def test_a_failed_download_names_the_fix_and_leaves_nothing(tmp_path: Path) -> None:
    why = r"'mnist' could not be downloaded from keras.datasets \(Exception: URL fetch failure.*\).*--data PATH"
    with pytest.raises(DataError, match=why):
        read_listing(DatasetSpec.load("keras:mnist", Path.cwd()))
    assert [path.suffix for path in (tmp_path / "cache" / "datasets").iterdir()] == [".lock"]


def test_a_backend_that_cannot_be_loaded_is_not_blamed_on_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    with pytest.raises(SpecError, match="KERAS_BACKEND is set to the backend 'torch'"):
        read_listing(DatasetSpec.load("cifar10", Path.cwd()))


def test_a_tensorflow_data_set_becomes_files() -> None:
    dataset = DatasetSpec.load("cats_vs_dogs", Path.cwd())
    listing = read_listing(dataset)
    assert listing.class_names == ("cat/s", "dog") and len(listing) == 40
    assert listing.path(5).read_bytes().startswith(b"\xff\xd8") and listing.path(6).read_bytes().startswith(b"\x89PNG")
    split = draw(dataset, DataSpec(dataset="x"), 0).load(32)
    assert split.train.pixels.shape == (26, 32, 32, 3) and len(split.test) == 8


def test_an_unknown_tensorflow_data_set_is_named() -> None:
    with pytest.raises(
        DataError, match=r"could not be downloaded from TensorFlow Datasets \(ValueError: no dataset unknown\)"
    ):
        read_listing(DatasetSpec.load("tfds:unknown", Path.cwd()))


def test_a_missing_tensorflow_datasets_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.data.downloads.find_spec", lambda _: None)
    with pytest.raises(DataError, match=r"which is not installed: `pip install tensorflow-datasets`, or give a folder"):
        read_listing(DatasetSpec.load("cats_vs_dogs", Path.cwd()))


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in its place")
    with pytest.raises(StorageError, match="set HARNESS_CACHE to another"):
        read_listing(DatasetSpec.load("cifar10", Path.cwd()))


@pytest.mark.large
def test_keras_has_the_declared_loaders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Marked large because it imports TensorFlow or JAX."""
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder != str(tmp_path / "packages")])
    datasets = importlib.import_module("keras.datasets")
    assert all(callable(getattr(datasets, name).load_data) for name in KERAS_DATASETS)
