"""A small network of the layers that backbones other than VGG16 have, and what declares it as a backbone."""

from typing import Any

import keras
from keras import layers

from harness.core.backbone import BackboneSpec


def small_network(
    input_shape: tuple[int | None, ...], weights: str | None, include_top: bool, width: int = 4
) -> keras.Model:
    """A convolution, a depthwise one, batch normalizations, and a `keras.Sequential` as in ConvNeXt."""
    assert not include_top
    inputs = keras.Input(input_shape)
    values = layers.Conv2D(width, 3, strides=2, use_bias=False, name="stem_conv")(inputs)
    values = layers.ReLU(name="stem_relu")(layers.BatchNormalization(name="stem_bn")(values))
    values = layers.DepthwiseConv2D(3, padding="same", name="dw_conv")(values)
    values = layers.BatchNormalization(name="dw_bn")(values)
    inner = [layers.LayerNormalization(name="down_norm"), layers.Conv2D(2 * width, 1, name="down_conv")]
    values = layers.ReLU(name="head_relu")(keras.Sequential(inner, name="down")(values))
    network = keras.Model(inputs, values)
    if weights is not None:
        network.load_weights(weights)
    return network


def small_spec(**weights: Any) -> BackboneSpec:
    """`small_network` declared; ``weights`` are values of that section."""
    return BackboneSpec.model_validate(
        {
            "name": "small",
            "title": "Small (for tests)",
            "builder": "tests.helpers.small_network.small_network",
            "preprocessing": {"mean": (0, 0, 0)},
            "stages": {"stem": "stem_relu", "head": "head_relu"},
            "weights": {"licence": "none", "download": False, **weights},
        }
    )
