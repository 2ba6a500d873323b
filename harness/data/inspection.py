"""Inspect every image of a data set: whether it can be read, its size, its digest and a thumbnail.

The held-out test set is inspected too, but its pixels are used for nothing else.
"""

import hashlib
import tempfile
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from harness.core.errors import StorageError
from harness.core.paths import user_cache
from harness.data.archives import read_images
from harness.data.decoding import Unreadable, decode, in_parallel
from harness.data.listing import Listing

THUMBNAIL = 16
_SIDE = 32  # of the square to which files are resized
_VERSION = "v2"  # part of every cache key: change it when the computation changes
_CHUNK = 2048
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # weights of red, green and blue in grey (ITU-R BT.601)


@dataclass(frozen=True, eq=False)
class Facts:
    """The facts on n images, one row each.

    ``errors`` (n,) is the reason why an image cannot be read, or ""; with an error the other columns are undefined.
    ``digests`` (n,) are sha256 in hex, of a file's bytes or an array's pixels; ``sizes`` (n, 2) width and height;
    ``grey`` and ``constant`` (n,) whether all pixels are grey, or equal (for a file: after resizing to 32 x 32);
    ``thumbnails`` (n, 16, 16) uint8 serve to find near duplicates.
    """

    errors: NDArray[np.str_]
    digests: NDArray[np.bytes_]
    sizes: NDArray[np.int32]
    grey: NDArray[np.bool_]
    constant: NDArray[np.bool_]
    thumbnails: NDArray[np.uint8]

    def readable(self) -> NDArray[np.int64]:
        """Return the rows that can be read."""
        return np.flatnonzero(self.errors == "")


def look(listing: Listing) -> Facts:
    """Inspect every image of ``listing``, or reuse the cached facts while no file changes its size or time.

    Raises StorageError if the cache cannot be written.
    """
    target = user_cache() / "facts" / f"{_key(listing)}.npz"
    try:
        found = _load(target)
        if found is None:
            target.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{target}.lock"):
                found = _load(target)  # another process may have written it meanwhile
                if found is None:
                    found = _of_array(read_images(listing.home)) if listing.files is None else _of_files(listing)
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


def _of_files(listing: Listing) -> Facts:
    def one(row: int) -> tuple[str, str, tuple[int, int], bool, bool, NDArray[np.uint8]]:
        try:
            path = listing.path(row)
            if not path.is_file():
                raise Unreadable("there is no such file")
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                if file.tell() == 0:
                    raise Unreadable("it is empty")
                file.seek(0)
                pixels, size = decode(file, _SIDE, crop=False)
        except (Unreadable, OSError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            return why, "", (0, 0), True, False, np.zeros((THUMBNAIL, THUMBNAIL), np.uint8)
        constant = bool((pixels == pixels[0, 0]).all())
        return "", digest, size, pixels.ndim == 2, constant, thumbnails(pixels[None])[0]

    columns = zip(*in_parallel(one, range(len(listing)), "checking"), strict=True)
    errors, digests, sizes, grey, constant, thumbs = columns
    return Facts(
        np.array(errors, np.str_),
        np.array(digests, np.bytes_),
        np.array(sizes, np.int32),
        np.array(grey, np.bool_),
        np.array(constant, np.bool_),
        np.stack(thumbs),
    )


def _of_array(images: NDArray[np.uint8]) -> Facts:
    n = len(images)
    flat = images.reshape(n, -1)
    pixels = images.reshape(n, -1, images.shape[3] if images.ndim == 4 else 1)
    return Facts(
        np.full(n, ""),
        np.array([hashlib.sha256(row.data).hexdigest() for row in flat], np.bytes_),
        np.tile(np.array([images.shape[2], images.shape[1]], np.int32), (n, 1)),
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
