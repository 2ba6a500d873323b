"""Convolutions on the small maps of VGG16's later blocks, as matrix products: for TensorFlow on a processor.

There TensorFlow's own kernels are the slow part of a training step: on 2x2 maps they reach a tenth (the gradient of the
filters in bfloat16) to a half of what they do elsewhere, and more than half of what they multiply is padding. Told by
`python -m benchmarks.roofline`; what else was tried: docs/benchmarks.md.

- The gradient of the filters is one product for each of the nine places of the kernel, over the part of the map that it
  falls on.
- On a 2x2 map each output sees each input: the convolution is one product for each output, with the part of the kernel
  that falls on the map.
"""

import functools
import itertools
from typing import Any

import keras
from keras import ops

_FILTERS = 256  # from which on the filters' gradient is faster as products
_SIDES = {"bfloat16": 28, "float32": 4}  # of the map, up to which it is; larger ones in bfloat16 were not measured
_KERNEL = 3
_PAIR = 2


def suits(conv: keras.layers.Conv2D) -> bool:
    """Whether ``conv`` is 3x3, 'same' and of stride 1, and one that trains faster with `convolve` on a processor."""
    _, height, width, _ = conv.input.shape
    return bool(
        keras.backend.backend() == "tensorflow"
        and conv.kernel_size == (_KERNEL, _KERNEL)
        and conv.strides == (1, 1)
        and conv.padding == "same"
        and conv.filters >= _FILTERS
        and max(height, width) <= _SIDES.get(conv.compute_dtype, 0)
    )


def on_pairs(height: int, width: int) -> bool:
    """Whether a map is 2x2, so that each output sees each input."""
    return height == width == _PAIR


def convolve(inputs: Any, kernel: Any) -> Any:
    """3x3 'same' convolution of ``inputs`` (n, height, width, channels) with ``kernel`` (3, 3, channels, filters), as a
    layer's ``convolution_op``. TensorFlow only."""
    return _with_gradients()(inputs, ops.cast(kernel, inputs.dtype))


@functools.cache
def _with_gradients() -> Any:
    """`forward` with `input_gradient` and `filter_gradient`, one function in the process, traced once for each shape:
    TensorFlow never forgets a custom gradient, and with it the graph of the network that it was traced in."""
    import tensorflow as tf

    @tf.function  # type: ignore[untyped-decorator]
    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def run(inputs: Any, kernel: Any) -> Any:
        def gradient(upstream: Any) -> tuple[Any, Any]:
            return input_gradient(kernel, upstream), filter_gradient(inputs, upstream)

        return forward(inputs, kernel), gradient

    return run


def forward(inputs: Any, kernel: Any) -> Any:
    """The convolution (n, height, width, filters) of ``inputs`` with ``kernel``."""
    import tensorflow as tf

    _, height, width, channels = inputs.shape
    if not on_pairs(height, width):
        return tf.nn.conv2d(inputs, kernel, 1, "SAME")
    maps = tf.reshape(inputs, (-1, height * width * channels))
    outputs = [tf.matmul(maps, part) for part in _parts(kernel)]
    return tf.reshape(tf.concat(outputs, axis=-1), (-1, height, width, kernel.shape[-1]))


def input_gradient(kernel: Any, upstream: Any) -> Any:
    """Gradient (n, height, width, channels) of the convolution's input, from that ``upstream`` of its output."""
    import tensorflow as tf

    _, height, width, filters = upstream.shape
    shape = tf.stack([tf.shape(upstream)[0], height, width, kernel.shape[2]])
    if not on_pairs(height, width):
        return tf.raw_ops.Conv2DBackpropInput(
            input_sizes=shape, filter=kernel, out_backprop=upstream, strides=[1, 1, 1, 1], padding="SAME"
        )
    outputs = tf.unstack(tf.reshape(upstream, (-1, height * width, filters)), axis=1)
    shares = [tf.matmul(output, part, transpose_b=True) for output, part in zip(outputs, _parts(kernel), strict=True)]
    total = tf.add_n([tf.cast(share, "float32") for share in shares])
    return tf.reshape(tf.cast(total, upstream.dtype), shape)


def filter_gradient(inputs: Any, upstream: Any) -> Any:
    """Gradient (3, 3, channels, filters) of the kernel, from the convolution's ``inputs`` (n, height, width, channels)
    and the gradient ``upstream`` (n, height, width, filters) of its output."""
    import tensorflow as tf

    _, height, width, channels = inputs.shape
    filters = upstream.shape[-1]
    products = []
    for i, j in itertools.product((-1, 0, 1), repeat=2):
        seen = inputs[:, max(i, 0) : height + i, max(j, 0) : width + j]
        by = upstream[:, max(-i, 0) : height - i, max(-j, 0) : width - j]
        products.append(tf.matmul(tf.reshape(seen, (-1, channels)), tf.reshape(by, (-1, filters)), transpose_a=True))
    return tf.reshape(tf.stack(products), (_KERNEL, _KERNEL, channels, filters))


def _parts(kernel: Any) -> list[Any]:
    """For each output of a 2x2 map in turn the part of ``kernel`` that falls on the map, (4 * channels, filters)."""
    return [
        ops.reshape(kernel[1 - i : 3 - i, 1 - j : 3 - j], (-1, kernel.shape[-1]))
        for i, j in itertools.product(range(_PAIR), repeat=2)
    ]
