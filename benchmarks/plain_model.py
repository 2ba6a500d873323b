"""The network of a strategy as a user of Keras would build it. Needs only Keras and `harness.core.strategy`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from harness.core.strategy import Strategy


def plain_model(strategy: Strategy, image_size: int, n_classes: int, weights: Path | str) -> keras.Model:
    """Return VGG16 with its first convolutions frozen and a head on it, not compiled.

    Its weights come from the file ``weights``, or are random if the strategy is not pretrained.
    """
    shape, file = (image_size, image_size, 3), str(weights) if strategy.pretrained else None
    base = keras.applications.VGG16(weights=file, include_top=False, input_shape=shape)
    convs = [layer for layer in base.layers if isinstance(layer, keras.layers.Conv2D)]
    for conv in convs[: strategy.frozen]:
        conv.trainable = False
    model = keras.Sequential([base, keras.layers.GlobalAveragePooling2D()])
    for width in strategy.head:
        model.add(keras.layers.Dense(width, activation="relu"))
        model.add(keras.layers.Dropout(strategy.dropout))
    model.add(keras.layers.Dense(n_classes, activation="softmax"))
    return model


def save_weights(tensors: Mapping[str, Sequence[NDArray[np.float32]]], file: Path) -> None:
    """Write VGG16's kernels and biases by layer as the file (``.weights.h5``) that Keras's own VGG16 reads."""
    base = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    for name, pair in tensors.items():
        base.get_layer(name).set_weights(pair)
    base.save_weights(file)
