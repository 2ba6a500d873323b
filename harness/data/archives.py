"""Read data sets from an ``.npz`` of plain arrays."""

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.data.arrays import Header, read_array, read_headers
from harness.data.listing import Listing, examples, numbered, part_name, printable, shown, twin_notes

_ARRAYS = ("images", "labels", "split", "class_names", "groups")
_WORDS_OR_NUMBERS = "USiufb"  # NumPy's kinds


def read_images(path: Path) -> NDArray[np.uint8]:
    """Return the images of a listed ``.npz``, uint8 (n, height, width[, 3]). Raises DataError if it is damaged."""
    images: NDArray[np.uint8] = read_array(path, "images")
    return images.reshape(images.shape[:3]) if images.shape[3:] == (1,) else images


def list_archive(name: str, path: Path) -> Listing:
    """List the rows of an ``.npz``. Reads the shape of the images only. Raises DataError if an array is invalid."""
    where = f"{name} ({path.name})"
    headers = read_headers(path, _ARRAYS)
    check_headers(headers, where)
    labels = read_array(path, "labels")
    class_names, notes = _class_names(path, headers, labels, where)
    own = np.full(len(labels), "train")
    if "split" in headers:
        words, which = np.unique(_words(read_array(path, "split")), return_inverse=True)
        parts = [part_name(word) for word in words]
        if None in parts:
            found = examples([word for word, part in zip(words.tolist(), parts, strict=True) if part is None])
            raise DataError(f"{where}: split has {found}: only 'train', 'validation' (or 'val') and 'test' are known")
        own = np.array(parts, np.str_)[which]
    groups = None
    if "groups" in headers:
        groups, more = _groups(read_array(path, "groups"))
        notes += more
    return Listing(name, path, None, labels.astype(np.int64), class_names, own, groups, tuple(notes))


def check_headers(headers: dict[str, Header], where: str) -> None:
    """Raise DataError if the arrays of a data set, called ``where``, are not of types and shapes that fit."""
    for needed, what in (("images", "uint8 (n, height, width[, 3])"), ("labels", "one integer for each image")):
        if needed not in headers:
            held = ", ".join(headers) or "none of its arrays"
            raise DataError(f"{where} has no array {needed!r}, only {held}: add it, {what}")
    _check_images(headers["images"], where)
    _check_rows(headers, headers["images"].shape[0], where)


def _check_images(images: Header, where: str) -> None:
    shape = images.shape
    if images.dtype != np.uint8 or len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
        first = len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3)
        raise DataError(
            f"{where}: images are {images}; give uint8 (n, height, width) or (n, height, width, 3), values 0 to 255"
            f"{', with the channels last: numpy.moveaxis(images, 1, -1)' if first else ''}"
        )
    if shape[0] == 0:
        raise DataError(f"{where} is empty: it has 0 images")
    if 0 in shape:
        raise DataError(f"{where}: images are {images}, of no pixel: give a height and a width of 1 or more")


def _check_rows(headers: dict[str, Header], n: int, where: str) -> None:
    """Check types and shapes of the arrays that have an entry for each of ``n`` images, and of the class names."""
    labels = headers["labels"]
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise DataError(f"{where}: labels are {labels}; give one integer for each of the {n} images")
    for other in ("split", "groups"):
        if other in headers and headers[other].shape != (n,):
            raise DataError(
                f"{where}: {other} has shape {headers[other].shape}, labels {labels.shape}: give one for each image"
            )
    for other in ("split", "groups", "class_names"):
        if other in headers and headers[other].dtype.kind not in _WORDS_OR_NUMBERS:
            raise DataError(f"{where}: {other} are {headers[other].dtype}: give texts or numbers")
    names = headers.get("class_names")
    if names is not None and len(names.shape) != 1:
        raise DataError(f"{where}: class_names have shape {names.shape}: give one row of names")


def _class_names(
    path: Path, headers: dict[str, Header], labels: NDArray[Any], where: str
) -> tuple[tuple[str, ...], list[str]]:
    """Return the class names and notes on them. Without an array of names they are the labels."""
    present = np.unique(labels)
    if len(present) < 2:
        raise DataError(f"{where} has one class only (label {present[0]}): give two or more")
    low, high = int(present[0]), int(present[-1])
    if "class_names" not in headers:
        if low != 0 or high != len(present) - 1:
            raise DataError(
                f"{where}: labels are {len(present):,} different numbers from {low} to {high}, but without class_names "
                f"they must be 0 to {len(present) - 1}: number them so, or add class_names"
            )
        return tuple(map(str, present.tolist())), []
    names = [printable(unicodedata.normalize("NFC", word)) for word in _words(read_array(path, "class_names"))]
    if low < 0 or high >= len(names):
        raise DataError(
            f"{where}: labels run from {low} to {high}, but there are {len(names)} classes: "
            f"number them 0 to {len(names) - 1}"
        )
    known: dict[str, int] = {}
    for label, word in enumerate(names):
        if not word.strip():
            raise DataError(f"{where}: the name of class {label} is empty: name it")
        if (first := known.setdefault(word, label)) < label:
            raise DataError(
                f"{where}: classes {first} and {label} have the same name {shown(word)}: give each its own, or the "
                "same label"
            )
    return tuple(names), twin_notes(names)


def _words(values: NDArray[Any]) -> list[str]:
    """Return texts and numbers as texts, bytes decoded as UTF-8."""
    return [
        value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
        for value in values.tolist()
    ]


def _groups(given: NDArray[Any]) -> tuple[NDArray[np.int64], list[str]]:
    """Return a number for each row's group (n,), and notes on their spelling. NaN is no group."""
    if given.dtype.kind not in "USf":
        return np.unique(given, return_inverse=True)[1], []
    return numbered(["" if word == "nan" and given.dtype.kind == "f" else word for word in _words(given)])
