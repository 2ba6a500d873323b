"""A pretrained network as stages: one set of layers and variables, shared by all trials and reset between them."""

import functools
import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from harness.backbones.describe import build, split
from harness.backbones.described import architecture_of
from harness.backbones.devices import keep_compiled, on_gpu
from harness.backbones.preprocessing import Prepare
from harness.backbones.stages import Architecture
from harness.backbones.weights import Weights
from harness.core.backbone import BackboneSpec

logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of each function that is traced for a new shape

_IMAGENET_DEVIATION = 58.0  # of the pixels, about the same in each channel
_POOL = {"pool_size": (2, 2), "strides": (2, 2), "padding": "valid"}


class Backbone:
    """The stages of a pretrained network without its top, with the ImageNet tensors they are reset to.

    There is one copy of the variables in the process. Keras on TensorFlow keeps about one model a trial for good
    (keras issues 17458 and 20552), so building it for each trial is no option.

    Attributes:
        spec: The backbone as declared.
        weights: Its ImageNet weights.
        model: The network, for images of any size.
        stages: The parts of ``model`` that are frozen and cached, first to last. They share its layers.
        architecture: Shapes and FLOPs of the stages.
        layers: The layers of ``model`` that have weights.
        dtype: What they compute in.
        has_training_mode: Whether there are layers that do something else in training, as batch normalization does.
    """

    def __init__(self, model: keras.Model, spec: BackboneSpec, architecture: Architecture, weights: Weights) -> None:
        self.spec, self.architecture, self.weights, self.model = spec, architecture, weights, model
        self.stages: list[keras.Model] = split(model, spec.stages)
        self.layers: list[keras.layers.Layer] = [layer for layer in model.layers if layer.weights]
        tensors = {id(variable) for variable in model.weights}
        self._random_states = [variable for variable in model.variables if id(variable) not in tensors]
        self.dtype: str = self.layers[0].compute_dtype
        self.has_training_mode = any("training" in inspect.signature(layer.call).parameters for layer in model.layers)
        if keras.backend.backend() == "jax":
            self._take_jax_layers()
        elif not on_gpu():
            from harness.backbones.kernels import use_fast_kernels

            use_fast_kernels([layer for layer in self.layers if isinstance(layer, keras.layers.Conv2D)])
        self._passes: dict[tuple[str, tuple[int, ...]], Callable[[Any], Any]] = {}

    @classmethod
    def of(cls, spec: BackboneSpec, weights: Weights, dtype: str | None = None) -> "Backbone":
        """Build the network that ``spec`` declares.

        ``dtype`` is the layers' dtype policy, by default the process's, or float32 where ``spec`` allows no bfloat16.
        """
        keep_compiled()
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy(dtype or (policy if spec.bfloat16 else "float32"))
        try:
            return cls(build(spec), spec, architecture_of(spec), weights)
        finally:
            keras.config.set_dtype_policy(policy)

    @functools.cache  # noqa: B019 - there are a few backbones in a process, and they stay
    def prepare(self, image_size: int) -> Prepare:
        """Return the layer that makes raw images the input of the first stage, as squares of ``image_size``."""
        return Prepare(self.spec.preprocessing, image_size)

    def load(self, *, pretrained: bool, seed: int) -> None:
        """Set every layer to its ImageNet tensors, or draw new ones (He et al. 2015, uniform; zero biases).

        He's rule rather than Keras's default (Glorot): without batch normalisation thirteen ReLU layers hardly train
        in a few epochs from the latter, and training from scratch shall get a fair chance. The rule is for inputs of
        unit variance, so the first kernel is divided by the spread of the pixels.
        """
        draws = np.random.default_rng([seed, 0])
        for layer in self.layers:
            tensors = self.weights.tensors[layer.name] if pretrained else self._drawn(layer, draws)
            for variable, tensor in zip(layer.weights, tensors, strict=True):
                variable.assign(tensor)
        states = np.random.default_rng([seed, 1])  # of dropped branches (stochastic depth): a seed and a counter each
        for variable in self._random_states:
            variable.assign(np.array([states.integers(2**31), 0], np.uint32))

    def _drawn(self, layer: keras.layers.Layer, draws: np.random.Generator) -> list[NDArray[np.float32]]:
        """Return random kernels, and what Keras begins the other variables of a layer with."""
        found = []
        for variable in layer.weights:
            shape = tuple(variable.shape)
            if "kernel" not in variable.name:
                ones = variable.name in ("gamma", "moving_variance")
                found.append(np.full(shape, 1.0 if ones else 0.0, np.float32))
                continue
            fan_in = np.prod(shape[:2]) if "depthwise" in variable.name else np.prod(shape[:-1])
            limit = np.sqrt(6 / fan_in)
            if layer is self.layers[0]:
                limit /= _IMAGENET_DEVIATION / float(np.mean(self.spec.preprocessing.scale))
            found.append(uniform(draws, limit, shape))
        return found

    def forward(self, values: Any, start: int, end: int, image_size: int) -> Any:
        """Run a batch of outputs of stage ``start`` (raw images where it is 0, which become squares of ``image_size``)
        up to stage ``end``.

        The layers run in inference mode. Each stage is compiled by itself, so that every ``start`` and ``end`` share
        them. What lies between two would have to be written to memory in any case.
        """
        if start == 0 < end:
            values = self._pass(self.prepare(image_size), values)
        elif start < end:  # stored in float32, but the stage before would give another type
            values = ops.cast(values, self.dtype)
        for stage in self.stages[start:end]:
            values = self._pass(stage, values)
        return values

    def _pass(self, layer: keras.layers.Layer, values: Any) -> Any:
        key = layer.name, tuple(values.shape[1:])
        if key not in self._passes:
            self._passes[key] = _compiled(layer, values)
        return self._passes[key](values)

    def _take_jax_layers(self) -> None:
        from harness.backbones import jax_kernels

        for layer in self.model.layers:
            if isinstance(layer, keras.layers.Conv2D) and layer.activation is keras.activations.relu:
                layer.activation = jax_kernels.relu
            elif isinstance(layer, keras.layers.MaxPooling2D) and _POOL.items() <= layer.get_config().items():
                layer.call = functools.partial(jax_kernels.max_pool_of, layer.call)


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


def _compiled(layer: keras.layers.Layer, values: Any) -> Callable[[Any], Any]:
    """Compile ``layer`` in inference mode for batches of any length like ``values``."""
    run = in_turn([layer])
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
