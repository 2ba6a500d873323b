"""Data sets by name: those of keras.datasets and, where the package is installed, TensorFlow Datasets.

What is downloaded is kept in the cache in the forms that a user's own data has: an ``.npz``, or files and a manifest.
"""

import csv
import shutil
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from harness.errors import DataError, StorageError
from harness.listing import part_name
from harness.paths import user_cache


def fetch(download: str) -> Path:
    """The data set ``keras:NAME`` or ``tfds:NAME`` in the cache, downloaded where it is not there yet.

    Keras checks what it downloads against its own sha256 where it has one. Raises DataError where the set cannot be
    had, naming what else can be done, and StorageError where the cache cannot be written.
    """
    source, _, name = download.partition(":")
    target = user_cache() / "datasets" / f"{source}-{name.replace('/', '-')}"
    if source == "keras":
        make, built = _from_keras, target.with_suffix(".npz")
        found = built
    else:
        make, built = _from_tfds, target
        found = target / "manifest.csv"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if not found.exists():
                _whole(built, lambda path: make(name, path))
    except OSError as error:
        raise StorageError(
            f"data set {name!r} cannot be kept in {target.parent} ({error}): free space or set HARNESS_CACHE to "
            "another folder"
        ) from None
    return found


def _whole(target: Path, make: Callable[[Path], None]) -> None:
    """Let ``make`` write ``target``, a file or a folder, which appears whole or not at all."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        built = Path(folder) / target.name
        make(built)
        built.replace(target)


def _from_keras(name: str, target: Path) -> None:
    datasets: Any = import_module("keras.datasets")
    try:
        (train, train_labels), (test, test_labels) = getattr(datasets, name).load_data()
    except Exception as error:  # noqa: BLE001 - Keras raises a bare Exception without network
        raise _unavailable(name, "Keras's download", error) from None
    np.savez(
        target,
        images=np.concatenate([train, test]),
        labels=np.concatenate([train_labels, test_labels]).reshape(-1).astype(np.int64),
        split=np.repeat(["train", "test"], [len(train), len(test)]),
    )


def _from_tfds(name: str, target: Path) -> None:
    """The files as TensorFlow Datasets stores them, undecoded, and ``manifest.csv``."""
    try:
        tfds: Any = import_module("tensorflow_datasets")
    except ImportError:
        raise DataError(
            f"data set {name!r} comes from TensorFlow Datasets, which is not installed: `pip install "
            "tensorflow-datasets`, or give a folder of its images with --data FOLDER"
        ) from None
    try:
        splits, info = tfds.load(name, with_info=True, decoders={"image": tfds.decode.SkipDecoding()})
        class_names = info.features["label"].names
        target.mkdir()
        with (target / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
            manifest = csv.writer(file)
            manifest.writerow(("filename", "label", "split"))
            for split in filter(part_name, splits):  # some have others, without labels
                for number, row in enumerate(tfds.as_numpy(splits[split])):
                    if row["label"] < 0:  # kept back by its publisher
                        continue
                    picture = f"{split}-{number:07d}"
                    (target / picture).write_bytes(row["image"])
                    manifest.writerow((picture, class_names[int(row["label"])], split))
    except Exception as error:  # noqa: BLE001 - it raises errors of many libraries
        shutil.rmtree(target, ignore_errors=True)
        raise _unavailable(name, "TensorFlow Datasets", error) from None


def _unavailable(name: str, source: str, error: Exception) -> DataError:
    why = str(error).strip().partition("\n")[0] or type(error).__name__
    return DataError(
        f"data set {name!r} cannot be had from {source} ({why}): see to network access and run this again, or give a "
        "folder, a manifest or an .npz of its images with --data PATH"
    )
