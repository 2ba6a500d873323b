"""Convolutions as products: the same sums as TensorFlow's, and taken only where they were measured to pay."""

import keras
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from keras import ops

from harness.backbones import vgg16
from harness.backbones.kernels import convolve, filter_gradient, gradients, input_gradient, suits

tf = pytest.importorskip("tensorflow")


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 7), st.integers(1, 7), st.integers(1, 9), st.integers(1, 9))
@example(3, 2, 2, 5, 4)
def test_they_are_the_sums_that_tensorflow_takes(n: int, height: int, width: int, channels: int, filters: int) -> None:
    inputs, kernel = normal(1, n, height, width, channels), normal(2, 3, 3, channels, filters)
    upstream = normal(3, n, height, width, filters)
    with tf.GradientTape() as tape:
        given = tf.constant(inputs), tf.constant(kernel)
        tape.watch(given)
        outputs = tf.nn.conv2d(*given, 1, "SAME")
    of_inputs, of_kernel = tape.gradient(outputs, given, upstream)
    assert np.allclose(convolve(tf.constant(inputs), kernel), outputs, rtol=1e-4, atol=1e-4)
    assert np.allclose(input_gradient(tf.constant(kernel), tf.constant(upstream)), of_inputs, rtol=1e-4, atol=1e-4)
    assert np.allclose(filter_gradient(tf.constant(inputs), tf.constant(upstream)), of_kernel, rtol=1e-4, atol=1e-4)


def layer(channels: int, side: int, dtype: str, **changed: object) -> keras.layers.Conv2D:
    conv = keras.layers.Conv2D(**{"filters": 256, "kernel_size": 3, "padding": "same", "dtype": dtype} | changed)
    conv(keras.Input((side, side, channels)))
    return conv


def test_where_it_is_taken() -> None:
    assert suits(layer(128, 8, "mixed_bfloat16"))
    assert suits(layer(512, 28, "mixed_bfloat16"))
    assert suits(layer(512, 4, "float32"))
    assert not suits(layer(512, 8, "float32"))
    assert not suits(layer(512, 4, "float64"))
    assert not suits(layer(128, 8, "mixed_bfloat16", filters=128))
    assert not suits(layer(128, 56, "mixed_bfloat16"))
    assert not suits(layer(128, 8, "mixed_bfloat16", padding="valid"))
    assert not suits(layer(128, 8, "mixed_bfloat16", strides=2))
    assert not suits(layer(128, 8, "mixed_bfloat16", kernel_size=5))


def test_a_gpu_has_kernels_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def taken() -> list[bool]:
        inputs = keras.Input((2, 2, 256))
        model = keras.Model(inputs, keras.layers.Conv2D(256, 3, padding="same")(inputs))
        return [conv.convolution_op is convolve for conv in vgg16.Backbone(model, None).convs]

    monkeypatch.setattr(vgg16, "on_gpu", lambda: True)
    assert taken() == [False]
    monkeypatch.setattr(vgg16, "on_gpu", lambda: False)
    assert taken() == [True]


@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize("side", [2, 4, 8])
def test_the_gradients_of_a_layer_are_those_that_tensorflow_derives(side: int, taken: bool) -> None:
    conv = layer(128, side, "mixed_bfloat16")
    maps, kernel, upstream = (
        tf.cast(values, tf.bfloat16)
        for values in (normal(3, 4, side, side, 128), conv.kernel.value, normal(4, 4, side, side, 256))
    )
    with tf.GradientTape() as tape:
        tape.watch([maps, kernel])
        outputs = conv.convolution_op(maps, kernel)
    derived = tape.gradient(outputs, [maps, kernel], upstream)
    if taken:
        conv.convolution_op = convolve
    of_input, of_filters = gradients(conv)
    for old, new in zip(derived, [of_input(kernel, upstream), of_filters(maps, upstream)], strict=True):
        old, new = (ops.convert_to_numpy(ops.cast(values, "float32")) for values in (old, new))
        assert np.abs(old).max() > 0
        assert np.abs(new - old).max() <= (0.02 * np.abs(old).max() if taken else 0)
