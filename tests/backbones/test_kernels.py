"""Convolutions as products: the same sums as TensorFlow's, and taken only where they were measured to pay."""

import functools

import keras
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from keras import ops

from harness.backbones import backbone as backbone_module
from harness.backbones.backbone import Backbone
from harness.backbones.describe import describe
from harness.core.backbone import BackboneSpec
from harness.core.clock import Clock
from harness.core.strategy import Strategy
from harness.training.fit import compile_step
from harness.training.problem import Problem
from harness.training.schedule import Schedule
from tests.helpers.tiny import tiny_backbone

tf = pytest.importorskip("tensorflow")
convolution = pytest.importorskip("harness.backbones.kernels")
convolve, small, suits = convolution.convolve, convolution.small, convolution.suits


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@settings(max_examples=8)
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
    with tf.GradientTape() as tape:
        tape.watch(given)
        ours = convolve(*given)
    assert np.allclose(ours, outputs, rtol=1e-4, atol=1e-4)
    for our_gradient, gradient in zip(tape.gradient(ours, given, upstream), (of_inputs, of_kernel), strict=True):
        assert np.allclose(our_gradient, gradient, rtol=1e-4, atol=1e-4)


def layer(channels: int, side: int, dtype: str, **changed: object) -> keras.layers.Conv2D:
    conv = keras.layers.Conv2D(**{"filters": 256, "kernel_size": 3, "padding": "same", "dtype": dtype} | changed)
    conv(keras.Input((side, side, channels)))
    return conv


def test_where_it_is_taken() -> None:
    assert small(8, 8, "bfloat16") and small(28, 28, "bfloat16") and not small(56, 56, "bfloat16")
    assert small(4, 4, "float32") and not small(8, 8, "float32") and not small(4, 4, "float64")
    assert suits(layer(128, 8, "mixed_bfloat16"))
    assert not suits(layer(128, 8, "mixed_bfloat16", filters=128))
    assert not suits(layer(128, 8, "mixed_bfloat16", padding="valid"))
    assert not suits(layer(128, 8, "mixed_bfloat16", strides=2))
    assert not suits(layer(128, 8, "mixed_bfloat16", kernel_size=5))


def fast(backbone: Backbone) -> list[bool]:
    return [isinstance(conv.convolution_op, functools.partial) for conv in backbone.layers]


def wide() -> Backbone:
    inputs = keras.Input((None, None, 256))
    model = keras.Model(inputs, keras.layers.Conv2D(256, 3, padding="same", name="conv")(inputs))
    spec = BackboneSpec.load("vgg16").model_copy(update={"stages": {"conv": "conv"}})
    return Backbone(model, spec, describe(model, spec), None)  # type: ignore[arg-type]


def test_a_gpu_and_a_switch_leave_tensorflow_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbone_module, "on_gpu", lambda: False)
    assert fast(wide()) == [True]
    with monkeypatch.context() as patch:
        patch.setattr(backbone_module, "on_gpu", lambda: True)
        assert fast(wide()) == [False]
    monkeypatch.setenv("HARNESS_FAST_CONVOLUTIONS", "0")
    assert fast(wide()) == [False]


@pytest.mark.parametrize("side", [2, 4, 8])
def test_the_gradients_of_a_layer_are_those_that_tensorflow_derives(side: int) -> None:
    conv = layer(128, side, "mixed_bfloat16")
    given = [
        tf.cast(values, tf.bfloat16) for values in (normal(3, 4, side, side, 128), ops.convert_to_numpy(conv.kernel))
    ]
    upstream = tf.cast(normal(4, 4, side, side, 256), tf.bfloat16)
    found = []
    for run in (conv.convolution_op, convolve):
        with tf.GradientTape() as tape:
            tape.watch(given)
            outputs = run(*given)
        found.append([ops.convert_to_numpy(ops.cast(g, "float32")) for g in tape.gradient(outputs, given, upstream)])
    for old, new in zip(*found, strict=True):
        assert np.abs(old).max() > 0
        assert np.abs(new - old).max() <= 0.02 * np.abs(old).max()


def test_training_is_the_same_with_the_kernels_on_and_off(
    tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = {}
    monkeypatch.setattr(convolution, "_FILTERS", 8)  # the tiny network's last blocks
    for switch in ("1", "0"):
        monkeypatch.setenv("HARNESS_FAST_CONVOLUTIONS", switch)
        network = tiny_backbone()
        assert fast(network) == [False] * 10 + [switch == "1"] * 3
        problem = Problem.on(network, tiny_problem.spec, tiny_problem.split, tiny_problem.features.root)
        trained = problem.networks.for_strategy(
            Strategy("fine_tune_all", 0, "average", (), 0.0, "sgd", 1e-3, image_size=32), 0
        )
        train, validation, _ = problem.parts(0, 32, Clock())
        step = compile_step(problem.steps, trained, train, validation, Schedule(1, 32, "sgd", 1e-3), Clock())
        trained.reset(seed=1, dropout=0.0)
        step.start()
        batch = train.inputs[:32], train.labels[:32], np.ones(32, np.float32)
        losses[switch] = [float(step.run(*batch, 1e-3, number)) for number in range(1, 6)]
    assert losses["1"] == pytest.approx(losses["0"], rel=1e-4)
    assert len(set(losses["1"])) == 5
