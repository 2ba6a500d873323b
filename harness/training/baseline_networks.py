"""The baselines' networks: the article's MLP and CNN on raw images."""

from collections.abc import Sequence

import keras

from harness.backbones.devices import images_at_once
from harness.backbones.preprocessing import CHANNELS_LAST, Scaled
from harness.backbones.stages import RGB
from harness.training.flops import CNN_FILTERS, CNN_KERNEL, CNN_MODULES, CNN_WIDTH, MLP_HIDDEN
from harness.training.layers import Dropout
from harness.training.networks import Network, give_variables, logits_layer

CNN_DROPOUT = 0.5


def mlp(image_size: int, n_classes: int) -> Network:
    """Build the article's MLP on flattened images: three hidden layers of 500, ReLU."""
    layers = [keras.layers.Flatten(CHANNELS_LAST), *(keras.layers.Dense(width, "relu") for width in MLP_HIDDEN)]
    return _from_pixels(image_size, [*layers, logits_layer(n_classes)])


def cnn(image_size: int, n_classes: int) -> Network:
    """Build the article's CNN: three convolution modules, a hidden layer of 64, dropout.

    The listing of a module is lost. By memory of the original it is 32 filters of 5x5, ReLU and 4x4 max-pooling. That
    is unsure, and three 4x4 pools need 64 pixels, so smaller images get 2x2.
    """
    layers: list[keras.layers.Layer] = []
    for _ in range(CNN_MODULES):
        layers.append(
            keras.layers.Conv2D(CNN_FILTERS, CNN_KERNEL, padding="same", activation="relu", data_format=CHANNELS_LAST)
        )
        layers.append(keras.layers.MaxPooling2D(cnn_pool(image_size), data_format=CHANNELS_LAST))
    layers += [keras.layers.Flatten(CHANNELS_LAST), keras.layers.Dense(CNN_WIDTH, "relu"), Dropout("dropout")]
    return _from_pixels(image_size, [*layers, logits_layer(n_classes)])


def cnn_pool(image_size: int) -> int:
    """Return the side of the CNN baseline's max-pooling: 4 where three of them fit, else 2."""
    return 4 if image_size >= 4**CNN_MODULES else 2


def _from_pixels(image_size: int, layers: Sequence[keras.layers.Layer]) -> Network:
    scaled = Scaled(image_size)
    give_variables(layers, (None, image_size, image_size, RGB))
    return Network([scaled], [], layers, layers, scaled, images_at_once(image_size), image_size)
