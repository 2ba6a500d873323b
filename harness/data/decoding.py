"""Decode image files: one at a time, or a whole set in parallel into a memory-mapped file in the cache.

As in the evaluation of VGG16 (Simonyan and Zisserman 2015), the shorter side is scaled to the wanted size and the
centre is cropped, which keeps the aspect ratio. An exported model does the same to images of any size: see
`harness.deployment.standalone`.
"""

import errno
import hashlib
import struct
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from rich.console import Console
from rich.progress import track

from harness.core.environment import available_cores
from harness.core.errors import DataError, StorageError
from harness.core.paths import user_cache
from harness.data.essentials import essentials
from harness.data.formats import FIRST_BYTES, why_unread
from harness.data.listing import shown

FORMATS = ("PLAIN JPEG", "PNG", "WEBP", "BMP", "GIF")
"""Pillow's names of the supported formats; the first is registered below."""
MOST_PIXELS = 180_000_000
"""The most pixels of an image in memory. A JPEG may have more: it is decoded at a scale of down to 1/8."""

_VERSION = "square of the middle, bicubic, alpha on white; v3"  # part of every key
_LARGE = 20_000_000  # pixels; larger images are decoded one at a time to limit memory
_large = threading.Lock()
_opening = threading.Lock()
_CHUNK = 256  # images per write
_JPEG = b"\xff\xd8\xff"

# Pillow prints a warning for every malformed EXIF entry; only the orientation is used here.
warnings.filterwarnings("ignore", module=r"PIL\.")

_ORIENTATION = 0x0112  # EXIF tag
_TRANSPOSES: dict[object, Image.Transpose] = {
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
    """Raised for a file without a complete image. The message is the reason."""


class _PlainJpeg(JpegImageFile):
    """A JPEG read for its pixels only. Pillow's own class also reads the resolution and the MPO index, and rejects a
    file with malformed entries there."""

    def _read_dpi_from_exif(self) -> None:
        pass


Image.register_open(FORMATS[0], _PlainJpeg, lambda prefix: prefix.startswith(_JPEG))


@dataclass(frozen=True)
class Shrunk:
    """A whole image at a small size: ``pixels`` uint8 (side, side[, 3]). Of the original: ``size`` (width, height),
    ``values`` (lowest, highest) as 8 bits, and ``deep`` if it has 16 bits."""

    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    values: tuple[int, int]
    deep: bool


def decode(file: BinaryIO, size: int | tuple[int, int]) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Decode the first image in ``file`` to ``size``: (width, height), or the side of a square.

    EXIF orientation is applied, 16 bits become 8, transparent pixels become white.

    Returns:
        Pixels, uint8 (height, width) if grey or (height, width, 3), and the original (width, height).

    Raises:
        Unreadable: there is no complete image of at most `MOST_PIXELS` pixels.
        OSError: the file cannot be read now, whatever is in it.
    """
    wanted = (size, size) if isinstance(size, int) else size
    with _decoded(file, wanted) as (image, original, _):
        return _cropped(image, *wanted), original


def shrink(file: BinaryIO, side: int) -> Shrunk:
    """Resize the whole of the first image in ``file`` to a square. Decodes and raises like `decode`."""
    with _decoded(file, (side, side)) as (image, original, deep):
        lows, highs = zip(*np.reshape(image.getextrema(), (-1, 2)).tolist(), strict=True)
        pixels = np.asarray(image.resize((side, side), Image.Resampling.BOX))
        return Shrunk(pixels, original, (min(lows), max(highs)), deep)


@contextmanager
def _decoded(file: BinaryIO, wanted: tuple[int, int]) -> Iterator[tuple[Image.Image, tuple[int, int], bool]]:
    """Yield the upright image in mode L or RGB, its original size and whether it has 16 bits."""
    first = b""
    try:
        plain = essentials(file)
        first = plain.read(FIRST_BYTES)
        with _open(plain, lift=first.startswith(_JPEG)) as opened:
            width, height = opened.size
            deep = "16B" in str(opened.tile)  # PNG's raw mode, such as RGB;16B
            twice = 2 * max(wanted)
            opened.draft(None, (twice, twice))  # JPEGs can be decoded at 1/2, 1/4 or 1/8 scale
            if opened.width * opened.height > MOST_PIXELS:
                raise Unreadable(f"{width} x {height} pixels are more than the limit of {MOST_PIXELS:,}")
            with _large if width * height > _LARGE else nullcontext():
                opened.load()
                image = _grey_or_rgb(opened)
                turn = _turn(opened)
                yield image if turn is None else image.transpose(turn), (width, height), deep
    except UnidentifiedImageError:
        raise Unreadable(why_unread(first)) from None
    except Image.DecompressionBombError:
        raise Unreadable(f"it has more pixels than the limit of {MOST_PIXELS:,}") from None
    except OSError as error:
        # Pillow's own have no number, and a damaged file may ask for an impossible position.
        if error.errno not in (None, errno.EINVAL):
            raise
        raise Unreadable(str(error)) from None
    except (SyntaxError, ValueError, TypeError, EOFError, struct.error) as error:  # damaged files
        raise Unreadable(str(error) or type(error).__name__) from None


def _open(file: BinaryIO, *, lift: bool) -> ImageFile:
    """Read the header of an image of at most `MOST_PIXELS` pixels, or of any size if ``lift``: a JPEG's size to decode
    is checked later.

    Pillow's size limit is global to the process. It is changed for this call only, in which Pillow allocates memory for
    a WebP and some GIFs.
    """
    with _opening:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None if lift else MOST_PIXELS // 2  # warns from there
        try:
            return Image.open(file, formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _grey_or_rgb(image: Image.Image) -> Image.Image:
    """Convert to mode L or RGB, with transparent pixels on white."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float32)  # 16 bits in either byte order
        grey = (np.clip(values, 0, 65535) / 257).round().astype(np.uint8)
        grey[values == image.info.get("transparency")] = 255
        return Image.fromarray(grey)
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        on_white = Image.new("RGBA", colours.size, "white")
        on_white.alpha_composite(colours)
        return on_white.convert("L" if image.mode in ("L", "LA", "La") else "RGB")
    mode = "L" if image.mode in ("1", "L") else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _cropped(image: Image.Image, width: int, height: int) -> NDArray[np.uint8]:
    """Crop the centre to the aspect ratio of ``width`` to ``height`` and resize it to them.

    The pixels are those of ``keras.layers.Resizing``, with which an exported model does the same: Pillow would crop in
    fractions of a pixel, look beyond the crop, and round bytes after each of its two passes.
    """
    across = max(1, min(image.width, image.height * width // height))
    down = max(1, min(image.height, image.width * height // width))
    left, top = (image.width - across) // 2, (image.height - down) // 2
    values = []
    for band in image.getbands():
        whole = np.asarray(image.getchannel(band))
        # Pillow's own crop would refuse a large image by the limit of the process.
        centre = Image.fromarray(np.ascontiguousarray(whole[top : top + down, left : left + across]))
        values.append(np.asarray(centre.convert("F").resize((width, height), Image.Resampling.BICUBIC)))
    pixels: NDArray[np.uint8] = np.clip(np.stack(values, axis=2), 0, 255).round().astype(np.uint8)
    return pixels if len(values) > 1 else pixels[:, :, 0]


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return the transpose that EXIF, or else XMP, asks for, or None. Malformed metadata is ignored."""
    exif = image.info.get("exif")  # a PNG may have a text of that name
    orientation = _orientation(exif) if isinstance(exif, bytes) else None
    try:
        return _TRANSPOSES.get(image.getexif().get(_ORIENTATION) if orientation is None else orientation)
    except Exception:  # noqa: BLE001 - Pillow raises many kinds on malformed metadata; the pixels are fine
        return None


def _orientation(exif: bytes) -> int | None:
    """Return the orientation entry of EXIF, or None if there is none of the right type. Unlike Pillow, read on after a
    malformed entry."""
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
    except struct.error:  # the directory is truncated
        pass
    return None


def in_parallel(work: Callable[[int], _Result], rows: Sequence[int], what: str) -> list[_Result]:
    """Map ``work`` over ``rows`` in threads, with a progress bar on a terminal, and keep all results in memory. Threads
    suffice because Pillow releases the GIL while decoding."""
    found: list[_Result] = []
    with ThreadPoolExecutor(available_cores()) as pool:
        for first in _chunks(len(rows), what):
            found += pool.map(work, rows[first : first + _CHUNK])
    return found


def _chunks(n: int, what: str) -> Iterable[int]:
    console = Console(stderr=True)
    return track(range(0, n, _CHUNK), what, console=console, transient=True, disable=not console.is_terminal)


def squares(paths: Sequence[Path], digests: Sequence[str], size: int, *, grey: bool) -> tuple[NDArray[np.uint8], str]:
    """Decode ``paths`` into one memory-mapped array, or reuse it from the cache.

    Returns:
        The array, uint8 (n, size, size) if ``grey``, else (n, size, size, 3), and a key of the files' sha256
        ``digests`` and the shape. One process writes it atomically, a few hundred images at a time.

    Raises:
        DataError: a file has changed since it was checked.
        StorageError: the cache cannot be written.
    """
    shape = (len(paths), size, size) if grey else (len(paths), size, size, 3)
    key = hashlib.sha256("\n".join((_VERSION, repr(shape), *digests)).encode()).hexdigest()
    target = user_cache() / "images" / f"{key[:32]}.npy"
    try:
        found = _load(target, shape)
        if found is None:
            target.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{target}.lock"):
                if _load(target, shape) is None:  # another process may have written it meanwhile
                    _write(target, paths, digests, shape)
            found = _load(target, shape)
    except OSError as error:
        raise StorageError(
            f"decoded images cannot be stored in {target.parent} ({error}): free space or set HARNESS_CACHE to another "
            "folder"
        ) from None
    assert found is not None
    return found, key


def _load(target: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
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
                    raise Unreadable("its content differs")
                file.seek(0)
                pixels, _ = decode(file, shape[1])
        except OSError as error:
            raise DataError(
                f"{shown(str(paths[row]))} can no longer be read ({error.strerror or error}): run this again"
            ) from None
        except Unreadable as error:
            raise DataError(
                f"{shown(str(paths[row]))} has changed since it was checked ({error}): run this again"
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
