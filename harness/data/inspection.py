"""Inspect every image of a data set: whether it can be read, its size, its digest and a thumbnail.

The held-out test set is inspected too, but its pixels are used for nothing else.
"""

import hashlib
import stat
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from harness.core.errors import StorageError
from harness.core.paths import user_cache
from harness.data.archives import read_images
from harness.data.decoding import Shrunk, Unreadable, in_parallel, shrink
from harness.data.listing import Listing

THUMBNAIL = 16
DIGITS = 16
"""Of a digest are kept with a study: enough to see that an image is another."""
_SIDE = 32  # of the square to which files are resized
_VERSION = "v3"  # part of every cache key: change it when the computation changes
_CHUNK = 2048
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # weights of red, green and blue in grey (ITU-R BT.601)


@dataclass(frozen=True, eq=False)
class Facts:
    """The facts on n images, one row each.

    ``errors`` (n,) is the reason why an image cannot be read, or ""; with an error the other columns are undefined.
    ``unopened`` (n,) tells the errors of the disk or of permissions, which may be gone the next time.
    ``digests`` (n,) are sha256 in hex, of a file's bytes or an array's pixels; ``sizes`` (n, 2) width and height;
    ``values`` (n, 2) the lowest and the highest, as 8 bits; ``deep`` (n,) whether the file has 16;
    ``grey`` and ``constant`` (n,) whether all pixels are grey, or equal (for a file: after resizing to 32 x 32);
    ``thumbnails`` (n, 16, 16) uint8 serve to find near duplicates.
    """

    errors: NDArray[np.str_]
    unopened: NDArray[np.bool_]
    digests: NDArray[np.bytes_]
    sizes: NDArray[np.int32]
    values: NDArray[np.uint8]
    deep: NDArray[np.bool_]
    grey: NDArray[np.bool_]
    constant: NDArray[np.bool_]
    thumbnails: NDArray[np.uint8]

    def readable(self) -> NDArray[np.int64]:
        """Return the rows that can be read."""
        return np.flatnonzero(self.errors == "")

    def with_rows(self, rows: NDArray[np.int64], others: "Facts") -> "Facts":
        """Return these facts with ``others`` in the place of ``rows``."""
        order = np.arange(len(self.errors))
        order[rows] = len(order) + np.arange(len(rows))
        columns = (np.concatenate([getattr(each, field.name) for each in (self, others)]) for field in fields(Facts))
        return Facts(*(column[order] for column in columns))


def look(listing: Listing) -> Facts:
    """Inspect every image of ``listing``, or reuse the cached facts while no file changes its size or time. Files that
    could not be opened are tried again.

    Raises StorageError if the cache cannot be written.
    """
    target = user_cache() / "facts" / f"{_key(listing)}.npz"
    try:
        found = _load(target)
        if found is None or found.unopened.any():
            target.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{target}.lock"):
                found = _load(target)  # another process may have written it meanwhile
                if found is None:
                    found = _of_array(read_images(listing.home)) if listing.files is None else _of_files(listing)
                    _save(target, found)
                elif found.unopened.any():
                    rows = np.flatnonzero(found.unopened)
                    found = found.with_rows(rows, _of_files(listing, rows.tolist()))
                    _save(target, found)
    except OSError as error:
        raise StorageError(
            f"facts about the images cannot be stored in {target.parent} ({error}): free space or set HARNESS_CACHE to "
            "another folder"
        ) from None
    return found


def _key(listing: Listing) -> str:
    digest = hashlib.sha256(f"{_VERSION}\n{listing.home.absolute()}".encode("utf-8", "surrogateescape"))
    for path in [listing.home] if listing.files is None else map(listing.path, range(len(listing))):
        try:
            state = path.stat()
            seen = f"{state.st_size} {state.st_mtime_ns} {state.st_ino}"
        except (OSError, ValueError):
            seen = "absent"
        digest.update(f"{path}\0{seen}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]


def _load(target: Path) -> Facts | None:
    try:
        with np.load(target, allow_pickle=False) as archive:
            return Facts(*(archive[field.name] for field in fields(Facts)))
    except (FileNotFoundError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None


def _save(target: Path, facts: Facts) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="building-") as folder:
        built = Path(folder) / target.name
        np.savez(built, **{field.name: getattr(facts, field.name) for field in fields(Facts)})
        built.replace(target)


def _of_files(listing: Listing, rows: Sequence[int] | None = None) -> Facts:
    """Inspect the files of ``rows``, or all."""
    chosen = range(len(listing)) if rows is None else rows
    seen = in_parallel(lambda row: _of_file(listing.path(row)), chosen, "checking")
    return Facts(*(np.concatenate([getattr(one, field.name) for one in seen]) for field in fields(Facts)))


def _of_file(path: Path) -> Facts:
    digest, error, opened = "", "", True
    shrunk = Shrunk(np.zeros((_SIDE, _SIDE), np.uint8), (0, 0), (0, 0), deep=False)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise Unreadable("it is not a file")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if file.tell() == 0:
                raise Unreadable("it is empty")
            file.seek(0)
            shrunk = shrink(file, _SIDE)
    except Unreadable as reason:
        error = str(reason)
    except (FileNotFoundError, NotADirectoryError):
        error, opened = "there is no such file", False
    except OSError as reason:
        error, opened = reason.strerror or str(reason), False
    except ValueError:  # a NUL in the name
        error = "there is no such file"
    pixels = shrunk.pixels
    return Facts(
        np.array([error]),
        np.array([not opened]),
        np.array([digest], "S64"),
        np.array([shrunk.size], np.int32),
        np.array([shrunk.values], np.uint8),
        np.array([shrunk.deep]),
        np.array([pixels.ndim == 2]),
        np.array([(pixels == pixels[0, 0]).all()]),
        thumbnails(pixels[None]),
    )


def _of_array(images: NDArray[np.uint8]) -> Facts:
    n = len(images)
    flat = images.reshape(n, -1)
    pixels = images.reshape(n, -1, images.shape[3] if images.ndim == 4 else 1)
    return Facts(
        np.full(n, ""),
        np.zeros(n, np.bool_),
        np.array([hashlib.sha256(row.data).hexdigest() for row in flat], np.bytes_),
        np.tile(np.array([images.shape[2], images.shape[1]], np.int32), (n, 1)),
        np.stack([flat.min(axis=1), flat.max(axis=1)], axis=1),
        np.zeros(n, np.bool_),
        np.full(n, images.ndim == 3),
        (pixels == pixels[:, :1]).all(axis=(1, 2)),
        np.concatenate([thumbnails(images[first : first + _CHUNK]) for first in range(0, n, _CHUNK)]),
    )


def thumbnails(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink ``images`` (n, height, width[, 3]) to grey (n, 16, 16) by area averaging."""
    grey = images.astype(np.float32) if images.ndim == 3 else images @ _LUMA
    down, across = _means(grey.shape[1], THUMBNAIL), _means(grey.shape[2], THUMBNAIL)
    shrunk: NDArray[np.float32] = np.einsum("rh,nhc->nrc", down, grey @ across.T, optimize=True)
    return shrunk.round().astype(np.uint8)


def _means(length: int, cells: int) -> NDArray[np.float32]:
    """Return the area-averaging weights (cells, length) that shrink ``length`` values to ``cells``."""
    edges = np.linspace(0, length, cells + 1)
    starts = np.arange(length)
    covered: NDArray[np.float64] = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    return (np.clip(covered, 0, None) / (length / cells)).astype(np.float32)
