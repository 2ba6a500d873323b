"""VGG16 as one set of layers and variables, shared by all trials and reset between them."""

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from harness.backbones.architecture import RGB, VGG16, Conv
from harness.backbones.devices import keep_compiled, on_gpu
from harness.backbones.preprocessing import Prepare
from harness.backbones.weights import Weights

logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of each function that is traced for a new shape

_IMAGENET_DEVIATION = 58.0  # of the pixels, about the same in each channel


class Backbone:
    """The convolutions and pools of VGG16, with the ImageNet tensors they are reset to.

    There is one copy of the variables in the process. Keras on TensorFlow keeps about one model a trial for good
    (keras issues 17458 and 20552), so building it for each trial is no option.
    """

    def __init__(self, model: keras.Model, weights: Weights) -> None:
        """``model`` takes images of any size. ``prepare`` returns the layer that makes raw images its input."""
        self.weights = weights
        self.layers: list[keras.layers.Layer] = model.layers[1:]
        self.convs: list[keras.layers.Conv2D] = [
            layer for layer in self.layers if isinstance(layer, keras.layers.Conv2D)
        ]
        self.dtype: str = self.convs[0].compute_dtype
        if keras.backend.backend() == "jax":
            self._take_jax_layers()
        elif not on_gpu():
            from harness.backbones.kernels import use_fast_kernels

            use_fast_kernels(self.convs)
        self.architecture: tuple[Conv, ...] = tuple(self._describe(i) for i in range(len(self.convs)))
        self.prepare = functools.cache(Prepare)
        self._passes: dict[tuple[str, tuple[int, ...]], Callable[[Any], Any]] = {}

    @classmethod
    def vgg16(cls, weights: Weights, dtype: str | None = None) -> "Backbone":
        """Build the real one, for square images of 32 pixels or more.

        The layers are those of ``keras.applications.VGG16``, which would draw 15 million weights that are never used.
        ``dtype`` is the layers' dtype policy, by default the process's.
        """
        keep_compiled()
        inputs = values = keras.Input((None, None, RGB))
        for conv in VGG16:
            values = keras.layers.Conv2D(
                conv.out_channels,
                3,
                padding="same",
                activation="relu",
                kernel_initializer="zeros",
                name=conv.name,
                dtype=dtype,
            )(values)
            if conv.pool_after:
                values = keras.layers.MaxPooling2D(2, name=f"{conv.name.partition('_')[0]}_pool", dtype=dtype)(values)
        return cls(keras.Model(inputs, values), weights)

    def load(self, *, pretrained: bool, seed: int) -> None:
        """Set every convolution to its ImageNet tensors, or draw new ones (He et al. 2015, uniform; zero biases).

        He's rule rather than Keras's default (Glorot): without batch normalisation thirteen ReLU layers hardly train
        in a few epochs from the latter, and training from scratch shall get a fair chance. The rule is for inputs of
        unit variance, so the first kernel is divided by the spread of the pixels.
        """
        draws = np.random.default_rng([seed, 0])
        for conv in self.convs:
            if pretrained:
                kernel, bias = self.weights.tensors[conv.name]
            else:
                shape = conv.kernel.shape
                limit = np.sqrt(6 / np.prod(shape[:3]))
                if conv is self.convs[0]:
                    limit /= _IMAGENET_DEVIATION
                kernel = uniform(draws, limit, shape)
                bias = np.zeros(shape[3], np.float32)
            conv.kernel.assign(kernel)
            conv.bias.assign(bias)

    def forward(self, values: Any, start: int, end: int, image_size: int) -> Any:
        """Run a batch of outputs of convolution ``start`` (raw images where it is 0, which become squares of
        ``image_size``) up to convolution ``end``.

        The layers run in inference mode. Each convolution is compiled by itself, with its pool, so that every ``start``
        and ``end`` share them. What lies between two would have to be written to memory in any case.
        """
        if start == 0 < end:
            values = self._pass([self.prepare(image_size)], values)
        elif start < end:  # stored in float32, but the convolution before would give another type
            values = ops.cast(values, self.convs[start].compute_dtype)
        for number in range(start, end):
            values = self._pass(self.stage(number), values)
        return values

    def _pass(self, layers: Sequence[keras.layers.Layer], values: Any) -> Any:
        key = layers[0].name, tuple(values.shape[1:])
        if key not in self._passes:
            self._passes[key] = _compiled(layers, values)
        return self._passes[key](values)

    def after(self, k: int) -> list[keras.layers.Layer]:
        """Return the layers after convolution ``k``, and after its pool where it ends a block; all where k is 0."""
        if k == 0:
            return self.layers
        index = self.layers.index(self.convs[k - 1]) + 1
        if index < len(self.layers) and self.layers[index] not in self.convs:
            index += 1
        return self.layers[index:]

    def stage(self, number: int) -> list[keras.layers.Layer]:
        """Return convolution ``number``, counted from 0, and its pool where it ends a block."""
        return [layer for layer in self.after(number) if layer not in self.after(number + 1)]

    def _take_jax_layers(self) -> None:
        from harness.backbones import jax_kernels

        for layer in self.layers:
            if layer in self.convs:
                layer.activation = jax_kernels.relu
            else:
                layer.call = functools.partial(jax_kernels.max_pool_of, layer.call)

    def _describe(self, index: int) -> Conv:
        conv = self.convs[index]
        following = self.layers[self.layers.index(conv) + 1 :]
        pool_after = bool(following) and following[0] not in self.convs
        _, _, in_channels, out_channels = conv.kernel.shape
        return Conv(conv.name, in_channels, out_channels, pool_after)


def in_turn(layers: Sequence[keras.layers.Layer]) -> Callable[[Any], Any]:
    """Return a function that runs ``layers`` one after the other in inference mode. On JAX it is compiled."""

    def run(values: Any) -> Any:
        for layer in layers:
            values = layer(values)
        return values

    if keras.backend.backend() == "jax":
        from harness.backbones.jax_kernels import compiled

        return compiled(run, layers)
    return run


def _compiled(layers: Sequence[keras.layers.Layer], values: Any) -> Callable[[Any], Any]:
    """Compile ``layers`` `in_turn` for batches of any length like ``values``."""
    run = in_turn(layers)
    if keras.backend.backend() == "jax":
        return run
    import tensorflow as tf

    signature = [tf.TensorSpec((None, *values.shape[1:]), values.dtype)]
    compiled: Callable[[Any], Any] = tf.function(run, input_signature=signature, autograph=False)
    return compiled


def uniform(draws: np.random.Generator, limit: float, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Draw random numbers from -``limit`` to ``limit``, made in place: 15 million take a tenth of a second less."""
    values = draws.random(shape, np.float32)
    values -= np.float32(0.5)
    values *= np.float32(2 * limit)
    return values
