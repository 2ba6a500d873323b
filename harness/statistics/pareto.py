"""The Pareto front of accuracy and compute."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray


def front(costs: ArrayLike, accuracies: ArrayLike) -> list[int]:
    """Return the indices of the points that no other dominates, the cheapest first, in O(n log n).

    A point is dominated by one that costs no more and is at least as accurate, and is better in one of the two. The
    first of equal points is kept. A point with a NaN is never on the front.
    """
    return next(fronts(costs, accuracies), [])


def fronts(costs: ArrayLike, accuracies: ArrayLike) -> Iterator[list[int]]:
    """Yield the front, then the front of the points that are left, and so on; each in O(n) after sorting once."""
    cost, accuracy = _points(costs, accuracies)
    known = np.flatnonzero(~(np.isnan(cost) | np.isnan(accuracy)))
    order = known[np.lexsort((-accuracy[known], cost[known]))]
    while len(order):
        best_before = np.maximum.accumulate(np.concatenate([[-np.inf], accuracy[order]]))[:-1]
        on = accuracy[order] > best_before
        yield order[on].tolist()
        order = order[~on]


def best_at(costs: ArrayLike, accuracies: ArrayLike, budget: float) -> float:
    """Return the best accuracy of the points that cost ``budget`` or less, -inf if there are none."""
    cost, accuracy = _points(costs, accuracies)
    return float(np.max(accuracy[(cost <= budget) & ~np.isnan(accuracy)], initial=-np.inf))


def _points(costs: ArrayLike, accuracies: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    cost, accuracy = np.asarray(costs, np.float64), np.asarray(accuracies, np.float64)
    if cost.shape != accuracy.shape or cost.ndim != 1:
        raise ValueError(f"each cost needs one accuracy, but got shapes {cost.shape} and {accuracy.shape}")
    return cost, accuracy
