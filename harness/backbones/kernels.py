"""Fast convolutions on the small maps of VGG16's later blocks, for TensorFlow on a processor.

There TensorFlow's own kernels are the slow part of a training step: on 2x2 maps they reach a tenth (the gradient of the
filters in bfloat16) to a half of what they do elsewhere, and more than half of what they multiply is padding. Told by
`python -m benchmarks.roofline`; what else was tried: docs/notes/kernels.md.

- The gradient of the filters is one product for each of the nine places of the kernel, over the part of the map that it
  falls on.
- On a 2x2 map each output sees each input: the convolution is one product for each output, with the part of the kernel
  that falls on the map.
- TensorFlow's kernel takes as many outputs of a row at once as its registers hold, and a small map's rows are shorter.
  Maps up to 4x4 are laid side by side in two long strips, with a column of zeros between neighbours.
"""

import functools
import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

_FILTERS = 256  # from which on the filters' gradient is faster as products
_SIDES = {"bfloat16": 28, "float32": 4}  # of the map, up to which it is; larger ones in bfloat16 were not measured
_KERNEL = 3
_PAIR = 2
_STRIP_SIDE = 4  # of a map up to which strips are faster in float32 and bfloat16
_STRIPS = 2  # in float32 one strip takes a third longer than two, four are no faster


def use_fast_kernels(convs: Sequence[keras.layers.Conv2D]) -> None:
    """Make those of ``convs`` that `suits` picks run `convolve` on maps that are `small`.

    With HARNESS_FAST_CONVOLUTIONS=0 in the environment all keep TensorFlow's kernels.
    """
    if os.environ.get("HARNESS_FAST_CONVOLUTIONS") != "0":
        for conv in filter(suits, convs):
            conv.convolution_op = functools.partial(_where_small, conv.convolution_op)


def suits(conv: keras.layers.Conv2D) -> bool:
    """Whether ``conv`` is 3x3, 'same' and of stride 1, with so many filters that `convolve` pays on small maps."""
    return bool(
        conv.kernel_size == (_KERNEL, _KERNEL)
        and conv.strides == (1, 1)
        and conv.padding == "same"
        and conv.filters >= _FILTERS
    )


def small(height: int, width: int, dtype: str) -> bool:
    """Whether `convolve` trains faster on maps of that size on a processor."""
    return max(height, width) <= _SIDES.get(dtype, 0)


def _where_small(default: Callable[[Any, Any], Any], inputs: Any, kernel: Any) -> Any:
    _, height, width, _ = inputs.shape
    return convolve(inputs, kernel) if small(height, width, inputs.dtype.name) else default(inputs, kernel)


def on_pairs(height: int, width: int) -> bool:
    """Whether a map is 2x2, so that each output sees each input."""
    return height == width == _PAIR


def in_strips(height: int, width: int) -> bool:
    """Whether maps of that size are convolved side by side."""
    return max(height, width) <= _STRIP_SIDE and not on_pairs(height, width)


def convolve(inputs: Any, kernel: Any) -> Any:
    """Return the 3x3 'same' convolution (n, height, width, filters) of ``inputs`` (n, height, width, channels) with
    ``kernel`` (3, 3, channels, filters), as a layer's ``convolution_op``."""
    return _convolve(inputs, ops.cast(kernel, inputs.dtype))


def _with_gradients(inputs: Any, kernel: Any) -> Any:
    def gradients(upstream: Any) -> tuple[Any, Any]:
        return input_gradient(kernel, upstream), filter_gradient(inputs, upstream)

    return _forward(inputs, kernel), gradients


_convolve: Any = tf.function(tf.custom_gradient(_with_gradients), autograph=False)
"""Traced once for each shape. TensorFlow never frees a graph with a custom gradient, so it must not be a step's."""


def _forward(inputs: Any, kernel: Any) -> Any:
    _, height, width, channels = inputs.shape
    if in_strips(height, width):
        return _maps(tf.nn.conv2d(_strips(inputs), kernel, 1, "SAME"), tf.shape(inputs)[0], width)
    if not on_pairs(height, width):
        return tf.nn.conv2d(inputs, kernel, 1, "SAME")
    maps = tf.reshape(inputs, (-1, height * width * channels))
    outputs = [tf.matmul(maps, part) for part in _parts(kernel)]
    return tf.reshape(tf.concat(outputs, axis=-1), (-1, height, width, kernel.shape[-1]))


def input_gradient(kernel: Any, upstream: Any) -> Any:
    """Return the gradient (n, height, width, channels) of a convolution's input from that of its output."""
    _, height, width, filters = upstream.shape
    channels = kernel.shape[2]
    if in_strips(height, width):
        return _maps(_tensorflow_input_gradient(kernel, _strips(upstream)), tf.shape(upstream)[0], width)
    if not on_pairs(height, width):
        return _tensorflow_input_gradient(kernel, upstream)
    outputs = tf.unstack(tf.reshape(upstream, (-1, height * width, filters)), axis=1)
    shares = [tf.matmul(output, part, transpose_b=True) for output, part in zip(outputs, _parts(kernel), strict=True)]
    total = tf.add_n([tf.cast(share, "float32") for share in shares])
    return tf.reshape(tf.cast(total, upstream.dtype), (-1, height, width, channels))


def _tensorflow_input_gradient(kernel: Any, upstream: Any) -> Any:
    sizes = tf.concat([tf.shape(upstream)[:3], [kernel.shape[2]]], axis=0)
    return tf.raw_ops.Conv2DBackpropInput(
        input_sizes=sizes, filter=kernel, out_backprop=upstream, strides=[1, 1, 1, 1], padding="SAME"
    )


def filter_gradient(inputs: Any, upstream: Any) -> Any:
    """Return the gradient (3, 3, channels, filters) of the kernel, from a convolution's ``inputs`` (n, height, width,
    channels) and the gradient ``upstream`` (n, height, width, filters) of its output."""
    _, height, width, channels = inputs.shape
    filters = upstream.shape[-1]
    constant = functools.cache(tf.constant)  # each is a node for TensorFlow to optimize

    def flat(maps: Any, i: int, j: int) -> Any:
        begin, size = (0, max(i, 0), max(j, 0), 0), (-1, height - abs(i), width - abs(j), -1)
        return tf.reshape(tf.slice(maps, constant(begin), constant(size)), constant((-1, maps.shape[-1])))

    products = [
        tf.matmul(flat(inputs, i, j), flat(upstream, -i, -j), transpose_a=True)
        for i, j in itertools.product((-1, 0, 1), repeat=2)
    ]
    return tf.reshape(tf.stack(products), (_KERNEL, _KERNEL, channels, filters))


def _strips(maps: Any) -> Any:
    """Lay ``maps`` (n, height, width, channels) side by side, with a padding of zeros.

    Returns (strips, height, n / strips * (width + 1), channels).
    """
    _, height, width, channels = maps.shape
    padded = tf.pad(maps, [[0, -tf.shape(maps)[0] % _STRIPS], [0, 0], [0, 1], [0, 0]])
    rows = tf.transpose(tf.reshape(padded, (_STRIPS, -1, height, width + 1, channels)), (0, 2, 1, 3, 4))
    return tf.reshape(rows, (_STRIPS, height, -1, channels))


def _maps(strips: Any, n: Any, width: int) -> Any:
    """Return the ``n`` maps, ``width`` wide, that `_strips` has laid side by side."""
    _, height, _, channels = strips.shape
    rows = tf.reshape(strips, (_STRIPS, height, -1, width + 1, channels))[:, :, :, :width]
    return tf.reshape(tf.transpose(rows, (0, 2, 1, 3, 4)), (-1, height, width, channels))[:n]


def _parts(kernel: Any) -> list[Any]:
    """Return for each output of a 2x2 map the part of ``kernel`` that falls on the map, (4 * channels, filters)."""
    return [
        ops.reshape(kernel[1 - i : 3 - i, 1 - j : 3 - j], (-1, kernel.shape[-1]))
        for i, j in itertools.product(range(_PAIR), repeat=2)
    ]
