"""Measuring how well frozen features tell the classes of a data set: the probes of its profile."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.backbones.backbone import Backbone
from harness.core.strategy import Strategy
from harness.data.dataset import Images
from harness.guidance.measure import SCORED, averages_by_depth
from harness.rules.profile import Probe
from harness.statistics.probing import knn_accuracy, linear_accuracy
from harness.statistics.transferability import h_score, logme
from harness.training.flops import prefix_cost

MOST_IMAGES = 1000
"""Training images that are probed at most."""

Features = dict[str, NDArray[np.float32]]
"""By `Strategy.place` of an arm: the frozen features (n, channels) that its head begins with."""


@dataclass(frozen=True, slots=True)
class Pass:
    """A forward pass of all images through a backbone at an image size: its FLOPs, and its seconds without
    compiling."""

    backbone: str
    image_size: int
    flops: float
    seconds: float


def frozen_features(
    images: Images, backbone: Backbone, arms: Sequence[Strategy], note: Callable[[str], None] = lambda _: None
) -> tuple[Features, list[Pass]]:
    """Return the features that the ``arms`` of ``backbone`` freeze, and the passes that made them, one for each size.

    ``note`` is called with a line on each pass.
    """
    found: Features = {}
    passes = []
    for size in sorted({arm.image_size for arm in arms}):
        note(f"{backbone.spec.label} at {size} px, {len(images):,} images")
        at_size = [arm for arm in arms if arm.image_size == size]
        depths = sorted({arm.frozen for arm in at_size})
        averages_by_depth(images.pixels[:1], backbone, size, depths)  # compiles it
        began = time.perf_counter()
        averages = dict(zip(depths, averages_by_depth(images.pixels, backbone, size, depths), strict=True))
        seconds = time.perf_counter() - began
        flops = len(images) * prefix_cost(backbone.architecture, size, depths[-1])
        passes.append(Pass(backbone.spec.name, size, flops, seconds))
        found |= {arm.place(): averages[arm.frozen] for arm in at_size}
    return found, passes


def probe(features: NDArray[np.float32], labels: NDArray[np.int64]) -> Probe:
    """Return how well ``features`` (n, channels) tell the classes of ``labels`` (n,)."""
    drawn = np.random.default_rng(0).permutation(len(labels))[:SCORED]  # images may come in the order of their classes
    some, of_some = features[drawn], labels[drawn]
    return Probe(
        knn_accuracy(features, labels), linear_accuracy(features, labels), logme(some, of_some), h_score(some, of_some)
    )
