"""Uncertainty of test accuracies and of their differences, when a few seeds are measured on the same test images.

Seeds and images are both samples: other seeds give other networks, other images are classified otherwise. They are
crossed (every seed is measured on every image), so the spread over one of them understates the uncertainty of the mean.
The variance of the mean comes from the two-way random-effects analysis that reader studies in radiology use for readers
and cases: Dorfman, Berbaum and Metz 1992, with the degrees of freedom of Hillis 2007. It is at least the variance over
the seeds, or over the images, alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from harness.statistics.intervals import Interval, quantile, wilson_interval

METHOD = "paired t-test over seeds and test images (two-way random effects, Dorfman-Berbaum-Metz), Holm-corrected"
"""The method in words."""

Correct = NDArray[np.bool_]
"""(seeds, images): which of the same test images a candidate classifies correctly when it is trained with each seed."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean test accuracy and its 95 % interval, for other seeds and other images of the kind.

    Attributes:
        spread: Standard deviation between seeds.
        by_seeds: The interval for other seeds on the same images (Student's t).
        by_images: The interval for other images with the same networks (Wilson).
    """

    mean: float
    low: float
    high: float
    spread: float
    by_seeds: tuple[float, float]
    by_images: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Difference:
    """A mean difference in test accuracy and its 95 % interval.

    ``p`` is the p value of no difference, ``adjusted`` the same corrected for all comparisons made together.
    """

    mean: float
    low: float
    high: float
    p: float
    adjusted: float

    @property
    def significant(self) -> bool:
        """Return whether there is a difference, at 5 % over all comparisons made together."""
        return self.adjusted < 0.05


def estimate(correct: Correct) -> Estimate:
    """Return the accuracy of two or more seeds on the same images. Raises ValueError for fewer seeds or images."""
    mean, variance, freedom = _two_way(correct.astype(np.float64))
    images = correct.shape[1]
    # Wilson's interval as surveys use it: with the number of independent images that would have the same variance.
    effective = mean * (1 - mean) / variance if variance > 0 else float(images)
    low, high = wilson_interval(mean * effective, effective, freedom)
    by_seed = correct.mean(axis=1)
    by_seeds = Interval.of(by_seed.tolist())
    by_images = wilson_interval(mean * images, images)
    return Estimate(mean, low, high, float(by_seed.std(ddof=1)), (by_seeds.low, by_seeds.high), by_images)


def differences(pairs: Sequence[tuple[Correct, Correct]]) -> list[Difference]:
    """Return the first's accuracy minus the second's for each pair, with p values corrected together (Holm 1979).

    The two of a pair are measured on the same images, with the same number of seeds. Intervals are not corrected.
    """
    found = []
    for first, second in pairs:
        mean, variance, freedom = _two_way(first.astype(np.float64) - second)
        half = quantile(freedom) * sqrt(variance)
        if variance > 0:
            p = 2 * float(stdtr(min(freedom, 1e9), -abs(mean) / sqrt(variance)))
        else:  # the two agree on all images, or on none
            p = 1.0 if mean == 0 else 0.0
        found.append((mean, max(mean - half, -1.0), min(mean + half, 1.0), p))
    adjusted = holm([p for *_, p in found])
    return [Difference(*values, corrected) for values, corrected in zip(found, adjusted, strict=True)]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p values corrected for being read together (Holm 1979)."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _two_way(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the mean of ``values`` (seeds, images), the variance of that mean over both, its degrees of freedom."""
    seeds, images = values.shape
    if seeds < 2 or images < 2:
        raise ValueError(f"a spread needs two seeds and two images at least, but got {values.shape}")
    mean = float(values.mean())
    by_seed, by_image = values.mean(axis=1), values.mean(axis=0)
    seed_square = images * float(by_seed.var(ddof=1))
    image_square = seeds * float(by_image.var(ddof=1))
    rest = values - by_seed[:, None] - by_image + mean
    rest_square = float((rest**2).sum()) / ((seeds - 1) * (images - 1))
    # With so few seeds the estimate may be smaller than the variance over the seeds, or the images, alone.
    total = max(seed_square + image_square - rest_square, seed_square, image_square)
    freedom = (seeds - 1) * (total / seed_square) ** 2 if seed_square > 0 else inf
    return mean, total / (seeds * images), freedom
