"""Images that are given in Python, as a file in the cache that is then read like any other data set.

The file is named by a digest of its content, so that the same images are found again by a later call.
"""

import csv
import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.core.errors import DataError, StorageError
from harness.core.paths import user_cache
from harness.data.archives import check_headers
from harness.data.arrays import Header
from harness.data.manifests import COLUMNS, check_columns
from harness.data.tables import as_texts

MOST_BYTES = 4 * 10**9
"""What the images of a ``tf.data.Dataset`` may take in memory: 4 GB, 26,000 colour images of 224 x 224 pixels."""


def path_of(data: Any) -> str:
    """Return the path or name of a data set, as `harness.core.spec.DatasetSpec.load` takes it.

    Args:
        data: A path or name is returned as it is. A tuple (images, labels) has arrays, (n, height, width[, 3]) with
            values from 0 to 255 and (n,) integers or texts. A pandas DataFrame has the columns of a manifest: filename,
            label and optionally split and group; files are relative to the current folder. A ``tf.data.Dataset`` yields
            pairs of an image and an integer label, in batches or not; all of it is read, at most `MOST_BYTES`. Its
            order does not matter. Values of images that are no uint8 are rounded. Integers other than 0, 1, 2, … are
            names of classes.

    Raises:
        DataError: It is none of these, or cannot be used.
        StorageError: The cache cannot be written.
    """
    if isinstance(data, str | os.PathLike):
        return os.fspath(data)
    if isinstance(data, pd.DataFrame):
        return _table(data)
    if isinstance(data, tuple) and len(data) == 2:
        return _archive(*_arrays(*data))
    if hasattr(data, "element_spec") and hasattr(data, "as_numpy_iterator"):
        images, labels = _materialised(data)
        order = sorted(
            range(len(labels)), key=lambda row: (labels[row], hashlib.sha256(images[row].tobytes()).digest())
        )
        return _archive(images[order], labels[order], getattr(data, "class_names", None))
    several = f" of {len(data)}" if isinstance(data, tuple) else ""
    raise DataError(
        f"a {type(data).__name__}{several} is no data set: give a path, a tuple (images, labels) of arrays, a "
        "pandas DataFrame with the columns filename and label, or a tf.data.Dataset"
    )


_TUPLE = "the data set (images, labels)"


def _arrays(images: Any, labels: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the arrays of a tuple, images of numbers as uint8. Raises DataError if they are none."""
    try:
        pixels, names = np.asarray(images), np.asarray(labels)
    except ValueError:
        raise DataError(
            f"{_TUPLE}: its images or its labels have several shapes: give one array of images of one size and one "
            "of labels"
        ) from None
    if pixels.dtype.kind in "OUS":
        raise DataError(
            f"{_TUPLE}: images are {Header(pixels.shape, pixels.dtype)}: give one array of uint8 (n, height, width) or "
            "(n, height, width, 3), or of files a pandas DataFrame with the columns filename and label"
        )
    missing = int(pd.isna(names).sum())
    if missing:
        raise DataError(f"{_TUPLE}: {missing} of the labels are missing (None or NaN): leave those images out")
    floats = pixels.dtype.kind == "f"
    if floats or pixels.dtype.kind in "iu":
        pixels = _as_bytes(pixels, _TUPLE)
    if floats:
        _check_scale(pixels, _TUPLE)
    return pixels, names


def _archive(images: NDArray[Any], labels: NDArray[Any], class_names: Any = None) -> str:
    if class_names is None and labels.ndim == 1 and labels.dtype.kind in "OUSiu":
        numbers = labels.dtype.kind in "iu"
        found, which = np.unique(labels if numbers else labels.astype(str), return_inverse=True)
        if not numbers or found.tolist() != [*range(len(found))]:
            class_names, labels = found.astype(str), which
    arrays = {"images": np.ascontiguousarray(images), "labels": np.ascontiguousarray(labels)}
    if class_names is not None:
        arrays["class_names"] = np.asarray(class_names, np.str_)
    check_headers({name: Header(array.shape, array.dtype) for name, array in arrays.items()}, _TUPLE)
    digest = hashlib.sha256()
    for array in arrays.values():
        digest.update(repr((array.shape, array.dtype.str)).encode())
        digest.update(array.data if array.dtype.kind != "U" else array.tobytes())
    return _kept(f"images-{digest.hexdigest()[:12]}.npz", lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]


def _table(frame: pd.DataFrame) -> str:
    cells = as_texts(frame.rename(columns=lambda column: str(column).strip().casefold()))
    check_columns(cells, "the DataFrame")
    cells["filename"] = [str(Path(name).expanduser().absolute()) if name else "" for name in cells["filename"]]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    known = [column for column in COLUMNS if column in cells]
    writer.writerow(known)
    writer.writerows(cells[known].itertuples(index=False))
    content = text.getvalue().encode("utf-8", "surrogateescape")
    return _kept(f"files-{hashlib.sha256(content).hexdigest()[:12]}.csv", lambda file: file.write(content))


def _materialised(dataset: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return all images, uint8 (n, height, width[, channels]), and labels (n,) of a ``tf.data.Dataset``."""
    spec, what = dataset.element_spec, "the tf.data.Dataset"
    if not isinstance(spec, tuple) or len(spec) != 2 or not all(hasattr(part, "shape") for part in spec):
        raise DataError(f"{what} yields {spec}: give one of pairs (image, label)")
    images: list[NDArray[np.uint8]] = []
    labels: list[NDArray[np.int64]] = []
    size = 0
    for image, label in dataset.as_numpy_iterator():
        pixels, numbers = np.asarray(image), np.asarray(label)
        if numbers.ndim > 1 or numbers.dtype.kind not in "iu":
            raise DataError(
                f"the labels of {what} are {numbers.dtype} {numbers.shape}: give one integer for each "
                "image (label_mode='int')"
            )
        images.append(_as_bytes(pixels if numbers.ndim else pixels[None], what))
        labels.append(numbers.reshape(-1).astype(np.int64))
        size += images[-1].nbytes
        if size > MOST_BYTES:
            raise DataError(
                f"the images of {what} take more than {MOST_BYTES / 1e9:g} GB, or it repeats for ever: "
                "give fewer (dataset.take), or image files, which are not all held in memory"
            )
    if not images:
        raise DataError(f"{what} is empty: it yields no image")
    shapes = sorted({part.shape[1:] for part in images})
    if len(shapes) != 1:
        raise DataError(f"the images of {what} have the shapes {shapes}: give images of one size")
    found = np.concatenate(images)
    if spec[0].dtype.is_floating:
        _check_scale(found, what)
    return found, np.concatenate(labels)


def _as_bytes(pixels: NDArray[Any], where: str) -> NDArray[np.uint8]:
    """Return values as uint8, rounded. Raises DataError if one is not from 0 to 255."""
    if pixels.dtype == np.uint8:
        return pixels
    low, high = float(pixels.min(initial=0)), float(pixels.max(initial=0))
    if not (low >= 0 and high <= 255):  # not a NaN either
        raise DataError(_out_of_range(where, low, high))
    rounded: NDArray[np.uint8] = np.rint(pixels).astype(np.uint8)
    return rounded


def _check_scale(images: NDArray[np.uint8], where: str) -> None:
    """Raise DataError if images that were floating-point numbers have been rescaled to 1."""
    if images.max(initial=0) <= 1:
        raise DataError(_out_of_range(where, 0, 1))


def _out_of_range(where: str, low: float, high: float) -> str:
    return f"the images of {where} have values from {low:g} to {high:g}: give values from 0 to 255, without rescaling"


def _kept(name: str, write: Callable[[IO[bytes]], object]) -> str:
    """Return the path of the file ``name`` in the cache, written as a whole unless it is there."""
    file = user_cache() / "given" / name
    try:
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            building = file.with_name(f".{os.getpid()}-{name}")
            try:
                with building.open("wb") as opened:
                    write(opened)
                building.replace(file)
            finally:
                building.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"{file} cannot be written ({error}): free space, or set HARNESS_CACHE to another folder"
        ) from None
    return str(file)
