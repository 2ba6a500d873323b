"""Download data sets by name from keras.datasets or, if the package is installed, TensorFlow Datasets.

Downloads are cached in the formats of a user's own data: an ``.npz``, or files and a manifest.
"""

import csv
import os
import socket
import subprocess
import sys
import tempfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from harness.core.errors import DataError, StorageError
from harness.core.framework import check_backend
from harness.core.paths import user_cache
from harness.data.listing import part_name

TIMEOUT = 20
"""Seconds without network traffic after which a download fails."""

_SOURCES = {"keras": "keras.datasets", "tfds": "TensorFlow Datasets"}


def fetch(download: str) -> Path:
    """Return the cached data set ``keras:NAME`` (.npz) or ``tfds:NAME`` (.csv), downloaded if it is not cached yet.

    Raises:
        DataError: the data set could not be downloaded.
        StorageError: the cache cannot be written.
    """
    source, _, name = download.partition(":")
    target = user_cache() / "datasets" / f"{source}-{name.replace('/', '-')}"
    found = target / ("images.npz" if source == "keras" else "manifest.csv")
    try:
        if not found.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{target}.lock"):
                if not found.exists():  # another process may have fetched it meanwhile
                    _build(source, name, target)
    except OSError as error:
        raise StorageError(
            f"data set {name!r} cannot be stored in {target.parent} ({error}): free space or set HARNESS_CACHE to "
            "another folder"
        ) from None
    return found


def _build(source: str, name: str, target: Path) -> None:
    """Download into the new folder ``target``, atomically, by running this module in a subprocess, which keeps the
    frameworks and their messages out of this process. Progress is shown on a terminal."""
    if source == "keras":
        check_backend()  # which keras.datasets loads too
    if source == "tfds" and find_spec("tensorflow_datasets") is None:
        raise DataError(
            f"data set {name!r} comes from TensorFlow Datasets, which is not installed: `pip install "
            "tensorflow-datasets`, or give a folder of its images with --data FOLDER"
        )
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        built = Path(folder) / target.name
        built.mkdir()
        outcome = subprocess.run(
            [sys.executable, "-P", "-m", "harness.data.downloads", source, name, built],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr if sys.stderr.isatty() else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
        )
        if outcome.returncode:
            why = outcome.stderr.strip().rpartition("\n")[2] or f"exit code {outcome.returncode}"
            raise DataError(
                f"data set {name!r} could not be downloaded from {_SOURCES[source]} ({why}): check the network "
                "connection and run this again, or give a folder, a manifest or an .npz of its images with --data PATH"
            )
        built.replace(target)


def _from_keras(name: str, target: Path) -> None:
    datasets: Any = import_module("keras.datasets")
    (train, train_labels), (test, test_labels) = getattr(datasets, name).load_data()
    np.savez(
        target / "images.npz",
        images=np.concatenate([train, test]),
        labels=np.concatenate([train_labels, test_labels]).reshape(-1).astype(np.int64),
        split=np.repeat(["train", "test"], [len(train), len(test)]),
    )


def _from_tfds(name: str, target: Path) -> None:
    """Write the image files undecoded, as TensorFlow Datasets stores them, and ``manifest.csv``."""
    tfds: Any = import_module("tensorflow_datasets")
    splits, info = tfds.load(name, with_info=True, decoders={"image": tfds.decode.SkipDecoding()})
    class_names = info.features["label"].names
    with (target / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        manifest = csv.writer(file)
        manifest.writerow(("filename", "label", "split"))
        for split in filter(part_name, splits):  # some data sets have others, without labels
            for number, row in enumerate(tfds.as_numpy(splits[split])):
                if row["label"] < 0:  # label withheld by the publisher
                    continue
                image = f"{split}-{number:07d}"
                (target / image).write_bytes(row["image"])
                manifest.writerow((image, class_names[int(row["label"])], split))


if __name__ == "__main__":
    socket.setdefaulttimeout(TIMEOUT)
    {"keras": _from_keras, "tfds": _from_tfds}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
