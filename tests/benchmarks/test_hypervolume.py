import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.hypervolume import hypervolume

# Few distinct values, so that ties are common.
points = st.lists(
    st.tuples(st.sampled_from([1.0, 2.0, 5.0, 10.0, 70.0]), st.integers(0, 10).map(lambda a: a / 10)), max_size=12
)
spread = st.lists(st.tuples(st.floats(1e-3, 1e6), st.floats(0, 1)), max_size=12)


def columns(rows: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [cost for cost, _ in rows], [accuracy for _, accuracy in rows]


@given(points, st.sampled_from([0.0, 0.35]))
def test_hypervolume_by_counting_cells(rows: list[tuple[float, float]], floor: float) -> None:
    """Every cell between neighbouring coordinates is dominated as a whole or not at all."""
    limit = 20.0
    xs = sorted({limit, *(cost for cost, _ in rows if cost < limit)})
    ys = sorted({floor, *(accuracy for _, accuracy in rows if accuracy > floor)})
    area = 0.0
    for left, right in pairwise(xs):
        for low, high in pairwise(ys):
            if any(cost <= left and accuracy >= high for cost, accuracy in rows):
                area += (math.log10(right) - math.log10(left)) * (high - low)
    assert hypervolume(*columns(rows), limit, floor) == pytest.approx(area, abs=1e-12)


@given(spread, st.tuples(st.floats(1e-3, 1e6), st.floats(0, 1)))
def test_a_further_point_never_lowers_the_hypervolume(
    rows: list[tuple[float, float]], more: tuple[float, float]
) -> None:
    before, after = (hypervolume(*columns(which), 1e4, 0.1) for which in (rows, [*rows, more]))
    assert after >= before - 1e-9
    if more[0] >= 1e4 or more[1] <= 0.1:
        assert after == pytest.approx(before)


def test_hypervolume_in_decades() -> None:
    assert hypervolume([10, 100], [0.5, 0.9], reference_cost=1000) == pytest.approx(0.5 + 0.9)
    assert hypervolume([10, 100], [0.5, 0.9], reference_cost=1000, reference_accuracy=0.5) == pytest.approx(0.4)
    assert hypervolume([], [], reference_cost=1) == 0
    with pytest.raises(ValueError, match="logarithm"):
        hypervolume([0, 1], [0.1, 0.5], reference_cost=10)
