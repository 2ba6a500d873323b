"""Small copies of images, cut out as networks see them."""

import io
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.data.archives import read_images
from harness.data.decoding import Unreadable, decode, in_parallel

SIDE = 112
"""Pixels. A thumbnail takes 2 to 8 kB, so that 1,300 of them stay under 15 MB as text."""
_QUALITY = 75


def thumbnails(sources: Sequence[str], archive: Path | None) -> list[NDArray[np.uint8] | str]:
    """Return a square of at most `SIDE` for each of ``sources``: files, or rows of ``archive``.

    For one that cannot be read it is the reason.
    """
    if archive is not None:
        pixels = read_images(archive)
        return [_fitted(pixels[int(row)]) if int(row) < len(pixels) else "there is no such row" for row in sources]
    return in_parallel(lambda i: _of_file(Path(sources[i])), range(len(sources)), "thumbnails")


def changed_since(sources: Sequence[str], moment: datetime) -> list[str]:
    """Return those of the files that were written after ``moment``."""
    found = []
    for source in sources:
        try:
            if Path(source).stat().st_mtime > moment.timestamp():
                found.append(source)
        except (OSError, ValueError):
            continue  # gone: its thumbnail says so
    return found


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """Return ``pixels`` (height, width[, 3]) as a JPEG."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()


def _of_file(path: Path) -> NDArray[np.uint8] | str:
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
