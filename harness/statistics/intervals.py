"""95 % intervals: of a share (Wilson), of a mean (Student's t), of the difference of two shares (Newcombe)."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import fmean, stdev

from scipy.special import stdtrit


def quantile(freedom: float = inf) -> float:
    """Return the 97.5 % quantile of Student's t with ``freedom`` degrees of freedom, by default of the normal
    distribution: the half width of a 95 % interval in standard errors."""
    return float(stdtrit(min(freedom, 1e9), 0.975))


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its 95 % interval over ``n`` replicates (Student's t); infinitely wide if there is only one."""

    mean: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Interval":
        """Return the mean of ``values`` and its interval."""
        n, mean = len(values), fmean(values)
        half = quantile(n - 1) * stdev(values) / sqrt(n) if n > 1 else inf
        return cls(mean, mean - half, mean + half, n)


def wilson_interval(correct: float, n: float, freedom: float = inf) -> tuple[float, float]:
    """Return the 95 % interval of an accuracy measured as ``correct`` of ``n`` images (Wilson 1927).

    It keeps its coverage near 0 and 1, where the usual normal interval shrinks to nothing.

    Args:
        correct: Images classified correctly.
        n: All images.
        freedom: Degrees of freedom of the variance, if ``n`` is an effective number computed from an estimated one.

    Raises:
        ValueError: Unless 0 <= correct <= n and n > 0.
    """
    if not (n > 0 and 0 <= correct <= n):
        raise ValueError(f"an accuracy needs 0 <= correct <= n and n > 0, but got {correct=}, {n=}")
    share, z = correct / n, quantile(freedom)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # At the ends the formula gives 0 and 1 exactly; floating point does not.
    return (0.0 if correct == 0 else centre - half), (1.0 if correct == n else centre + half)


def gap(
    first: float, first_interval: tuple[float, float], second: float, second_interval: tuple[float, float]
) -> tuple[float, float]:
    """Return the 95 % interval of ``first`` minus ``second``, two independently measured accuracies, from the interval
    of each (Newcombe 1998, method 10)."""
    low = sqrt((first - first_interval[0]) ** 2 + (second_interval[1] - second) ** 2)
    high = sqrt((first_interval[1] - first) ** 2 + (second - second_interval[0]) ** 2)
    return first - second - low, first - second + high
