"""What becomes of raw images before a network sees them."""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from harness.core.backbone import Preprocessing

CHANNELS_LAST = "channels_last"
"""How images lie in memory here, whatever the user's Keras settings say."""

_ORDER = {"rgb": [0, 1, 2], "bgr": [2, 1, 0]}


class Prepare(keras.layers.Layer):  # type: ignore[misc]
    """Raw images (n, h, w[, 3]) uint8, RGB or grey -> what a backbone was trained on: (n, size, size, 3).

    In the graph, so that images stay small in memory and are resized a batch at a time. The same numbers as the
    ``preprocess_input`` of `keras.applications` on resized RGB, without its in-place change.
    """

    def __init__(self, preprocessing: Preprocessing, image_size: int) -> None:
        super().__init__(dtype="float32", trainable=False)
        self.preprocessing, self.image_size = preprocessing, image_size

    def call(self, pixels: Any) -> Any:
        """Resize (bilinear), repeat a grey channel, order the channels, centre and scale."""
        values = _resized(pixels, self.image_size, _ORDER[self.preprocessing.channels])
        values -= ops.convert_to_tensor(np.asarray(self.preprocessing.mean, np.float32))
        return values / ops.convert_to_tensor(np.asarray(self.preprocessing.scale, np.float32))


class Scaled(keras.layers.Layer):  # type: ignore[misc]
    """Raw images -> (n, size, size, 3) RGB from 0 to 1, the input of networks without ImageNet weights."""

    def __init__(self, image_size: int) -> None:
        super().__init__(dtype="float32", trainable=False)
        self.image_size = image_size

    def call(self, pixels: Any) -> Any:
        """Resize and scale."""
        return resized(pixels, self.image_size) / 255.0


def resized(pixels: Any, image_size: int) -> Any:
    """Resize pixels (n, h, w[, 3]) to (n, size, size, 3) float32 RGB, still 0 to 255; bilinear, without aliasing."""
    return _resized(pixels, image_size, _ORDER["rgb"])


def _resized(pixels: Any, image_size: int, order: list[int]) -> Any:
    """Do as `resized`, with the channels in that ``order``.

    Two matrix products, one for the rows and one for columns and channels: TensorFlow's own resizing takes one core as
    long as several convolutions, and to turn the channels around about as long again.
    """
    values = ops.cast(pixels, "float32")
    _, height, width, *colour = values.shape
    channels = np.eye(3, dtype=np.float32)[:, order] if colour else np.ones((1, 3), np.float32)
    rows = ops.reshape(values, (-1, height, width * len(channels)))
    columns = np.kron(bilinear(width, image_size).T, channels)
    values = ops.matmul(ops.matmul(bilinear(height, image_size), rows), columns)
    return ops.reshape(values, (-1, image_size, image_size, 3))


def bilinear(length: int, size: int) -> NDArray[np.float32]:
    """Return the matrix (size, length) that resizes a row of ``length`` pixels to ``size``, as Keras does with
    ``antialias``: where they become fewer, each is a mean over all that fall on it."""
    reach = max(1.0, length / size)
    centres = (np.arange(size) + 0.5) * length / size
    weights = np.maximum(0.0, 1 - np.abs(np.arange(length) + 0.5 - centres[:, None]) / reach)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)
