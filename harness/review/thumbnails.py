"""Small copies of images, cut out as networks see them."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.core.errors import DataError
from harness.data.archives import read_images
from harness.data.decoding import Unreadable, decode, in_parallel

SIDE = 112
"""Pixels. A thumbnail takes 2 to 8 kB, so that 1,300 of them stay under 15 MB as text."""
_QUALITY = 75
_INK = np.array([213, 94, 0], np.float32)

Thumbnail = NDArray[np.uint8] | str
"""The pixels (height, width[, 3]), or the reason why the image cannot be read."""


def thumbnails(sources: Sequence[str], archive: Path | None) -> list[Thumbnail]:
    """Return a square of at most `SIDE` for each of ``sources``: files, or rows of ``archive``."""
    if archive is None:
        return in_parallel(lambda i: _of_file(Path(sources[i])), range(len(sources)), "thumbnails")
    try:
        pixels = read_images(archive)
    except DataError as error:
        return [str(error)] * len(sources)
    return [_fitted(pixels[int(row)]) if int(row) < len(pixels) else "there is no such row" for row in sources]


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """Return ``pixels`` (height, width[, 3]) as a JPEG."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()


def overlaid(pixels: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the image (height, width[, 3]) in grey with the ``heat`` (h, w) in orange over it."""
    image = Image.fromarray(pixels).convert("L")
    grey = np.asarray(image, np.float32)[..., None]
    size = (image.width, image.height)
    weight = np.asarray(Image.fromarray(heat).resize(size, Image.Resampling.BILINEAR))[..., None].clip(0, 1) * 0.7
    mixed: NDArray[np.uint8] = (grey * (1 - weight) + _INK * weight).round().astype(np.uint8)
    return mixed


def _of_file(path: Path) -> Thumbnail:
    try:
        with path.open("rb") as file:
            return decode(file, SIDE)[0]
    except Unreadable as error:
        return str(error)
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or "there is no such file"


def _fitted(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = Image.fromarray(pixels.reshape(pixels.shape[:2]) if pixels.shape[-1] == 1 else pixels)
    image.thumbnail((SIDE, SIDE))
    return np.asarray(image)
