"""Networks that trials train: a slice of the backbone with a head on it.

Layers and variables of a head are named, the same in every network: TensorFlow keeps 35 kB for each name and shape of a
variable that it has ever seen, and Keras would number the names on through the process.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from harness.backbones.backbone import Backbone, in_turn, uniform
from harness.backbones.devices import as_numpy, images_at_once
from harness.backbones.preprocessing import CHANNELS_LAST
from harness.core.strategy import Pooling, Strategy
from harness.training.layers import Dropout, Scale


@dataclass(eq=False)
class Network:
    """A slice of the backbone and a head on it, which run one after the other and give logits (n, classes).

    Args:
        frozen_layers: The slice's layers that do not train. They run in inference mode.
        trainable_layers: The slice's layers that train.
        head: The layers that belong to this network alone. They train.
        template: Layers like those of ``head``, but with hidden layers of one unit. All heads of a kind share them.
        forward: Runs the slice in inference mode on a batch of any length.
        images_at_once: The batch size of passes without gradients.
        image_size: Side of the square images that it is given, in pixels.
        load_backbone: Sets the stages before a trial. None where the slice has none.
        training_mode: Whether ``trainable_layers`` run in training mode, see `Networks`. The head does.
    """

    frozen_layers: Sequence[keras.layers.Layer]
    trainable_layers: Sequence[keras.layers.Layer]
    head: Sequence[keras.layers.Layer]
    template: Sequence[keras.layers.Layer]
    forward: Callable[[Any], Any]
    images_at_once: int
    image_size: int
    load_backbone: Callable[[bool, int], None] | None = None
    training_mode: bool = False

    def reset(self, *, seed: int, dropout: float, pretrained: bool = True) -> None:
        """Set the weights to the start of a trial, the same for the same ``seed``.

        Convolutions get ImageNet's weights or random ones, the head random ones (Glorot and Bengio 2010, uniform; zero
        biases).
        """
        if self.load_backbone is not None:
            self.load_backbone(pretrained, seed)
        draws = np.random.default_rng([seed, 1])
        for layer in self.head:
            if isinstance(layer, Dropout):
                layer.reset(dropout, int(draws.integers(2**31)))
            elif hasattr(layer, "kernel"):
                *field_shape, fan_in, fan_out = layer.kernel.shape
                limit = np.sqrt(6 / ((fan_in + fan_out) * np.prod(field_shape)))
                layer.kernel.assign(uniform(draws, limit, layer.kernel.shape))
                layer.bias.assign(np.zeros(layer.bias.shape, np.float32))

    def take_head(self, other: "Network") -> None:
        """Copy the trained head of ``other``, which has the same shape."""
        for variable, found in zip(self.head_variables(), other.head_variables(), strict=True):
            variable.assign(keras.ops.copy(found.value))  # JAX would share it, and a step takes its memory

    def head_variables(self) -> list[keras.Variable]:
        """Return all variables of the head, in the same order as those of its template."""
        return variables_of(self.head)

    def trainable_variables(self) -> list[keras.Variable]:
        """Return the variables that train, those of the backbone first."""
        return [variable for variable in variables_of([*self.trainable_layers, *self.head]) if variable.trainable]

    def head_size(self) -> int:
        """Return how many weights the head has."""
        return sum(int(layer.count_params()) for layer in self.head)

    def logits(self, inputs: Any) -> NDArray[np.float64]:
        """Return the logits (n, classes) of a batch, in inference mode."""
        return np.asarray(as_numpy(self._run_head(self.forward(inputs))), np.float64)

    @cached_property
    def _run_head(self) -> Callable[[Any], Any]:
        """The head in inference mode.

        TensorFlow does not compile it: a trial has a head of its own, and to compile it takes longer than to run its
        few products on the validation part. JAX compiles in any case.
        """
        return in_turn(self.head)

    def calibrate(self, inputs: Any) -> None:
        """Measure the head's `Scale` on a batch of ``inputs``, after a reset and before training.

        The FLOPs of this forward pass, those of one step's in a whole training, are not charged.
        """
        values = self.forward(inputs)
        for layer in self.head:
            if isinstance(layer, Scale):
                layer.measure(values)
                return
            values = layer(values)


def variables_of(layers: Sequence[keras.layers.Layer]) -> list[keras.Variable]:
    """Return the variables of ``layers``, layer by layer."""
    return [variable for layer in layers for variable in layer.variables]


class Networks:
    """Builds the networks of one study and keeps the last few.

    A pretrained backbone runs in inference mode while it is trained, as in Keras's guide to transfer learning: batch
    normalization keeps the means and variances of ImageNet. In training mode the layers would adapt to those of the
    batches, and the network be evaluated by moving averages that a few dozen steps hardly move.
    """

    KEPT = 6
    KEPT_VALUES = 10_000_000
    """Weights in the heads of all kept networks: the last ones that together have no more, and the last in any case."""
    DROPPED = 50
    """After so many dropped networks TensorFlow has to forget them, for which it optimizes every step again."""

    def __init__(self, backbone: Backbone, n_classes: int) -> None:
        self._backbone = backbone
        self._n_classes = n_classes
        self._template = cache(self._new_head)
        self._kept: dict[tuple[object, ...], Network] = {}
        self._dropped = 0

    def for_strategy(self, strategy: Strategy, start: int) -> Network:
        """Return the network that trains ``strategy`` from activations after stage ``start`` <= k.

        With ``start`` 0 it trains from raw images.
        """
        mode = self._in_training_mode(strategy)
        key = (start, strategy.frozen, strategy.pooling, strategy.head, strategy.image_size, mode)
        network = self._kept.pop(key, None) or self._build(strategy, start)
        self._kept[key] = network
        while len(self._kept) > self.KEPT or (
            len(self._kept) > 1 and sum(map(Network.head_size, self._kept.values())) > self.KEPT_VALUES
        ):
            del self._kept[next(iter(self._kept))]
            self._dropped += 1
        if self._dropped >= self.DROPPED:
            _forget_kernels()
            self._dropped = 0
        return network

    def _build(self, strategy: Strategy, start: int) -> Network:
        backbone, end, size = self._backbone, len(self._backbone.stages), strategy.image_size
        frozen = backbone.stages[start : strategy.frozen]
        return Network(
            frozen if start else [backbone.prepare(size), *frozen],
            backbone.stages[strategy.frozen :],
            self._new_head(strategy.pooling, strategy.head, size),
            self._template(strategy.pooling, (1,) * len(strategy.head), size),
            partial(backbone.forward, start=start, end=end, image_size=size),
            images_at_once(size),
            size,
            None if start == end else self._load,
            self._in_training_mode(strategy),
        )

    def _in_training_mode(self, strategy: Strategy) -> bool:
        # One answer where the modes do not differ, so that strategies share a compiled step.
        return not strategy.pretrained and self._backbone.has_training_mode

    def _load(self, pretrained: bool, seed: int) -> None:
        self._backbone.load(pretrained=pretrained, seed=seed)

    def _new_head(self, pooling: Pooling, widths: Sequence[int], image_size: int) -> list[keras.layers.Layer]:
        """Return the layers of a head, with their variables."""
        architecture = self._backbone.architecture
        layers = _head(pooling, widths, self._n_classes)
        give_variables(layers, (None, *architecture.shape(len(architecture.stages), image_size)))
        return layers


def give_variables(layers: Sequence[keras.layers.Layer], shape: tuple[int | None, ...]) -> None:
    """Give ``layers`` their variables, as for an input of that shape. To call them would do, and takes longer."""
    for layer in layers:
        layer.build(shape)
        shape = layer.compute_output_shape(shape)


def _forget_kernels() -> None:
    """Free what TensorFlow keeps for every operation and shape of a variable that it has ever run.

    That is half a megabyte for a head, of dropped networks too. Steps stay traced. JAX would lose all it has compiled.
    """
    if keras.backend.backend() == "tensorflow":
        policy = keras.config.dtype_policy()  # which Keras would forget as well
        keras.utils.clear_session(free_memory=False)
        keras.config.set_dtype_policy(policy)


def _head(pooling: Pooling, widths: Sequence[int], n_classes: int) -> list[keras.layers.Layer]:
    """Return a head's layers, in float32 under mixed precision too: TensorFlow keeps 0.3 MB for each shape of a product
    in bfloat16, and hardly a head comes twice."""
    pools = {
        "average": keras.layers.GlobalAveragePooling2D,
        "max": keras.layers.GlobalMaxPooling2D,
        "flatten": keras.layers.Flatten,
    }
    layers: list[keras.layers.Layer] = [pools[pooling](dtype="float32", data_format=CHANNELS_LAST), Scale()]
    for i, width in enumerate(widths, start=1):
        layers.append(_dense(width, f"hidden_{i}", activation="relu"))
        layers.append(Dropout(f"dropout_{i}", dtype="float32"))
    return [*layers, logits_layer(n_classes)]


def logits_layer(n_classes: int) -> keras.layers.Layer:
    # softmax and loss stay in float32 under mixed precision
    return _dense(n_classes, "logits")


def _dense(width: int, name: str, activation: str | None = None) -> keras.layers.Layer:
    """Return a dense layer of zeros: `Network.reset` draws the weights, and drawing them here too takes as long."""
    return keras.layers.Dense(width, activation, kernel_initializer="zeros", name=name, dtype="float32")
