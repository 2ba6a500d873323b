"""VGG16 as one set of layers and variables, shared by all trials and reset between them."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from harness.backbones.architecture import RGB, VGG16, Conv
from harness.backbones.weights import Weights
from harness.core import environment
from harness.core.paths import user_cache
from harness.core.spec import Precision

logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of each function that is traced for a new shape

IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)
_COMPILED_BYTES = 2 * 10**9
"""What JAX may keep of what it compiles; it drops what was used longest ago."""
_IMAGENET_DEVIATION = 58.0  # of the pixels, about the same in each channel


class Prepare(keras.layers.Layer):  # type: ignore[misc]
    """Raw images (n, h, w[, 3]) uint8, RGB or grey -> what VGG16 was trained on: (n, size, size, 3) BGR, centred.

    In the graph, so that images stay small in memory and are resized a batch at a time. The same numbers as
    ``keras.applications.vgg16.preprocess_input`` on resized RGB, without its in-place change.
    """

    def __init__(self, image_size: int) -> None:
        super().__init__(dtype="float32", trainable=False)
        self.image_size = image_size

    def call(self, pixels: Any) -> Any:
        """Resize (bilinear), repeat a grey channel, turn to BGR and centre."""
        values = _resized(pixels, self.image_size, [2, 1, 0])
        return values - ops.convert_to_tensor(np.asarray(IMAGENET_MEAN_BGR, np.float32))


def resized(pixels: Any, image_size: int) -> Any:
    """Pixels (n, h, w[, 3]) -> (n, size, size, 3) float32 RGB, still 0 to 255; bilinear, without aliasing."""
    return _resized(pixels, image_size, [0, 1, 2])


def _resized(pixels: Any, image_size: int, order: list[int]) -> Any:
    """As `resized`, the channels in that ``order``.

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
    """Matrix (size, length) that resizes a row of ``length`` pixels to ``size``, as Keras does with ``antialias``:
    where they become fewer, each is a mean over all that fall on it."""
    reach = max(1.0, length / size)
    centres = (np.arange(size) + 0.5) * length / size
    weights = np.maximum(0.0, 1 - np.abs(np.arange(length) + 0.5 - centres[:, None]) / reach)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


class Backbone:
    """The convolutions and pools of VGG16, with the ImageNet tensors they are reset to.

    There is one copy of the variables in the process. Keras on TensorFlow keeps about one model a trial for good
    (keras issues 17458 and 20552), so building it for each trial is no option.
    """

    def __init__(self, model: keras.Model, weights: Weights) -> None:
        self.image_size: int = model.input_shape[1]
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
        self.prepare = Prepare(self.image_size)
        self._passes: dict[tuple[str, tuple[int, ...]], Callable[[Any], Any]] = {}

    @classmethod
    def vgg16(cls, weights: Weights, image_size: int, dtype: str | None = None) -> "Backbone":
        """Build the real one, for square images of ``image_size`` >= 32 pixels.

        The layers are those of ``keras.applications.VGG16``, which would draw 15 million weights that are never used.
        ``dtype`` is the layers' dtype policy, by default the process's.
        """
        _keep_compiled()
        inputs = values = keras.Input((image_size, image_size, RGB))
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

    @property
    def images_at_once(self) -> int:
        """The batch size of a pass without gradients.

        On a processor it is small for large images: a map of the first block takes 13 MB at 224x224, in float32, and
        two are in memory at the same time. Training takes more than that on a GPU.
        """
        return 128 if on_gpu() else max(1, min(128, 128 * 96**2 // self.image_size**2))

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

    def forward(self, values: Any, start: int, end: int) -> Any:
        """Run a batch of outputs of convolution ``start`` (raw images where it is 0) up to convolution ``end``.

        The layers run in inference mode. Each convolution is compiled by itself, with its pool, so that every ``start``
        and ``end`` share them. What lies between two would have to be written to memory in any case.
        """
        if start == 0 < end:
            values = self._pass([self.prepare], values)
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
            elif all(side % 2 == 0 for side in layer.input.shape[1:3]):
                layer.call = jax_kernels.max_pool

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
    """Random numbers from -``limit`` to ``limit``, made in place: 15 million take a tenth of a second less."""
    values = draws.random(shape, np.float32)
    values -= np.float32(0.5)
    values *= np.float32(2 * limit)
    return values


def device() -> str:
    """What trials run on, in words: the GPU's name, or the processor and its cores."""
    if keras.backend.backend() == "jax":
        import jax

        first = jax.devices()[0]
        return str(first.device_kind) if first.platform == "gpu" else environment.cpu()
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        return str(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name))
    return environment.cpu()


def on_gpu() -> bool:
    """Whether the backend sees a GPU."""
    return device() != environment.cpu()


def _keep_compiled() -> None:
    """Let JAX keep what it compiles for a GPU, for later processes: VGG16's convolutions took it 24 s on an H200.

    Not for a processor: those of two machines that share the folder may differ.
    """
    if keras.backend.backend() == "jax" and on_gpu():
        import jax

        config: Any = jax.config
        config.update("jax_compilation_cache_dir", str(user_cache() / "compiled"))
        config.update("jax_compilation_cache_max_size", _COMPILED_BYTES)


def fast_precision() -> Precision:
    """What this machine trains fastest in: bfloat16 on a GPU, and where TensorFlow's processor multiplies it.

    JAX on a processor has no fast convolution in either.
    """
    on_tensorflow = keras.backend.backend() == "tensorflow"
    return "bfloat16" if on_gpu() or (on_tensorflow and environment.multiplies_bfloat16()) else "float32"


def as_numpy(tensor: Any) -> NDArray[Any]:
    """A backend tensor as a NumPy array, float32 where it was bfloat16."""
    return np.asarray(ops.convert_to_numpy(ops.cast(tensor, "float32")))
