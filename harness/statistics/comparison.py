"""How sure a test accuracy is, and a difference between two, when a few seeds are measured on the same test images.

Both the seeds and the images are samples: other seeds give other networks, other images other hits. They cross (every
seed is measured on every image), so that neither alone says how sure the mean is. The variance of the mean comes from
the two-way random-effects analysis that reader studies in radiology use for readers and cases: Dorfman, Berbaum and
Metz 1992, with the degrees of freedom of Hillis 2007; it is not let under that of the seeds or of the images alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from harness.statistics.intervals import Interval, quantile, wilson_interval

METHOD = "paired t-test over seeds and test images (two-way random effects, Dorfman-Berbaum-Metz), Holm-corrected"
"""The comparison in words."""

Correct = NDArray[np.bool_]
"""(seeds, images): which of the same test images a candidate tells right when it is trained with each seed."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean test accuracy and its 95 % interval for other seeds and other images of the kind.

    ``spread`` is the standard deviation between seeds. ``by_seeds`` is the interval were these test images all that
    there are (t), ``by_images`` were every seed to give the same network (Wilson).
    """

    mean: float
    low: float
    high: float
    spread: float
    by_seeds: tuple[float, float]
    by_images: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Difference:
    """A mean difference in test accuracy, its 95 % interval, and the ``p`` value of there being none; ``adjusted`` is
    that corrected for all the comparisons made with it, `significant` what it says at 5 %."""

    mean: float
    low: float
    high: float
    p: float
    adjusted: float

    @property
    def significant(self) -> bool:
        """Whether there is a difference, at 5 % over all comparisons made together."""
        return self.adjusted < 0.05


def estimate(correct: Correct) -> Estimate:
    """The accuracy that two seeds or more reach on the same images. Raises ValueError for fewer seeds or images."""
    mean, variance, freedom = _two_way(correct.astype(np.float64))
    images = correct.shape[1]
    # Wilson's interval as surveys use it: with as many images as would be as sure, were they all there is to it.
    effective = mean * (1 - mean) / variance if variance > 0 else float(images)
    low, high = wilson_interval(mean * effective, effective, freedom)
    by_seed = correct.mean(axis=1)
    by_seeds = Interval.of(by_seed.tolist())
    by_images = wilson_interval(mean * images, images)
    return Estimate(mean, low, high, float(by_seed.std(ddof=1)), (by_seeds.low, by_seeds.high), by_images)


def differences(pairs: Sequence[tuple[Correct, Correct]]) -> list[Difference]:
    """The first's accuracy less the second's, for each pair, corrected together after Holm 1979.

    The two of a pair are measured on the same images, with the same number of seeds. Intervals are not corrected.
    """
    found = []
    for first, second in pairs:
        mean, variance, freedom = _two_way(first.astype(np.float64) - second)
        half = quantile(freedom) * sqrt(variance)
        if variance > 0:
            p = 2 * float(stdtr(min(freedom, 1e9), -abs(mean) / sqrt(variance)))
        else:  # not one image is told otherwise, or every one is
            p = 1.0 if mean == 0 else 0.0
        found.append((mean, max(mean - half, -1.0), min(mean + half, 1.0), p))
    adjusted = holm([p for *_, p in found])
    return [Difference(*values, corrected) for values, corrected in zip(found, adjusted, strict=True)]


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values, each as large as it has to be for all of them to be read together (Holm 1979)."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _two_way(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """The mean of ``values`` (seeds, images), the variance of that mean over both, its degrees of freedom."""
    seeds, images = values.shape
    if seeds < 2 or images < 2:
        raise ValueError(f"two seeds and two images at least have a spread, but got {values.shape}")
    mean = float(values.mean())
    by_seed, by_image = values.mean(axis=1), values.mean(axis=0)
    seed_square = images * float(by_seed.var(ddof=1))
    image_square = seeds * float(by_image.var(ddof=1))
    rest = values - by_seed[:, None] - by_image + mean
    rest_square = float((rest**2).sum()) / ((seeds - 1) * (images - 1))
    # An estimate of so few seeds may come out under what the seeds, or the images, vary by on their own.
    total = max(seed_square + image_square - rest_square, seed_square, image_square)
    freedom = (seeds - 1) * (total / seed_square) ** 2 if seed_square > 0 else inf
    return mean, total / (seeds * images), freedom
