"""Decoding files to pixels: one at a time, and a whole part in parallel into a memory-mapped file of the cache.

An image becomes a square as VGG16's authors made theirs for testing (Simonyan and Zisserman 2015): the shorter side is
scaled to the wanted size and the middle cut out, so that shapes keep their proportions.
"""

import hashlib
import struct
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from rich.console import Console
from rich.progress import track

from harness.core.environment import available_cores
from harness.core.errors import DataError, StorageError
from harness.core.paths import user_cache
from harness.data.listing import shown

FORMATS = ("PLAIN JPEG", "PNG", "WEBP", "BMP", "GIF")
"""As Pillow calls what is read here; the first is registered below."""
MOST_PIXELS = 180_000_000
"""Images that need more in memory at once are refused. A JPEG is read at an eighth of its sides if that is enough."""

_VERSION = "square of the middle, bicubic, alpha on white; v1"  # part of every key
_LARGE = 20_000_000  # pixels; images of more are decoded one at a time, so that memory stays bounded
_large = threading.Lock()
_opening = threading.Lock()
_CHUNK = 256  # images written at once

# Pillow warns of every odd EXIF entry, a line each; only the one that rotates the image matters here.
warnings.filterwarnings("ignore", module=r"PIL\.")

_ORIENTATION = 0x0112  # EXIF's tag
_TURNS: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_Result = TypeVar("_Result")


class Unreadable(Exception):
    """A file that holds no image, or half of one; says why."""


class _PlainJpeg(JpegImageFile):
    """A JPEG opened for its pixels alone: Pillow's own looks in EXIF for dots per inch and in the MPO index for more
    images, and takes one with an odd entry there for no image."""

    def _read_dpi_from_exif(self) -> None:
        pass


Image.register_open(FORMATS[0], _PlainJpeg, lambda prefix: prefix.startswith(b"\xff\xd8\xff"))


def decode(file: BinaryIO, size: int, *, crop: bool = True) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """The first image in ``file`` as (size, size) uint8 where it is grey, (size, size, 3) where it has colours, and
    its own width and height.

    It is turned as its EXIF entry says; 16 bits become 8; what is transparent becomes white. Without ``crop`` the whole
    image is squeezed into the square. Raises Unreadable.
    """
    try:
        with _open(file) as opened:
            width, height = opened.size
            opened.draft(None, (2 * size, 2 * size))  # a JPEG's decoder scales down by 2, 4 or 8 at no cost
            if opened.width * opened.height > MOST_PIXELS:
                raise Unreadable(f"{width} x {height} pixels are more than the {MOST_PIXELS:,} that are read at once")
            with _large if width * height > _LARGE else nullcontext():
                opened.load()
                image = _plain(opened)
                turn = _turn(opened)
                if turn is not None:
                    image = image.transpose(turn)
                if crop:
                    square = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
                else:
                    square = image.resize((size, size), Image.Resampling.BOX)
                del image
            return np.asarray(square), (width, height)
    except UnidentifiedImageError:
        raise Unreadable("no image in a format that is known here: JPEG, PNG, WebP, BMP, GIF") from None
    except (OSError, SyntaxError, ValueError, TypeError, EOFError, struct.error) as error:  # Pillow's, on damaged files
        raise Unreadable(str(error) or type(error).__name__) from None


def _open(file: BinaryIO) -> Image.Image:
    """Read the header of an image of any size: how much of it has to be decoded is known only then.

    Pillow's own limit is one for the whole process. It is lifted for this call and restored for everybody else.
    """
    with _opening:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _plain(image: Image.Image) -> Image.Image:
    """In mode L or RGB."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float32)  # 16 bits, whatever the order of bytes
        return Image.fromarray((np.clip(values, 0, 65535) / 257).round().astype(np.uint8))
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        on_white = Image.new("RGBA", colours.size, "white")
        on_white.alpha_composite(colours)
        return on_white.convert("L" if image.mode in ("L", "LA", "La") else "RGB")
    mode = "L" if image.mode in ("1", "L") else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """How EXIF, or XMP where that says nothing, has the image turned; None for not at all. Nothing else in them can
    keep an image from being read."""
    exif = image.info.get("exif")  # a PNG may have words of that name
    said = _orientation(exif) if isinstance(exif, bytes) else None
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION) if said is None else said)
    except Exception:  # noqa: BLE001 - Pillow stumbles in many ways over odd entries, and the pixels are there
        return None


def _orientation(exif: bytes) -> int | None:
    """EXIF's entry for the orientation, None where there is none of the right type. Pillow gives up a directory at its
    first odd entry, and what comes after it."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(f"{order}L", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, start)
        for at in range(start + 2, start + 2 + 12 * entries, 12):
            tag, kind, count, value = struct.unpack_from(f"{order}HHLH", tiff, at)
            if (tag, kind, count) == (_ORIENTATION, 3, 1):  # one SHORT
                return int(value)
    except struct.error:  # the directory is cut off
        pass
    return None


def in_parallel(work: Callable[[int], _Result], rows: Sequence[int], what: str) -> list[_Result]:
    """``work`` of each row in order, on all cores, with a bar on a terminal. Its results are kept: let them be small.
    Pillow decodes outside Python's lock, so that threads are enough."""
    found: list[_Result] = []
    with ThreadPoolExecutor(available_cores()) as pool:
        for first in _chunks(len(rows), what):
            found += pool.map(work, rows[first : first + _CHUNK])
    return found


def _chunks(n: int, what: str) -> Iterable[int]:
    console = Console(stderr=True)
    return track(range(0, n, _CHUNK), what, console=console, transient=True, disable=not console.is_terminal)


def squares(paths: Sequence[Path], digests: Sequence[str], size: int, *, grey: bool) -> tuple[NDArray[np.uint8], str]:
    """The images of ``paths`` as one memory-mapped array (n, size, size), or (n, size, size, 3) unless all are to be
    ``grey``, and the key that its contents have.

    It lies in the cache, keyed by the sha256 ``digests`` of the files, and is made where it is not there: in one
    process, whole or not at all, a few hundred images in memory at a time. Raises DataError where a file is not what
    it was when it was checked, StorageError where the cache cannot be written.
    """
    shape = (len(paths), size, size) if grey else (len(paths), size, size, 3)
    key = hashlib.sha256("\n".join((_VERSION, repr(shape), *digests)).encode()).hexdigest()
    target = user_cache() / "images" / f"{key[:32]}.npy"
    try:
        found = _opened(target, shape)
        if found is None:
            target.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{target}.lock"):
                if _opened(target, shape) is None:  # another process may have made it meanwhile
                    _write(target, paths, digests, shape)
            found = _opened(target, shape)
    except OSError as error:
        raise StorageError(
            f"decoded images cannot be kept in {target.parent} ({error}): free space or set HARNESS_CACHE to another "
            "folder"
        ) from None
    assert found is not None
    return found, key


def _opened(target: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    try:
        found: NDArray[np.uint8] = np.load(target, mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):
        return None
    return found if found.shape == shape else None


def _write(target: Path, paths: Sequence[Path], digests: Sequence[str], shape: tuple[int, ...]) -> None:
    def square(row: int) -> NDArray[np.uint8]:
        try:
            with paths[row].open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digests[row]:
                    raise Unreadable("it has changed")
                file.seek(0)
                pixels, _ = decode(file, shape[1])
        except (Unreadable, OSError) as error:
            raise DataError(
                f"{shown(str(paths[row]))} is not what it was when it was checked ({error}): run this again"
            ) from None
        return pixels if pixels.ndim == len(shape) - 1 else np.repeat(pixels[..., None], 3, axis=2)

    with tempfile.TemporaryDirectory(dir=target.parent, prefix="building-") as folder:
        built = Path(folder) / target.name
        with built.open("wb") as file, ThreadPoolExecutor(available_cores()) as pool:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for first in _chunks(len(paths), "decoding"):
                rows = range(first, min(first + _CHUNK, len(paths)))
                file.writelines(pixels.tobytes() for pixels in pool.map(square, rows))
        built.replace(target)
