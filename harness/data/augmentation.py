"""Augmentation that keeps activations cacheable: a fixed number of views of each training image.

View 0 is the image itself. The others are shifted by up to an eighth of the side in each direction, with edge padding;
if the study allows it, half of them are mirrored. A view never changes, so that its activations can be cached. Epochs
use the views in turn. If no layer is frozen, views are made batch by batch and their FLOPs are not counted.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.dataset import Images

SHIFT = 8
"""The largest shift is 1/SHIFT of the side."""


class View:
    """View ``number`` >= 1 of ``pixels`` (n, height, width[, 3]), computed on indexing: ``view[rows]``."""

    def __init__(self, pixels: NDArray[np.uint8], number: int, *, flip: bool) -> None:
        self._pixels = pixels
        self.shape, self.dtype = pixels.shape, pixels.dtype
        draws = np.random.default_rng([number, len(pixels)])
        limit = np.array(pixels.shape[1:3]) // SHIFT
        self._shifts = draws.integers(-limit, limit + 1, (len(pixels), 2))
        self._mirrored = (draws.random(len(pixels)) < 0.5) & flip

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, rows: Any) -> NDArray[np.uint8]:
        """Return this view of the images ``rows``, a slice or an array of row numbers."""
        images = self._pixels[rows]
        height, width = self.shape[1:3]
        shifts, mirrored = self._shifts[rows], self._mirrored[rows, None]
        y = np.clip(np.arange(height) + shifts[:, :1], 0, height - 1)
        x = np.clip(np.arange(width) + shifts[:, 1:], 0, width - 1)
        x = np.where(mirrored, width - 1 - x, x)
        shifted: NDArray[np.uint8] = images[np.arange(len(images))[:, None, None], y[:, :, None], x[:, None, :]]
        return shifted


def view(images: Images, number: int, *, flip: bool) -> Images:
    """Return view ``number`` of ``images``, with a key of its own. View 0 is ``images`` itself."""
    if number == 0:
        return images
    pixels: Any = View(images.pixels, number, flip=flip)
    key = f"{images.digest()}, view {number} of shifts by 1/{SHIFT}{', mirrored' if flip else ''}"
    return Images(pixels, images.labels, key)
