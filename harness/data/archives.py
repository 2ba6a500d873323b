"""Read data sets from an ``.npz`` of plain arrays."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.data.listing import Listing, numbered, part_name, printable, shown


def read_images(path: Path) -> NDArray[np.uint8]:
    """Return the images of a listed ``.npz``, uint8 (n, height, width[, 3]). Raises DataError if it is unreadable."""
    images: NDArray[np.uint8] = _read_arrays(path, ["images"])["images"]
    return images.reshape(images.shape[:3]) if images.shape[3:] == (1,) else images


def _read_arrays(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return those of the arrays ``names`` that the file holds. Raises DataError if it is unreadable."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in names if name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError, zlib.error) as error:
        raise DataError(f"{path} cannot be read as an .npz of plain arrays ({error}): write it again") from None


def list_archive(name: str, path: Path) -> Listing:
    """List the rows of an ``.npz``. Reads the shape of the images only. Raises DataError if an array is invalid."""
    where = f"{name} ({path.name})"
    arrays = _read_arrays(path, ["labels", "split", "class_names", "groups"])
    shape = _image_shape(path, where)
    if "labels" not in arrays:
        raise DataError(f"{where} has no array 'labels': add one integer for each image")
    labels = arrays["labels"]
    n = shape[0]
    if n == 0:
        raise DataError(f"{where} is empty: it has 0 images")
    if labels.shape != (n,) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"{where}: labels are {labels.dtype} {labels.shape}; give one integer for each of the {n} images"
        )
    for other in ("split", "groups"):
        if other in arrays and arrays[other].shape != (n,):
            raise DataError(
                f"{where}: {other} has shape {arrays[other].shape}, labels {labels.shape}: give one for each image"
            )
    words, which = np.unique(arrays.get("split", np.full(n, "train")).astype(np.str_), return_inverse=True)
    parts = [part_name(word) for word in words]
    if None in parts:
        found = ", ".join(map(shown, words))
        raise DataError(f"{where}: split has {found}: only 'train', 'validation' (or 'val') and 'test' are known")
    present = np.unique(labels)
    if len(present) < 2:
        raise DataError(f"{where} has one class only (label {present[0]}): give two or more")
    class_names = tuple(
        printable(str(word)) for word in arrays.get("class_names", np.arange(int(present[-1]) + 1).astype(np.str_))
    )
    if present[0] < 0 or present[-1] >= len(class_names):
        raise DataError(
            f"{where}: labels run from {present[0]} to {present[-1]}, but there are {len(class_names)} classes: "
            f"number them 0 to {len(class_names) - 1}"
        )
    groups, notes = _groups(arrays["groups"]) if "groups" in arrays else (None, [])
    own = np.array(parts, np.str_)[which]
    return Listing(name, path, None, labels.astype(np.int64), class_names, own, groups, tuple(notes))


def _groups(given: NDArray[Any]) -> tuple[NDArray[np.int64], list[str]]:
    """Return a number for each row's group (n,), and notes on the spelling of groups that are words."""
    if given.dtype.kind not in "US":
        return np.unique(given, return_inverse=True)[1], []
    words = given.tolist()
    return numbered([word.decode("utf-8", "surrogateescape") if isinstance(word, bytes) else word for word in words])


def _image_shape(path: Path, where: str) -> tuple[int, ...]:
    """Return the shape of the array ``images``. Raises DataError if it does not hold images."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        with zipfile.ZipFile(path) as archive:
            if "images.npy" not in archive.namelist():
                held = sorted(name.removesuffix(".npy") for name in archive.namelist())
                raise DataError(f"{where} has no array 'images', only {held}: add it")
            with archive.open("images.npy") as file:
                shape, _, dtype = readers[np.lib.format.read_magic(file)](file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError, zlib.error) as error:
        raise DataError(f"{path} cannot be read as an .npz of plain arrays ({error}): write it again") from None
    if dtype.hasobject:
        raise DataError(f"{path} cannot be read as an .npz of plain arrays: images are Python objects, give uint8")
    if dtype != np.uint8 or len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
        raise DataError(
            f"{where}: images are {dtype} {shape}; "
            "give uint8 (n, height, width) or (n, height, width, 3), values 0 to 255"
        )
    return tuple(shape)
