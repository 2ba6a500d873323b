"""What a batch becomes before a network is trained on it: augmented images, mixed pairs, smoothed labels."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from harness.core.refinements import Refinements

_VALUES = (0, 255)


class Mixing:
    """Changes batches as `harness.core.refinements.Refinements` say, with draws of its own from a ``seed``.

    Without soft labels the labels stay classes, and without changes to images these stay as they are.
    """

    def __init__(self, refinements: Refinements, n_classes: int, seed: int, *, flip: bool = False) -> None:
        """``flip`` says whether augmentation also mirrors images."""
        self._refinements = refinements
        self._n_classes = n_classes
        self._draws = np.random.default_rng([seed, 3])
        self._layers: list[keras.layers.Layer] = []
        self._one_of: Sequence[keras.layers.Layer] = ()
        if refinements.augmentation:
            self._layers = _moves(refinements.augmentation, seed, flip=flip)
            self._one_of = _colours(refinements.augmentation, seed)

    def of(self, images: Any, labels: NDArray[np.int64], weights: NDArray[np.float32]) -> tuple[Any, Any, Any]:
        """Return the inputs, labels and weights to train on for a batch of them.

        Labels become shares of classes (n, classes) where the refinements have soft ones.
        """
        refinements = self._refinements
        if self._layers:
            images = self._augmented(images)
        if not refinements.soft_labels:
            return images, labels, weights
        targets = shares(labels, self._n_classes, refinements.label_smoothing)
        if refinements.mixup:
            share = np.float32(self._draws.beta(refinements.mixup, refinements.mixup))
            partners = self._draws.permutation(len(labels))
            partners = np.where((weights > 0) & (weights[partners] > 0), partners, np.arange(len(labels)))
            images = np.asarray(keras.ops.convert_to_numpy(images), np.float32)
            images, targets, weights = (mixed(values, partners, share) for values in (images, targets, weights))
        return images, targets, weights

    def _augmented(self, images: Any) -> Any:
        images = np.asarray(keras.ops.convert_to_numpy(images), np.float32)
        if images.ndim == 3:
            images = np.repeat(images[..., None], 3, axis=3)
        colour = self._one_of[int(self._draws.integers(len(self._one_of)))]
        for layer in (*self._layers, colour):
            images = layer(images, training=True)
        return images


def shares(labels: NDArray[np.int64], n_classes: int, smoothing: float) -> NDArray[np.float32]:
    """Return labels (n,) as shares of the classes (n, classes); of each label ``smoothing`` is spread over all."""
    targets = np.full((len(labels), n_classes), smoothing / n_classes, np.float32)
    targets[np.arange(len(labels)), labels] += np.float32(1 - smoothing)
    return targets


def mixed(values: Any, partners: NDArray[np.int64], share: np.float32) -> Any:
    """Return ``share`` of each of the values and the rest of its partner's (Zhang et al. 2018)."""
    return share * values + (1 - share) * values[partners]


def _moves(strength: float, seed: int, *, flip: bool) -> list[keras.layers.Layer]:
    """Return layers that crop each image at random: up to half of it in each direction at full ``strength``."""
    shift = 0.25 * strength
    layers = [
        keras.layers.RandomZoom((-0.5 * strength, 0.0), seed=seed, fill_mode="nearest"),
        keras.layers.RandomTranslation(shift, shift, seed=seed + 1, fill_mode="nearest"),
    ]
    return [*layers, keras.layers.RandomFlip("horizontal", seed=seed + 2)] if flip else layers


def _colours(strength: float, seed: int) -> Sequence[keras.layers.Layer]:
    """Return layers of which each batch gets one, drawn at random: RandAugment (Cubuk et al. 2020) in small.

    Keras's own runs all its eleven layers for each that it takes: a second for 32 images of 96 pixels, more than the
    training step.
    """
    return (
        keras.layers.RandomBrightness(0.5 * strength, value_range=_VALUES, seed=seed + 3),
        keras.layers.RandomContrast(0.5 * strength, value_range=_VALUES, seed=seed + 4),
        keras.layers.RandomRotation(0.1 * strength, seed=seed + 5, fill_mode="nearest"),
        keras.layers.Identity(),
    )
