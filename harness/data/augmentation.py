"""Augmentation that keeps activations cacheable: a fixed number of views of each training image.

View 0 is the image; the others are shifted by up to an eighth of the side each way, edges repeated, and where the
study allows it half of them are mirrored. Each is always the same, so that its activations are stored like any others,
and epochs take the views in turn. Where training starts from the images themselves, nothing is stored: views are made
batch by batch, at no cost in FLOPs that is counted.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.dataset import Images

SHIFT = 8
"""An image is moved by at most one part in so many of its side."""


class View:
    """View ``number`` >= 1 of ``pixels`` (n, height, width[, 3]), made as it is asked for: ``view[rows]``."""

    def __init__(self, pixels: NDArray[np.uint8], number: int, *, flip: bool) -> None:
        self._pixels = pixels
        self.shape, self.dtype = pixels.shape, pixels.dtype
        draws = np.random.default_rng([number, len(pixels)])
        most = np.array(pixels.shape[1:3]) // SHIFT
        self._moves = draws.integers(-most, most + 1, (len(pixels), 2))
        self._mirrored = (draws.random(len(pixels)) < 0.5) & flip

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, rows: Any) -> NDArray[np.uint8]:
        """The view of some images: ``rows`` is a slice or an array of row numbers."""
        images = self._pixels[rows]
        height, width = self.shape[1:3]
        moves, mirrored = self._moves[rows], self._mirrored[rows, None]
        y = np.clip(np.arange(height) + moves[:, :1], 0, height - 1)
        x = np.clip(np.arange(width) + moves[:, 1:], 0, width - 1)
        x = np.where(mirrored, width - 1 - x, x)
        moved: NDArray[np.uint8] = images[np.arange(len(images))[:, None, None], y[:, :, None], x[:, None, :]]
        return moved


def view(images: Images, number: int, *, flip: bool) -> Images:
    """View ``number`` of ``images``, with a key of its own; 0 is they themselves."""
    if number == 0:
        return images
    pixels: Any = View(images.pixels, number, flip=flip)
    key = f"{images.digest()}, view {number} of shifts by 1/{SHIFT}{', mirrored' if flip else ''}"
    return Images(pixels, images.labels, key)
