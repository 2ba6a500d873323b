from typing import Any

import pytest

from harness.backbones.layer_costs import ACTIVATIONS, RULES, work_of
from harness.backbones.stages import Side
from harness.core.errors import SpecError

keras = pytest.importorskip("keras")
if keras.backend.backend() != "tensorflow":
    pytest.skip("the profiler reads TensorFlow's graphs", allow_module_level=True)

import tensorflow as tf  # noqa: E402
from keras import layers  # noqa: E402
from keras.src.applications.convnext import LayerScale  # noqa: E402
from keras.src.applications.inception_resnet_v2 import CustomScaleLayer  # noqa: E402

from tests.helpers.profiler import profiled  # noqa: E402

SIZE, CHANNELS = 240, 64
"""Of maps so large that borders, and of so many channels that what is done once a position, matter little."""
IMAGES = 4
VALUES = (IMAGES, SIZE, SIZE, CHANNELS)

ONE_INPUT = [
    layers.Conv2D(32, 3),
    layers.Conv2D(32, (1, 7), padding="same", use_bias=False, activation="silu"),
    layers.Conv2D(64, 5, strides=2, padding="same", groups=4),
    layers.Conv2D(32, 3, strides=3, activation="gelu"),
    layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2),
    layers.DepthwiseConv2D(5, strides=2, use_bias=False),
    layers.SeparableConv2D(48, 3, padding="same", activation="mish"),
    layers.Dense(32, activation="hard_swish"),
    *(layers.BatchNormalization(scale=scale, center=center) for scale in (True, False) for center in (True, False)),
    *(layers.LayerNormalization(scale=scale, center=center) for scale in (True, False) for center in (True, False)),
    layers.GroupNormalization(8),
    layers.Rescaling(1 / 3, offset=-1.0),
    layers.Normalization(mean=[0.5] * CHANNELS, variance=[2.0] * CHANNELS),
    LayerScale(1e-6, CHANNELS),
    layers.MaxPooling2D(2),
    layers.MaxPooling2D(3, strides=2, padding="same"),
    layers.AveragePooling2D(3, strides=1, padding="same"),
    layers.GlobalAveragePooling2D(),
    layers.GlobalAveragePooling2D(keepdims=True),
    layers.ZeroPadding2D(((1, 2), (1, 2))),
    layers.Cropping2D(2),
    layers.ReLU(6.0),
    layers.LeakyReLU(),
    *(layers.Activation(name) for name in ("hard_silu", "hard_sigmoid", "gelu", "mish", "silu", "softplus", "tanh")),
]


def named(layer: Any) -> str:
    return type(layer).__name__


@pytest.mark.parametrize("layer", ONE_INPUT, ids=named)
def test_agrees_with_tensorflow(layer: Any) -> None:
    output = layer(keras.Input((None, None, CHANNELS)))
    weights = [variable.value for variable in layer.trainable_variables]

    def step(values: Any, training: bool, with_input: bool) -> Any:
        wanted = [*weights, values] if with_input else weights
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(wanted)
            result = layer(values, **({"training": training} if layer._call_has_training_arg else {}))
        return [result, *tape.gradient(result, wanted, output_gradients=result)] if wanted else result

    work = work_of(layer, [Side()], output.shape[-1])
    expected = layer(keras.Input((SIZE, SIZE, CHANNELS))).shape
    assert (work.output is None) == (expected[1:-1] in ((), (1, 1)))
    assert work.output is None or expected[1:-1] == (work.output.at(SIZE),) * 2
    assert work.at is not None
    positions = IMAGES * work.at.at(SIZE) ** 2
    forward = profiled(layer, VALUES)
    assert positions * work.forward == pytest.approx(forward, rel=0.02)
    trained = profiled(lambda values: step(values, True, False), VALUES)
    assert positions * (work.forward + work.weight_gradient) == pytest.approx(trained, rel=0.02)
    both = profiled(lambda values: step(values, True, True), VALUES)
    whole = work.forward + work.weight_gradient + work.input_gradients[0]
    assert positions * whole == pytest.approx(both, rel=0.02)


@pytest.mark.parametrize(
    ("layer", "sides"),
    [
        (layers.Add(), 2),
        (layers.Add(), 3),
        (layers.Multiply(), 2),
        (CustomScaleLayer(0.1), 2),
        (layers.Concatenate(), 2),
        (layers.Multiply(), "vector"),
        (layers.Add(), "vector"),
    ],
    ids=lambda value: value if isinstance(value, str) else named(value),
)
def test_layers_of_several_inputs_agree_with_tensorflow(layer: Any, sides: int | str) -> None:
    vector = (IMAGES, 1, 1, CHANNELS)
    shapes = [VALUES, vector] if sides == "vector" else [VALUES] * int(sides)

    def step(*values: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            result = layer(list(values))
        return [result, *tape.gradient(result, values, output_gradients=result)]

    given = [None if shape == vector else Side() for shape in shapes]
    channels = layer([keras.Input((None, None, CHANNELS)) for _ in shapes]).shape[-1]
    work = work_of(layer, given, channels)
    assert work.output == work.at == Side()
    ours = IMAGES * SIZE**2 * (work.forward + sum(work.input_gradients))
    assert ours == pytest.approx(profiled(step, *shapes), rel=0.02)


def test_a_convolution_with_gaps_counts_its_products_alone() -> None:
    layer = layers.Conv2D(4, 3, dilation_rate=2)
    layer.build((None, None, None, 8))
    work = work_of(layer, [Side()], 4)
    assert (work.output, work.forward, work.input_gradients) == (Side(1, -4), 2 * 9 * 8 * 4 + 4, (2 * 9 * 8 * 4,))


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (layers.Conv2DTranspose(4, 3, name="up"), (8, 8, 4), "layer 'up' is of the class Conv2DTranspose, whose FLOPs"),
        (layers.Reshape((64, 4), name="flat"), (8, 8, 4), "layer 'flat' gives a map another shape"),
        (layers.Conv2D(4, (1, 3), name="wide"), (8, 8, 4), "layer 'wide' makes maps that are not square"),
        (layers.Concatenate(axis=1, name="tall"), (8, 8, 4), "layer 'tall' joins maps along axis 1"),
    ],
    ids=lambda value: named(value) if isinstance(value, keras.Layer) else "",
)
def test_what_is_no_map_of_a_backbone_is_refused(layer: Any, shape: tuple[int, ...], message: str) -> None:
    if not isinstance(layer, layers.Concatenate):
        layer.build((None, *shape))
    with pytest.raises(SpecError, match=message):
        work_of(layer, [Side()], 4)


def test_every_class_in_the_tables_is_one_of_keras() -> None:
    known = {*dir(layers), "LayerScale", "StochasticDepth", "CustomScaleLayer"}
    assert set(RULES) <= known
    functions = {name.replace("_", "") for name in dir(keras.activations)}
    assert set(ACTIVATIONS) <= functions
