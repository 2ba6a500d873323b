"""VGG16: preprocessing, freezing by convolutions, resetting."""

from typing import get_args

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.backbones.backbone import Backbone
from harness.backbones.devices import as_numpy
from harness.backbones.preprocessing import Prepare, resized
from harness.core.backbone import BackboneSpec
from harness.core.strategy import N_CONVS, Pooling, Strategy
from tests.helpers.tiny import tiny_backbone, tiny_weights

VGG16 = BackboneSpec.load("vgg16")


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone()


def test_vgg16_is_that_of_keras_cut_after_its_convolutions() -> None:
    real = Backbone.of(VGG16, tiny_weights())
    theirs = keras.applications.VGG16(weights=None, include_top=False, input_shape=(None, None, 3))
    ours, kerass = ([layer.get_config() for layer in model.layers[1:]] for model in (real.model, theirs))
    assert ours == kerass
    assert len(real.stages) == len(real.layers) == N_CONVS
    assert sum(stage.count_params() for stage in real.stages) == theirs.count_params() == 14_714_688


def test_keras_layers_zero_to_seven_are_five_convolutions() -> None:
    layers = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3)).layers[:8]
    assert sum("conv" in layer.name for layer in layers) == 5  # the article's model.layers[:8]


def test_prepare_equals_keras_on_rgb_and_leaves_its_input_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), dtype=np.uint8)
    before = pixels.copy()
    expected = keras.applications.vgg16.preprocess_input(pixels.astype(np.float32))
    assert np.allclose(as_numpy(Prepare(VGG16.preprocessing, 32)(pixels)), expected, atol=1e-4)
    assert np.array_equal(pixels, before)


def test_prepare_takes_grey_images_of_any_size() -> None:
    grey = np.full((2, 28, 28), 200, np.uint8)
    prepared = as_numpy(Prepare(VGG16.preprocessing, 48)(grey))
    assert prepared.shape == (2, 48, 48, 3)
    assert np.allclose(prepared, 200 - np.array([103.939, 116.779, 123.68]), atol=1e-3)


@settings(max_examples=25)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 70), st.integers(1, 70)),
    colour=st.booleans(),
    size=st.integers(1, 70),
)
def test_images_are_resized_as_keras_does(shape: tuple[int, ...], colour: bool, size: int) -> None:
    shape = (*shape, 3) if colour else shape
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    rgb = pixels if colour else np.repeat(pixels[..., None], 3, axis=-1)
    expected = keras.ops.image.resize(rgb.astype(np.float32), (size, size), interpolation="bilinear", antialias=True)
    # Where a pixel falls is in float32 in Keras, and neighbours may be 255 apart.
    assert np.allclose(as_numpy(resized(pixels, size)), as_numpy(expected), atol=0.02)
    prepared = as_numpy(expected)[..., ::-1] - np.array([103.939, 116.779, 123.68])
    assert np.allclose(as_numpy(Prepare(VGG16.preprocessing, size)(pixels)), prepared, atol=0.02)


@pytest.mark.parametrize("k", range(1, N_CONVS + 1))
def test_a_stage_is_a_convolution_and_the_pool_after_it(backbone: Backbone, k: int) -> None:
    kinds = [type(layer).__name__ for layer in backbone.stages[k - 1].layers[1:]]
    assert kinds == (["Conv2D", "MaxPooling2D"] if k in (2, 4, 7, 10, 13) else ["Conv2D"])
    values = backbone.forward(np.zeros((1, 20, 20, 3), np.uint8), 0, k, 64)
    assert tuple(values.shape[1:]) == backbone.architecture.shape(k, 64)


def test_load_puts_back_imagenet_or_draws_by_seed(backbone: Backbone) -> None:
    def kernels() -> list[np.ndarray]:
        return [as_numpy(layer.kernel) for layer in backbone.layers]

    backbone.load(pretrained=True, seed=0)
    assert np.array_equal(kernels()[3], backbone.weights.tensors["block2_conv2"][0])
    drawn = []
    for seed in (1, 1, 2):
        backbone.load(pretrained=False, seed=seed)
        drawn.append(kernels())
    assert all(np.array_equal(a, b) for a, b in zip(drawn[0], drawn[1], strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(drawn[0], drawn[2], strict=True))
    backbone.load(pretrained=True, seed=1)
    assert np.array_equal(kernels()[3], backbone.weights.tensors["block2_conv2"][0])


def test_random_convolutions_keep_the_scale_of_the_signal() -> None:
    real = Backbone.of(VGG16, tiny_weights())
    real.load(pretrained=False, seed=0)
    values = np.random.default_rng(0).normal(0, 58, (4, 32, 32, 3)).astype(np.float32)
    for stage in real.stages:
        values = stage(values)
    assert 0.1 < float(np.sqrt(np.mean(as_numpy(values) ** 2))) < 10


@pytest.mark.parametrize("pooling", get_args(Pooling))
def test_a_strategy_wants_a_k_of_its_kind(pooling: Pooling) -> None:
    with pytest.raises(ValueError, match=r"needs 1 <= frozen <= 12, but got self\.frozen=13"):
        Strategy("freeze_first_k", 13, pooling, (), 0.0, "adam", 1e-3, image_size=32)
    with pytest.raises(ValueError, match="fine_tune_all needs 0"):
        Strategy("fine_tune_all", 1, pooling, (), 0.0, "adam", 1e-3, image_size=32)
