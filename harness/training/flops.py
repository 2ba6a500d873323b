"""Training FLOPs by arithmetic: what a strategy or a baseline costs, known before it runs.

One multiply-add is 2 FLOPs. Counted are the operations that tf.profiler counts: products, biases, pools and their
gradients. Counted by neither are ReLU, dropout, resizing and the optimizer's update. Global max-pooling is counted here
as one operation for each value and not at all by the profiler. Evaluation is not training and is not counted.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from harness.backbones.stages import RGB, Architecture, LayerCost
from harness.core.strategy import Pooling, Strategy

MIN_FLOPS_PER_BYTE = 100.0
"""Activations are stored only where each byte saves as many FLOPs. A disk that gives 1 GB/s then keeps up with a
processor of 100 GFLOP/s. VGG16 has nothing near it: 14 after its first convolution, 890 and more after the others."""

MLP_HIDDEN = (500, 500, 500)
CNN_FILTERS = 32
CNN_KERNEL = 5
CNN_MODULES = 3
CNN_WIDTH = 64
"""The article's MLP and CNN, the baselines: widths of the hidden layers, and the convolutions."""


def training_flops(layers: Sequence[LayerCost], frozen: int = 0) -> float:
    """Return the FLOPs per image of a training step through ``layers``, the first ``frozen`` of which do not train.

    All go forward. Gradients of the weights are taken in every layer that trains; none is passed on to the layers
    before the first of these.
    """
    first, *rest = layers[frozen:]
    backward = first.weight_gradient + sum(layer.weight_gradient + layer.input_gradient for layer in rest)
    return _forward(layers) + backward


def prefix_cost(architecture: Architecture, image_size: int, frozen: int | None = None) -> float:
    """Return the FLOPs per image of the forward pass through the first ``frozen`` stages, by default all."""
    return _forward(architecture.costs(image_size)[:frozen])


def cached_start(
    architecture: Architecture,
    frozen: int,
    image_size: int,
    n_images: int,
    max_bytes: int,
    bytes_per_value: int = 4,
) -> int:
    """Return the stage b <= ``frozen`` whose output is best stored for ``n_images`` images.

    The deepest whose activations take ``max_bytes`` at most and save `MIN_FLOPS_PER_BYTE`; 0 where there is none, and
    training starts from the images themselves.
    """
    for start in range(frozen, 0, -1):
        height, width, channels = architecture.shape(start, image_size)
        image_bytes = height * width * channels * bytes_per_value
        saved = prefix_cost(architecture, image_size, start)
        if n_images * image_bytes <= max_bytes and saved >= MIN_FLOPS_PER_BYTE * image_bytes:
            return start
    return 0


@dataclass(frozen=True, slots=True)
class Cost:
    """Return the FLOPs of training on one image: ``prefix`` once, up to the stored activations, and ``per_image`` every
    epoch.

    That is a phase; where there is another, ``then``, it begins after ``epochs`` epochs.
    """

    prefix: float
    per_image: float
    epochs: float = math.inf
    then: "Cost | None" = None

    def at(self, n_images: int, epochs: float) -> float:
        """Return the FLOPs of training on ``n_images`` images for so many epochs, the prefix included."""
        spent = n_images * (self.prefix + min(epochs, self.epochs) * self.per_image)
        if self.then is None or epochs <= self.epochs:
            return spent
        return spent + self.then.at(n_images, epochs - self.epochs)


def trial_cost(
    architecture: Architecture,
    strategy: Strategy,
    n_classes: int,
    n_images: int,
    max_bytes: int,
    views: int = 1,
) -> Cost:
    """Return what ``strategy`` costs on its own, whichever activations other trials have stored.

    The frozen prefix is charged once an image, and for each of its ``views``, as far as its output can be stored (see
    `cached_start`; ``n_images`` counts all views), and from there on forward in every epoch. Phases are charged each
    for itself, and their prefixes too.
    """

    def phase(part: Strategy) -> Cost:
        start = cached_start(architecture, part.frozen, part.image_size, n_images, max_bytes)
        return Cost(
            prefix=views * prefix_cost(architecture, part.image_size, start),
            per_image=step_cost(architecture, part, n_classes, start),
        )

    first, *second = map(phase, strategy.phases(len(architecture.stages)))
    return replace(first, epochs=strategy.head_epochs, then=second[0]) if second else first


def step_cost(architecture: Architecture, strategy: Strategy, n_classes: int, start: int = 0) -> float:
    """Return the FLOPs per image of a training step of ``strategy`` that starts from the output of stage
    ``start`` <= k."""
    shape = architecture.shape(len(architecture.stages), strategy.image_size)
    layers = architecture.costs(strategy.image_size)[start:]
    layers += _head(shape, strategy.pooling, (*strategy.head, n_classes))
    return training_flops(layers, strategy.frozen - start)


def head_cost(architecture: Architecture, strategy: Strategy, n_classes: int) -> float:
    """Return what of `step_cost` is spent in the head. The gradient that it passes on counts with what comes before."""
    shape = architecture.shape(len(architecture.stages), strategy.image_size)
    return training_flops(_head(shape, strategy.pooling, (*strategy.head, n_classes)))


def mlp_cost(image_size: int, n_classes: int) -> float:
    """Return the FLOPs per image of a training step of the article's MLP: RGB pixels, three hidden layers, softmax."""
    return training_flops(_dense_stack(image_size**2 * RGB, (*MLP_HIDDEN, n_classes)))


def cnn_cost(image_size: int, n_classes: int, pool: int) -> float:
    """Return the FLOPs per image of a training step of the article's CNN: its modules, 'same' and with ``pool`` x
    ``pool`` max-pooling; its hidden layer; softmax."""
    layers: list[LayerCost] = []
    side, channels = image_size, RGB
    for _ in range(CNN_MODULES):
        layers.append(_convolution(side, channels, CNN_FILTERS, kernel=CNN_KERNEL, pool=pool))
        side, channels = side // pool, CNN_FILTERS
    return training_flops(layers + _dense_stack(side**2 * channels, (CNN_WIDTH, n_classes)))


def _forward(layers: Iterable[LayerCost]) -> float:
    return float(sum(layer.forward for layer in layers))


def _head(shape: tuple[int, int, int], pooling: Pooling, widths: Sequence[int]) -> list[LayerCost]:
    height, width, channels = shape
    values = height * width * channels
    if pooling == "flatten":
        return _dense_stack(values, widths)
    first, *rest = _dense_stack(channels, widths)
    pooled = replace(first, forward=first.forward + values, input_gradient=first.input_gradient + values)
    return [pooled, *rest]


def _convolution(side: int, in_channels: int, out_channels: int, *, kernel: int, pool: int) -> LayerCost:
    """Return a 'same' convolution of stride 1 on a square map, and ``pool`` x ``pool`` max-pooling after it (1 for
    none)."""
    values = side**2 * out_channels
    product = 2 * kernel**2 * in_channels * values
    pooled = (side // pool) ** 2 * out_channels if pool > 1 else 0
    return LayerCost(
        forward=product + values + pool**2 * pooled,
        weight_gradient=product + values + (pool**2 + 1) * pooled,  # the pool finds its maxima again
        input_gradient=product,
    )


def _dense_stack(inputs: int, widths: Sequence[int]) -> list[LayerCost]:
    layers = []
    for width in widths:
        product = 2 * inputs * width
        layers.append(LayerCost(forward=product + width, weight_gradient=product + width, input_gradient=product))
        inputs = width
    return layers
