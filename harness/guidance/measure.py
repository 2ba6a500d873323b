"""Measurements of a data set with VGG16 before any training: similarity to ImageNet, and scores of its layers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.backbones.activation_cache import FeatureCache
from harness.backbones.backbone import Backbone
from harness.backbones.batches import batches
from harness.backbones.devices import as_numpy, images_at_once
from harness.backbones.weights import load_weights
from harness.core.backbone import BackboneSpec
from harness.core.errors import DataError
from harness.core.paths import user_cache
from harness.core.strategy import VGG16
from harness.data.dataset import Images
from harness.statistics.similarity import Reference, Similarity, compare, load_reference
from harness.statistics.transferability import h_score, logme

SCORED = 500
"""Training images that the layers are scored on."""


@dataclass(frozen=True, slots=True)
class LayerScore:
    """How well the output of convolution ``k`` fits the labels of ``n_images`` images."""

    k: int
    logme: float
    h_score: float
    n_images: int


def measure_similarity(images: Images, weights: Path | None, cache_bytes: int) -> Similarity:
    """Return how similar the images are to ImageNet.

    It is measured in float32 and at the reference's image size, whatever the study's are.

    Args:
        images: A sample of the data set.
        weights: A file of VGG16's weights, as for `load_weights`.
        cache_bytes: Limit of the activation cache.
    """
    cache = FeatureCache(user_cache() / "features", reference_backbone(weights), cache_bytes)
    return similarity_of(images, cache, load_reference())


@cache
def reference_backbone(weights: Path | None) -> Backbone:
    """Return VGG16 in float32 with these weights."""
    declared = BackboneSpec.load(VGG16)  # the reference was made with it
    return Backbone.of(declared, load_weights(declared, weights), dtype="float32")


def similarity_of(images: Images, cache: FeatureCache, reference: Reference) -> Similarity:
    """Return how similar the images are to the ``reference``.

    Raises DataError if the reference was not made with the weights of the cache's network.
    """
    weights = cache.backbone.weights
    if weights.digest != reference.weights:
        raise DataError(
            f"similarity to ImageNet cannot be measured with the weights from {weights.source}: the reference was made "
            "with others. Declare similar_to_imagenet = true or false in the data set's TOML"
        )
    return compare(block5_averages(images, cache, reference.image_size), images.labels, reference)


def block5_averages(images: Images, cache: FeatureCache, image_size: int) -> NDArray[np.float32]:
    """Return the last block's activations (n, channels) at ``image_size``, averaged over the image."""
    activations = cache.get(images, len(cache.backbone.stages), image_size)
    return np.asarray(activations.values.mean(axis=(1, 2)), np.float32)


def layer_scores(images: Images, backbone: Backbone, image_size: int) -> list[LayerScore]:
    """Return LogME and H-score of each convolution's output, 1 to 13, at ``image_size``.

    They are computed on the first `SCORED` images; a study's split is in random order.
    """
    pixels, labels = images.pixels[:SCORED], images.labels[:SCORED]
    by_depth = enumerate(averages_by_depth(pixels, backbone, image_size), start=1)
    return [LayerScore(k, logme(found, labels), h_score(found, labels), len(labels)) for k, found in by_depth]


def _over_the_image(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    averages: NDArray[np.float32] = maps.mean(axis=(1, 2))
    return averages


def averages_by_depth(
    pixels: NDArray[np.uint8],
    backbone: Backbone,
    image_size: int,
    depths: Sequence[int] | None = None,
    average: Callable[[NDArray[np.float32]], NDArray[np.float32]] = _over_the_image,
) -> list[NDArray[np.float32]]:
    """Return the output (n, channels) after each of ``depths`` stages, ascending, at ``image_size``, averaged over the
    image, or by another ``average`` of maps (n, height, width, channels). By default that is each stage."""
    ends = range(1, len(backbone.stages) + 1) if depths is None else depths
    backbone.load(pretrained=True, seed=0)
    found: list[list[NDArray[np.float32]]] = [[] for _ in ends]
    for rows, weights in batches(len(pixels), images_at_once(image_size)):
        values, start = pixels[rows], 0
        for end, averages in zip(ends, found, strict=True):
            values = backbone.forward(values, start, end, image_size)
            averages.append(average(as_numpy(values))[weights > 0])
            start = end
    return [np.concatenate(averages) for averages in found]
