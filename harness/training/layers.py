"""Layers of a head whose settings are variables, so that compiled steps serve all trials."""

from typing import Any

import keras
import numpy as np
from keras import ops

from harness.backbones.devices import as_numpy


class Dropout(keras.layers.Layer):  # type: ignore[misc]
    """Inverted dropout whose rate is a variable, so that one compiled step serves every rate."""

    def __init__(self, name: str, dtype: str | None = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.rate = self.add_weight(
            shape=(), initializer="zeros", trainable=False, name="rate", dtype="float32", autocast=False
        )
        self.draws = keras.random.SeedGenerator(0, name="draws")

    def call(self, values: Any, training: bool = False) -> Any:
        """Zero a share ``rate`` of the values and scale up the rest, in training only."""
        if not training:
            return values
        keep = ops.cast(
            keras.random.uniform(ops.shape(values), seed=self.draws, dtype="float32") >= self.rate, values.dtype
        )
        return values * (keep / ops.cast(1 - self.rate, values.dtype))

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the input's shape."""
        return shape

    def reset(self, rate: float, seed: int) -> None:
        """Set the rate and start the random stream again."""
        self.rate.assign(rate)
        self.draws.state.assign(np.asarray([seed, 0], dtype="uint32"))


class Scale(keras.layers.Layer):  # type: ignore[misc]
    """Divides the pooled features by their root mean square, measured once before training and then left alone.

    VGG16's features on 32x32 digits have a root mean square of 11. A freshly drawn head on them starts with logits of
    that size: its first steps tear at the convolutions below, and small hidden layers die. With a start at unit scale
    (data-dependent, as in Mishkin and Matas 2016) the same trials ended half a point to two points higher.
    """

    def __init__(self) -> None:
        super().__init__(name="scale", dtype="float32")
        self.factor = self.add_weight(shape=(), initializer="ones", trainable=False, name="factor", dtype="float32")

    def call(self, values: Any) -> Any:
        """Scale."""
        return values * ops.cast(self.factor, values.dtype)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the input's shape."""
        return shape

    def measure(self, values: Any) -> None:
        """Make ``values`` those that come out with a root mean square of 1."""
        mean_square = float(as_numpy(ops.mean(ops.square(ops.cast(values, "float32")))))
        self.factor.assign(1 / np.sqrt(mean_square) if mean_square > 0 else 1.0)
