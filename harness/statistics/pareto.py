"""Accuracy against compute: which points are worth having, what they are worth together, how sure an accuracy is."""

from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Z = NormalDist().inv_cdf(0.975)


def front(costs: ArrayLike, accuracies: ArrayLike) -> list[int]:
    """Indices of the points that no other beats, the cheapest first.

    A point is beaten by one that costs no more and is at least as accurate, and better in one of the two. Of equal
    points the first stays. A point with a NaN is on no front. O(n log n).
    """
    cost, accuracy = _points(costs, accuracies)
    known = np.flatnonzero(~(np.isnan(cost) | np.isnan(accuracy)))
    order = known[np.lexsort((-accuracy[known], cost[known]))]
    best_before = np.maximum.accumulate(np.concatenate([[-np.inf], accuracy[order]]))[:-1]
    return [int(index) for index in order[accuracy[order] > best_before]]


def best_at(costs: ArrayLike, accuracies: ArrayLike, budget: float) -> float:
    """The best accuracy that any point reaches for ``budget`` or less; -inf where there is none."""
    cost, accuracy = _points(costs, accuracies)
    return float(np.max(accuracy[(cost <= budget) & ~np.isnan(accuracy)], initial=-np.inf))


def hypervolume(
    costs: ArrayLike, accuracies: ArrayLike, reference_cost: float, reference_accuracy: float = 0.0
) -> float:
    """Area that the points dominate, up to the reference: accuracy times decades of compute (log10 of cost).

    Points dearer than ``reference_cost`` or no better than ``reference_accuracy`` add nothing. Exact. Raises ValueError
    for a cost, or a reference, that is not above zero and so has no logarithm.
    """
    cost, accuracy = _points(costs, accuracies)
    if reference_cost <= 0 or np.any(cost <= 0):
        raise ValueError(f"costs must be above 0 to have a logarithm, but got {[reference_cost, *cost.tolist()]}")
    inside = (cost <= reference_cost) & (accuracy > reference_accuracy)
    cost, accuracy = cost[inside], accuracy[inside]
    best = front(cost, accuracy)
    steps = np.log10(np.append(cost[best], reference_cost))
    return float(np.sum(np.diff(steps) * (accuracy[best] - reference_accuracy)))


def wilson_interval(correct: float, n: float, quantile: float = _Z) -> tuple[float, float]:
    """95 % interval of an accuracy measured as ``correct`` of ``n`` images (Wilson 1927).

    It holds its level near 0 and 1, where the usual normal interval shrinks to nothing. ``quantile`` is that of another
    distribution than the normal, where the variance behind an effective ``n`` is an estimate itself. Raises ValueError
    unless 0 <= correct <= n and n > 0.
    """
    if not (n > 0 and 0 <= correct <= n):
        raise ValueError(f"an accuracy needs 0 <= correct <= n and n > 0, but got {correct=}, {n=}")
    share = correct / n
    centre = (share + quantile**2 / (2 * n)) / (1 + quantile**2 / n)
    half = quantile / (1 + quantile**2 / n) * sqrt(share * (1 - share) / n + quantile**2 / (4 * n**2))
    # At the ends the formula gives 0 and 1 exactly; floating point does not.
    return (0.0 if correct == 0 else centre - half), (1.0 if correct == n else centre + half)


def _points(costs: ArrayLike, accuracies: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    cost, accuracy = np.asarray(costs, np.float64), np.asarray(accuracies, np.float64)
    if cost.shape != accuracy.shape or cost.ndim != 1:
        raise ValueError(f"one accuracy for each cost is wanted, but got shapes {cost.shape} and {accuracy.shape}")
    return cost, accuracy
