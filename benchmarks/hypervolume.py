"""Hypervolume: one number for a whole front of accuracy against compute."""

import numpy as np
from numpy.typing import ArrayLike

from harness.statistics.pareto import front


def hypervolume(
    costs: ArrayLike, accuracies: ArrayLike, reference_cost: float, reference_accuracy: float = 0.0
) -> float:
    """Return the area that the points dominate up to the reference: accuracy times decades of compute (log10 of cost).

    Points that cost more than ``reference_cost`` or are no more accurate than ``reference_accuracy`` add nothing. The
    area is exact. Raises ValueError for a cost, or a reference, that is not above zero and so has no logarithm.
    """
    cost, accuracy = np.asarray(costs, np.float64), np.asarray(accuracies, np.float64)
    if reference_cost <= 0 or np.any(cost <= 0):
        raise ValueError(f"costs must be above 0 to have a logarithm, but got {[reference_cost, *cost.tolist()]}")
    inside = (cost <= reference_cost) & (accuracy > reference_accuracy)
    cost, accuracy = cost[inside], accuracy[inside]
    best = front(cost, accuracy)
    steps = np.log10(np.append(cost[best], reference_cost))
    return float(np.sum(np.diff(steps) * (accuracy[best] - reference_accuracy)))
