"""FLOPs by layer class: what one call of a Keras layer costs, for any image size.

Counted are the operations that tf.profiler counts: products, biases, pools, and the arithmetic of normalisations and
activations. Of the gradients of depthwise convolutions, which it does not count, the products are counted here. Counted
by neither are ReLU and dropout. A layer is looked up by the name of its class, so that nothing is imported here.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.backbones.stages import Side
from harness.core.errors import SpecError


@dataclass(frozen=True, slots=True)
class Work:
    """FLOPs of one call of a layer, for each position of the map ``at`` (once for an image where it is None).

    Attributes:
        output: The side of the output; None for one vector for each image.
        input_gradients: Of each input, in their order; see `harness.backbones.stages.LayerCost`.
    """

    output: Side | None
    at: Side | None
    forward: int = 0
    weight_gradient: int = 0
    input_gradients: tuple[int, ...] = (0,)


ACTIVATIONS = {
    "gelu": (4, 10),
    "hardsigmoid": (2, 1),
    "hardsilu": (3, 4),
    "mish": (1, 4),
    "silu": (2, 7),
    "softplus": (0, 1),
    **dict.fromkeys(("elu", "leakyrelu", "linear", "relu", "relu6", "selu", "sigmoid", "softsign", "tanh"), (0, 0)),
}
"""FLOPs per value of activations, forward and of the gradient. Functions that are not here count nothing."""


def work_of(layer: Any, sides: Sequence[Side | None], channels: int) -> Work:
    """Return what a call of ``layer`` costs.

    Args:
        layer: A built layer of Keras, or one of its operations such as the + of two tensors.
        sides: Of its inputs.
        channels: Of its output.

    Raises:
        SpecError: For a layer of an unknown class, or one that makes something else than a map or a vector.
    """
    kind = type(layer).__name__
    if kind in RULES:
        return RULES[kind](layer, sides, channels)
    if kind.lower() in ACTIVATIONS:
        return _activation(kind, sides[0], channels)
    raise SpecError(
        f"layer {layer.name!r} is of the class {kind}, whose FLOPs are not known: choose a network of other layers, or "
        "add the class to harness/backbones/layer_costs.py"
    )


def _product(layer: Any, sides: Sequence[Side | None], channels: int) -> Work:
    product = 2 * math.prod(layer.kernel.shape)
    side = _shrunk(layer, sides[0], layer.kernel_size) if hasattr(layer, "kernel_size") else sides[0]
    return _trained(layer, side, channels, forward=product, weight_gradient=product, input_gradient=product)


def _separable(layer: Any, sides: Sequence[Side | None], channels: int) -> Work:
    by_channel, across = (2 * math.prod(kernel.shape) for kernel in (layer.depthwise_kernel, layer.pointwise_kernel))
    return _trained(
        layer,
        _shrunk(layer, sides[0], layer.kernel_size),
        channels,
        forward=by_channel + across,
        weight_gradient=by_channel + 2 * across,  # through the second product to the kernel of the first
        input_gradient=by_channel,
    )


def _trained(
    layer: Any, side: Side | None, channels: int, *, forward: int, weight_gradient: int, input_gradient: int
) -> Work:
    """Return the work of products with a bias and an activation after them, which the weights' gradient passes."""
    bias = channels if layer.use_bias else 0
    after = _activation(layer.activation, side, channels)
    return Work(
        side,
        side,
        forward=forward + bias + after.forward,
        weight_gradient=weight_gradient + bias + after.input_gradients[0],
        input_gradients=(input_gradient,),
    )


def _activation(function: Any, side: Side | None, channels: int) -> Work:
    name = function if isinstance(function, str) else getattr(function, "__name__", "")
    forward, gradient = ACTIVATIONS.get(name.replace("_", "").lower(), (0, 0))
    return Work(side, side, forward=forward * channels, input_gradients=(gradient * channels,))


def _batch_norm(layer: Any, sides: Sequence[Side | None], channels: int) -> Work:
    """Return the work of batch normalisation: 2 operations per value in inference mode, 4 more with the statistics of
    the batch."""
    own = _own_gradient(layer)
    return _per_value(sides[0], channels, forward=2, weight_gradient=4 + own, input_gradient=11 - own)


def _group_norm(layer: Any, sides: Sequence[Side | None], channels: int) -> Work:
    own = _own_gradient(layer)
    return _per_value(sides[0], channels, forward=6, weight_gradient=own, input_gradient=11 - own)


def _own_gradient(layer: Any) -> int:
    return 3 if layer.scale else int(layer.center)


def _layer_norm(layer: Any, sides: Sequence[Side | None], channels: int) -> Work:
    scale, center = bool(layer.scale), bool(layer.center)
    return _per_value(
        sides[0],
        channels,
        forward=6 + 2 * scale + center,
        weight_gradient=5 * scale + center,
        input_gradient=11 + scale,
    )


def _per_value(
    side: Side | None, channels: int, *, forward: int, weight_gradient: int = 0, input_gradient: int = 0
) -> Work:
    return Work(side, side, forward * channels, weight_gradient * channels, (input_gradient * channels,))


def _scaled(layer: Any, sides: Sequence[Side | None], channels: int) -> Work:
    return _per_value(sides[0], channels, forward=2, input_gradient=1)


def _layer_scale(layer: Any, sides: Sequence[Side | None], channels: int) -> Work:
    return _per_value(sides[0], channels, forward=1, weight_gradient=2, input_gradient=1)


def _free(layer: Any, sides: Sequence[Side | None], channels: int) -> Work:
    return Work(sides[0], sides[0])


def _padded(layer: Any, sides: Sequence[Side | None], channels: int) -> Work:
    side = _map(layer, sides[0])
    pixels = layer.padding if type(layer).__name__ == "ZeroPadding2D" else layer.cropping
    sign = 1 if type(layer).__name__ == "ZeroPadding2D" else -1
    side = _square(layer, [side.then(sign * sum(both)) for both in pixels])
    return Work(side, side)


def _pool(layer: Any, sides: Sequence[Side | None], channels: int) -> Work:
    side = _shrunk(layer, sides[0], layer.pool_size)
    area = math.prod(layer.pool_size)
    gradient = area + 1 if type(layer).__name__.startswith("Max") else 2 * area  # the maxima are found again
    return _per_value(side, channels, forward=area, input_gradient=gradient)


def _global_pool(layer: Any, sides: Sequence[Side | None], channels: int) -> Work:
    return Work(None, sides[0], forward=channels, input_gradients=(channels,))


def _add(layer: Any, sides: Sequence[Side | None], channels: int) -> Work:
    """Return the work of a sum, also of a tensor and a constant: its gradient is that of the output, summed over the
    map where the input is a vector."""
    side = _largest(sides)
    gradients = tuple(channels if one != side else 0 for one in sides)
    return Work(side, side, forward=max(1, len(sides) - 1) * channels, input_gradients=gradients)


def _multiply(layer: Any, sides: Sequence[Side | None], channels: int) -> Work:
    """Return the work of a product value by value, such as of a map and a vector that weighs its channels."""
    side = _largest(sides)
    gradients = tuple((2 if one != side else 1) * channels for one in sides)
    return Work(side, side, forward=max(1, len(sides) - 1) * channels, input_gradients=gradients)


def _scaled_residual(layer: Any, sides: Sequence[Side | None], channels: int) -> Work:
    return Work(sides[0], sides[0], forward=2 * channels, input_gradients=(0, channels))


def _concatenate(layer: Any, sides: Sequence[Side | None], channels: int) -> Work:
    if layer.axis not in (-1, 3):
        raise SpecError(f"layer {layer.name!r} joins maps along axis {layer.axis}: only channels can be joined")
    return Work(sides[0], sides[0], input_gradients=(0,) * len(sides))


def _reshape(layer: Any, sides: Sequence[Side | None], channels: int) -> Work:
    if sides[0] is not None:
        raise SpecError(f"layer {layer.name!r} gives a map another shape: choose a network whose layers keep maps")
    return Work(None, None)


def _shrunk(layer: Any, side: Side | None, window: Sequence[int]) -> Side | None:
    """Return the side after a convolution or pool with that ``window``; a vector is a map of one position."""
    if side is None:
        return None
    dilations = getattr(layer, "dilation_rate", (1, 1))
    steps = zip(window, layer.strides, dilations, strict=True)
    if layer.padding == "same":
        return _square(layer, [side.then(stride - 1, stride) for _, stride, _ in steps])
    return _square(layer, [side.then(stride - 1 - dilation * (size - 1), stride) for size, stride, dilation in steps])


def _square(layer: Any, sides: Sequence[Side]) -> Side:
    height, width = sides
    if height != width:
        raise SpecError(f"layer {layer.name!r} makes maps that are not square of square ones: choose another network")
    return height


def _map(layer: Any, side: Side | None) -> Side:
    if side is None:
        raise SpecError(f"layer {layer.name!r} pads or crops one vector for each image: choose another network")
    return side


def _largest(sides: Sequence[Side | None]) -> Side | None:
    return next((side for side in sides if side is not None), None)


Rule = Callable[[Any, Sequence[Side | None], int], Work]
RULES: dict[str, Rule] = {
    **dict.fromkeys(("Conv2D", "DepthwiseConv2D", "Dense"), _product),
    "SeparableConv2D": _separable,
    "Activation": lambda layer, sides, channels: _activation(layer.activation, sides[0], channels),
    "BatchNormalization": _batch_norm,
    "GroupNormalization": _group_norm,
    "LayerNormalization": _layer_norm,
    "LayerScale": _layer_scale,
    **dict.fromkeys(("Normalization", "Rescaling"), _scaled),
    **dict.fromkeys(("Add", "Subtract"), _add),
    "Multiply": _multiply,
    "CustomScaleLayer": _scaled_residual,
    "Concatenate": _concatenate,
    **dict.fromkeys(("MaxPooling2D", "AveragePooling2D"), _pool),
    **dict.fromkeys(("GlobalAveragePooling2D", "GlobalMaxPooling2D"), _global_pool),
    **dict.fromkeys(("ZeroPadding2D", "Cropping2D"), _padded),
    **dict.fromkeys(("Flatten", "Reshape"), _reshape),
    **dict.fromkeys(("Dropout", "Identity", "SpatialDropout2D", "StochasticDepth"), _free),
}
"""The classes of layers and operations that are known, by name."""
