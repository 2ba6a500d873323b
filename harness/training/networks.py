"""Networks that trials train: a head on VGG16 behind the freeze boundary, and the baselines' MLP and CNN.

Layers and variables of a head are named, the same in every network: TensorFlow keeps 35 kB for each name and shape of a
variable that it has ever seen, and Keras would number the names on through the process.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from harness.backbones.architecture import RGB
from harness.backbones.vgg16 import Backbone, as_numpy, in_turn, resized, uniform
from harness.core.strategy import MOST_HIDDEN_LAYERS, OptimizerName, Pooling, Strategy
from harness.training.flops import CNN_FILTERS, CNN_KERNEL, CNN_MODULES, CNN_WIDTH, MLP_HIDDEN

CNN_DROPOUT = 0.5


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
        """That of the input."""
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
        """That of the input."""
        return shape

    def measure(self, values: Any) -> None:
        """Make ``values`` those that come out with a root mean square of 1."""
        mean_square = float(as_numpy(ops.mean(ops.square(ops.cast(values, "float32")))))
        self.factor.assign(1 / np.sqrt(mean_square) if mean_square > 0 else 1.0)


class Trained:
    """A variable that trains, with the two slots an optimizer keeps for it, empty when they are first asked for."""

    def __init__(self, variable: keras.Variable) -> None:
        self.variable = variable

    @cached_property
    def momentum(self) -> keras.Variable:
        """The mean gradient, or the last step."""
        return _slot(self.variable)

    @cached_property
    def mean_square(self) -> keras.Variable:
        """The mean square of the gradient."""
        return _slot(self.variable)

    def clear(self, optimizer: OptimizerName) -> None:
        """Empty the slots that ``optimizer`` reads."""
        for slot in (self.momentum, self.mean_square) if optimizer == "adam" else (self.momentum,):
            slot.assign(ops.zeros(slot.shape, "float32"))


def _slot(variable: keras.Variable) -> keras.Variable:
    return keras.Variable(np.zeros(variable.shape, np.float32), trainable=False, name="slot")


@dataclass
class Heads:
    """The ``layers`` of a head without hidden layers, with one, two and so on, each hidden one of one unit: what
    TensorFlow traces for heads of any width. ``step`` is what it compiles for all networks with such heads."""

    layers: Sequence[Sequence[keras.layers.Layer]]
    step: Any = None


@dataclass(frozen=True)
class Tail:
    """The convolutions of ``backbone`` behind convolution ``boundary``, of which those behind convolution ``frozen``
    train; ``variables`` are the kernel and bias in turn of all that the backbone has."""

    backbone: Backbone
    variables: Sequence[Trained]
    boundary: int
    frozen: int


@dataclass
class Family:
    """Networks that differ in the hidden layers of their heads alone: all run ``layers`` first, of which ``trained``
    train.

    ``carry`` does what they do without gradients, for batches of any length. ``heads`` stand for those of the networks.
    ``tail`` tells which convolutions are run and which train; None where none is run. ``step`` is what JAX compiles for
    all of them; ``evaluated`` says that the passes of ``carry`` are compiled.
    """

    layers: Sequence[keras.layers.Layer]
    trained: list[Trained]
    carry: Callable[[Any], Any]
    heads: Heads
    tail: Tail | None = None
    step: Any = None
    evaluated: bool = False


@dataclass
class Network:
    """The layers of its ``family`` and its ``own``, which give logits (n, classes), and how they are set back before a
    trial: the convolutions of a strategy, which belong to the backbone, by ``load_backbone``; None where none is run.

    ``hidden`` tells which of the family's heads its own is like. ``steps`` keeps the training steps, one for each
    optimizer. ``pictures_at_once`` is the batch of a pass without gradients.
    """

    family: Family
    own: Sequence[keras.layers.Layer]
    hidden: int
    pictures_at_once: int
    load_backbone: Callable[[bool, int], None] | None = None
    steps: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def trained(self) -> list[Trained]:
        """The variables that train."""
        own = [Trained(variable) for variable in self.own_variables() if variable.trainable]
        return [*self.family.trained, *own]

    def reset(self, *, seed: int, dropout: float, pretrained: bool = True) -> None:
        """Back to the start: ImageNet or random convolutions, a freshly drawn head (Glorot and Bengio 2010, uniform;
        zero biases). The same for the same seed."""
        if self.load_backbone is not None:
            self.load_backbone(pretrained, seed)
        draws = np.random.default_rng([seed, 1])
        for layer in self.own:
            if isinstance(layer, Dropout):
                layer.reset(dropout, int(draws.integers(2**31)))
            elif hasattr(layer, "kernel"):
                *field_shape, fan_in, fan_out = layer.kernel.shape
                limit = np.sqrt(6 / ((fan_in + fan_out) * np.prod(field_shape)))
                layer.kernel.assign(uniform(draws, limit, layer.kernel.shape))
                layer.bias.assign(np.zeros(layer.bias.shape, np.float32))

    def take_head(self, other: "Network") -> None:
        """Go on with the head that ``other``, whose head has the same shape, has been trained to."""
        for variable, found in zip(self.own_variables(), other.own_variables(), strict=True):
            variable.assign(found.value)

    def own_variables(self) -> list[keras.Variable]:
        """All variables of the layers that belong to this network alone, in the same order for all of like layers."""
        return [variable for layer in self.own for variable in layer.variables]

    def own_values(self) -> int:
        """How many weights the layers have that belong to this network alone."""
        return sum(int(layer.count_params()) for layer in self.own)

    def logits(self, inputs: Any) -> NDArray[np.float64]:
        """Logits (n, classes) of a batch, without dropout."""
        return np.asarray(as_numpy(self._head(self.family.carry(inputs))), np.float64)

    @cached_property
    def _head(self) -> Callable[[Any], Any]:
        """The own layers in turn. TensorFlow does not compile them: a trial has a head of its own, and to compile it
        takes longer than to run its few products on the validation part. JAX compiles in any case."""
        return in_turn(self.own)

    def calibrate(self, inputs: Any) -> None:
        """Measure the head's `Scale` on a batch of ``inputs``: one forward pass after a reset, before training.

        Its FLOPs, those of one step's forward pass in a whole training, are not charged.
        """
        values = self.family.carry(inputs)
        for layer in self.own:
            if isinstance(layer, Scale):
                layer.measure(values)
                return
            values = layer(values)


class Networks:
    """Builds the networks of one study and keeps the last few, and all of their families: what comes again is not
    compiled again."""

    KEPT = 6
    KEPT_VALUES = 10_000_000
    """Weights in the heads of all kept networks: the last ones that together have no more, and the last in any case."""
    DROPPED = 50
    """After so many dropped networks TensorFlow has to forget them, for which it optimizes every step anew."""

    def __init__(self, backbone: Backbone, n_classes: int) -> None:
        self._backbone = backbone
        self._n_classes = n_classes
        self._convs = [Trained(variable) for variable in backbone.variables(0)]
        self._heads: dict[Pooling, Heads] = {}
        self._families: dict[tuple[int, int, Pooling], Family] = {}
        self._kept: dict[tuple[object, ...], Network] = {}
        self._dropped = 0

    def for_strategy(self, strategy: Strategy, boundary: int) -> Network:
        """The network that trains ``strategy`` from activations behind convolution ``boundary`` <= k (0: pictures)."""
        key = (boundary, strategy.frozen_convs, strategy.pooling, strategy.head)
        network = self._kept.pop(key, None) or self._build(strategy, boundary)
        self._kept[key] = network
        while len(self._kept) > self.KEPT or (
            len(self._kept) > 1 and sum(map(Network.own_values, self._kept.values())) > self.KEPT_VALUES
        ):
            del self._kept[next(iter(self._kept))]
            self._dropped += 1
        if self._dropped >= self.DROPPED:
            _forget_kernels()
            self._dropped = 0
        return network

    def _build(self, strategy: Strategy, boundary: int) -> Network:
        return Network(
            self._family(boundary, strategy.frozen_convs, strategy.pooling),
            self._new_head(strategy.pooling, strategy.head),
            len(strategy.head),
            self._backbone.pictures_at_once,
            None if boundary == len(self._backbone.convs) else self._load,
        )

    def _load(self, pretrained: bool, seed: int) -> None:
        self._backbone.load(pretrained=pretrained, seed=seed)

    def _family(self, boundary: int, frozen_convs: int, pooling: Pooling) -> Family:
        key = (boundary, frozen_convs, pooling)
        if key not in self._families:
            layers = self._backbone.after(boundary) if boundary else [self._backbone.prepare, *self._backbone.layers]
            if pooling not in self._heads:
                heads = [self._new_head(pooling, (1,) * hidden) for hidden in range(MOST_HIDDEN_LAYERS + 1)]
                self._heads[pooling] = Heads(heads)
            trained = self._convs[2 * frozen_convs :]
            end = len(self._backbone.convs)
            carry = partial(self._backbone.carry, start=boundary, end=end)
            tail = Tail(self._backbone, self._convs, boundary, frozen_convs) if boundary < end else None
            self._families[key] = Family(layers, trained, carry, self._heads[pooling], tail)
        return self._families[key]

    def _new_head(self, pooling: Pooling, widths: Sequence[int]) -> list[keras.layers.Layer]:
        """The layers of a head, with their variables."""
        last = self._backbone.layers[-1]
        layers = _head(pooling, widths, self._n_classes)
        _give_variables(layers, last.output.shape)
        return layers

    def mlp(self) -> Network:
        """The article's MLP on the flattened pictures: three hidden layers of 500, ReLU."""
        layers = [keras.layers.Flatten()]
        layers += [keras.layers.Dense(width, "relu") for width in MLP_HIDDEN]
        return self._from_pixels([*layers, _logits(self._n_classes)])

    def cnn(self) -> Network:
        """The article's CNN: three convolution modules, a hidden layer of 64, dropout.

        The listing of a module is lost. By memory of the original it is 32 filters of 5x5, ReLU and 4x4 max-pooling:
        unsure, and three 4x4 pools need 64 pixels, so smaller pictures get 2x2.
        """
        layers: list[keras.layers.Layer] = []
        for _ in range(CNN_MODULES):
            layers.append(keras.layers.Conv2D(CNN_FILTERS, CNN_KERNEL, padding="same", activation="relu"))
            layers.append(keras.layers.MaxPooling2D(cnn_pool(self._backbone.image_size)))
        layers += [keras.layers.Flatten(), keras.layers.Dense(CNN_WIDTH, "relu"), Dropout("dropout")]
        return self._from_pixels([*layers, _logits(self._n_classes)])

    def _from_pixels(self, layers: Sequence[keras.layers.Layer]) -> Network:
        scaled = Scaled(self._backbone.image_size)
        _give_variables(layers, (None, self._backbone.image_size, self._backbone.image_size, RGB))
        family = Family([scaled], [], scaled, Heads([layers]))
        return Network(family, layers, 0, self._backbone.pictures_at_once)


def _give_variables(layers: Sequence[keras.layers.Layer], shape: tuple[int | None, ...]) -> None:
    """Give ``layers`` their variables, as for an input of that shape. To call them would do, and takes longer."""
    for layer in layers:
        layer.build(shape)
        shape = layer.compute_output_shape(shape)


def _forget_kernels() -> None:
    """Let go of what TensorFlow keeps in the process for every operation and shape of a variable it has ever run, of
    dropped networks too: half a megabyte for a head. Steps stay traced. JAX would lose all it has compiled."""
    if keras.backend.backend() == "tensorflow":
        policy = keras.config.dtype_policy()  # which Keras would forget as well
        keras.utils.clear_session(free_memory=False)
        keras.config.set_dtype_policy(policy)


class Scaled(keras.layers.Layer):  # type: ignore[misc]
    """Raw pictures -> (n, size, size, 3) RGB from 0 to 1, the input of the networks that know nothing of ImageNet."""

    def __init__(self, image_size: int) -> None:
        super().__init__(dtype="float32", trainable=False)
        self.image_size = image_size

    def call(self, pixels: Any) -> Any:
        """Resize and scale."""
        return resized(pixels, self.image_size) / 255.0


def cnn_pool(image_size: int) -> int:
    """Side of the CNN baseline's max-pooling: 4 where three of them fit, else 2."""
    return 4 if image_size >= 4**CNN_MODULES else 2


def _head(pooling: Pooling, widths: Sequence[int], n_classes: int) -> list[keras.layers.Layer]:
    """In float32 under mixed precision too: TensorFlow keeps 0.3 MB for each shape of a product in bfloat16, and hardly
    a head comes twice."""
    pools = {
        "average": keras.layers.GlobalAveragePooling2D,
        "max": keras.layers.GlobalMaxPooling2D,
        "flatten": keras.layers.Flatten,
    }
    layers: list[keras.layers.Layer] = [pools[pooling](dtype="float32"), Scale()]
    for i, width in enumerate(widths, start=1):
        layers.append(_dense(width, f"hidden_{i}", activation="relu"))
        layers.append(Dropout(f"dropout_{i}", dtype="float32"))
    return [*layers, _logits(n_classes)]


def _logits(n_classes: int) -> keras.layers.Layer:
    # softmax and loss stay in float32 under mixed precision
    return _dense(n_classes, "logits")


def _dense(width: int, name: str, activation: str | None = None) -> keras.layers.Layer:
    """Of zeros: `Network.reset` draws the weights, and to draw them here too takes as long."""
    return keras.layers.Dense(width, activation, kernel_initializer="zeros", name=name, dtype="float32")
