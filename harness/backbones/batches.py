"""Cutting rows into batches, all of one shape, since each shape is compiled separately."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from harness.core.interrupts import stop_if_asked


def edges(n: int, batch_size: int) -> list[tuple[int, int]]:
    """Return first row and end of each batch of ``n`` rows: as few as ``batch_size`` allows, of sizes that differ by
    one at most."""
    count = math.ceil(n / batch_size)
    return list(itertools.pairwise(round(i * n / count) for i in range(count + 1)))


def batches(n: int, batch_size: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Yield rows and weights of even batches. All have the same length: a short one is filled up with a row of weight
    zero. Between them is where an interrupted training stops."""
    cut = edges(n, batch_size)
    length = max(last - first for first, last in cut)
    for first, last in cut:
        stop_if_asked()
        weights = np.ones(length, np.float32)
        weights[last - first :] = 0
        yield np.minimum(np.arange(first, first + length), last - 1), weights
