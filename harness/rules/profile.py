"""What the rules know of a data set: what can be measured without training a network on it.

Features are a network's activations after some of its stages, averaged over the image. Every accuracy here is
leave-one-out on the training images, so that no validation image is needed.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Probe:
    """How well the features that an arm freezes tell the classes: leave-one-out accuracy of the nearest neighbours and
    of a linear classifier, LogME and H-score."""

    knn: float
    linear: float
    logme: float
    h_score: float


@dataclass(frozen=True, slots=True)
class Probed:
    """What the rules know of a data set.

    Attributes:
        n_train: Training images.
        classes: Their classes.
        majority: The share of the largest class.
        own_size: The median of the longer sides of its images, in pixels.
        distance: Kernel distance to ImageNet, see `harness.statistics.similarity`.
        probes: By `Strategy.place` of the arms that freeze something.
    """

    n_train: int
    classes: int
    majority: float
    own_size: int
    distance: float
    probes: Mapping[str, Probe]
