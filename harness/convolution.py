"""The gradient of a convolution's filters as matrix products, for bfloat16 on a processor.

In bfloat16 TensorFlow's own is the slow part of a training step: on the small maps of VGG16's later blocks it reaches
a tenth to a half of what the forward pass does. One product for each of the nine places of the kernel, over the part
of the map that it falls on and nothing of the padding, is two to ten times as fast there, and slower where channels are
few (`python -m benchmarks.roofline`; what else was tried: docs/benchmarks.md).
"""

import itertools
from typing import Any

import keras
from keras import ops

_FILTERS = 256  # from which on products are faster
_SIDE = 28  # of the map, up to which they were measured
_KERNEL = 3


def suits(conv: keras.layers.Conv2D) -> bool:
    """Whether ``conv`` is 3x3, 'same' and of stride 1, and one whose filters' gradient is faster as products."""
    _, height, width, _ = conv.input.shape
    return bool(
        keras.backend.backend() == "tensorflow"
        and conv.compute_dtype == "bfloat16"
        and conv.kernel_size == (_KERNEL, _KERNEL)
        and conv.strides == (1, 1)
        and conv.padding == "same"
        and conv.filters >= _FILTERS
        and max(height, width) <= _SIDE
    )


def convolve(inputs: Any, kernel: Any) -> Any:
    """3x3 'same' convolution of ``inputs`` (n, height, width, channels) with ``kernel`` (3, 3, channels, filters), as a
    layer's ``convolution_op``. TensorFlow only."""
    import tensorflow as tf

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def run(inputs: Any, kernel: Any) -> Any:
        def gradient(upstream: Any) -> tuple[Any, Any]:
            of_inputs = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(inputs), filter=kernel, out_backprop=upstream, strides=[1, 1, 1, 1], padding="SAME"
            )
            return of_inputs, filter_gradient(inputs, upstream)

        return tf.nn.conv2d(inputs, kernel, 1, "SAME"), gradient

    return run(inputs, tf.cast(ops.convert_to_tensor(kernel), inputs.dtype))


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
