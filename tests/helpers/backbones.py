"""Tiny backbones for tests, as builders that a backbone's file can name."""

from typing import Any

import keras
from keras import layers, ops


def mixed(input_shape: Any, weights: None, include_top: bool, *, channels: int = 8) -> keras.Model:
    """Build a network with most classes of layers: residual blocks, squeeze-and-excite, a nested model, + as it is."""
    image = keras.Input(input_shape)
    values = layers.ZeroPadding2D(1, name="pad")(layers.Rescaling(1 / 255)(image))
    values = layers.Conv2D(channels, 3, strides=2, use_bias=False)(values)
    values = layers.ReLU(6.0, name="stem")(layers.BatchNormalization()(values))

    inside = layers.Activation("silu")(layers.BatchNormalization()(layers.Conv2D(2 * channels, 1)(values)))
    inside = layers.DepthwiseConv2D(3, padding="same", dilation_rate=2)(inside)
    weighed = layers.Reshape((1, 1, 2 * channels))(layers.GlobalAveragePooling2D()(inside))
    weighed = layers.Conv2D(4, 1, activation="swish")(weighed)
    weighed = layers.Conv2D(2 * channels, 1, activation="hard_sigmoid")(weighed)
    inside = layers.Dropout(0.2)(layers.Conv2D(channels, 1)(layers.Multiply()([inside, weighed])))
    values = layers.Add(name="block1")([values, inside])

    down = keras.Sequential([layers.LayerNormalization(), layers.Conv2D(2 * channels, 2, strides=2)], name="down")
    values = down(values)
    inside = layers.Conv2D(2 * channels, 7, padding="same", groups=2 * channels)(values)
    inside = layers.Dense(4 * channels, activation="gelu")(layers.LayerNormalization()(inside))
    values = values + layers.Dense(2 * channels)(inside)

    inside = layers.SeparableConv2D(channels, 3, strides=2, padding="same", activation="relu")(values)
    pooled = layers.MaxPooling2D(3, strides=2, padding="same")(values)
    joined = layers.Concatenate(name="joined")([inside, pooled])
    joined = layers.Activation("hard_silu")(layers.BatchNormalization(scale=False)(joined))
    return keras.Model(image, layers.AveragePooling2D(2)(ops.multiply(joined, 0.5)))


MIXED = {"stem": "stem", "block1": "block1", "down": "down", "dense": "add", "end": "average_pooling2d"}
"""The stages of `mixed`."""


def of_one_convolution(input_shape: Any, weights: None, include_top: bool) -> keras.Model:
    """Build a network of one layer, for stages that are quick to build."""
    return keras.Sequential([keras.Input(input_shape), layers.Conv2D(4, 3, strides=2, name="only")])


def with_other_layers(input_shape: Any, weights: None, include_top: bool) -> keras.Model:
    """Build a network with a layer whose costs are not known."""
    image = keras.Input(input_shape)
    return keras.Model(image, layers.Conv2DTranspose(4, 3, name="grows")(image))


def of_other_arguments(size: int) -> keras.Model:
    """Take none of the arguments that a builder is given."""
    raise AssertionError("not called")


def of_no_model(input_shape: Any, weights: None, include_top: bool) -> str:
    """Return no model."""
    return "model"
