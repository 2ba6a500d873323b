"""The gradient of a convolution's filters as a matrix product, for bfloat16 on a processor.

In bfloat16 TensorFlow's own is the slow part of a training step: on the small maps of VGG16's later blocks it reaches a
third of what the forward pass and the gradient of the input do. Laid out as patches, the same sum is one product, two
to three times as fast there and slower where channels are few (`python -m benchmarks.roofline`).
"""

from typing import Any

import keras
from keras import ops

_CHANNELS = 128  # of the input, from which on the product is faster
_SIDE = 28  # of the map, up to which it is; patches of larger ones take memory
_KERNEL = 3


def suits(conv: keras.layers.Conv2D) -> bool:
    """Whether ``conv``, 3x3, 'same' and of stride 1, is one whose filters' gradient is faster as a product."""
    _, height, width, channels = conv.input.shape
    return bool(
        keras.backend.backend() == "tensorflow"
        and conv.compute_dtype == "bfloat16"
        and conv.kernel_size == (_KERNEL, _KERNEL)
        and conv.strides == (1, 1)
        and conv.padding == "same"
        and channels >= _CHANNELS
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
    padded = tf.pad(inputs, [[0, 0], [1, 1], [1, 1], [0, 0]])
    shifted = [padded[:, i : i + height, j : j + width] for i in range(_KERNEL) for j in range(_KERNEL)]
    patches = tf.reshape(tf.concat(shifted, axis=-1), (-1, _KERNEL * _KERNEL * channels))
    filters = upstream.shape[-1]
    product = tf.matmul(patches, tf.reshape(upstream, (-1, filters)), transpose_a=True)
    return tf.reshape(product, (_KERNEL, _KERNEL, channels, filters))
