import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.statistics.pareto import best_at, front, hypervolume, wilson_interval

# Few distinct values, so that ties are common.
points = st.lists(
    st.tuples(st.sampled_from([1.0, 2.0, 5.0, 10.0, 70.0]), st.integers(0, 10).map(lambda a: a / 10)), max_size=12
)
spread = st.lists(st.tuples(st.floats(1e-3, 1e6), st.floats(0, 1)), max_size=12)
maybe_nan = st.one_of(st.just(math.nan), st.floats(0, 1))


def columns(rows: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [cost for cost, _ in rows], [accuracy for _, accuracy in rows]


def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] <= other[0] and one[1] >= other[1]


@given(st.one_of(points, spread))
def test_front_by_comparing_every_pair(rows: list[tuple[float, float]]) -> None:
    unbeaten = [i for i, row in enumerate(rows) if not any(beats(other, row) for other in rows) and row not in rows[:i]]
    assert front(*columns(rows)) == sorted(unbeaten, key=lambda i: rows[i])


@given(points)
def test_front_climbs(rows: list[tuple[float, float]]) -> None:
    best = [rows[i] for i in front(*columns(rows))]
    assert best == sorted(set(best))
    assert columns(best)[1] == sorted(set(columns(best)[1]))


@given(st.lists(st.tuples(st.floats(1, 100), maybe_nan), max_size=12))
def test_an_unknown_accuracy_is_as_if_it_were_not_there(rows: list[tuple[float, float]]) -> None:
    known = [i for i, (_, accuracy) in enumerate(rows) if not math.isnan(accuracy)]
    assert front(*columns(rows)) == [known[i] for i in front(*columns([rows[i] for i in known]))]
    assert best_at(*columns(rows), 50) == best_at(*columns([rows[i] for i in known]), 50)


def test_front_of_a_few() -> None:
    assert front([3, 1, 2, 1], [0.9, 0.5, 0.4, 0.5]) == [1, 0]
    assert front(np.array([1.0, math.nan]), np.array([0.5, 0.9])) == [0]
    assert front([], []) == []
    with pytest.raises(ValueError, match=r"\(2,\) and \(1,\)"):
        front([1, 2], [0.5])


@given(st.one_of(points, spread), st.floats(0, 100))
def test_best_at(rows: list[tuple[float, float]], budget: float) -> None:
    assert best_at(*columns(rows), budget) == max((a for cost, a in rows if cost <= budget), default=-math.inf)


@given(st.one_of(points, spread), st.floats(0, 100))
def test_the_front_alone_gives_the_same_best(rows: list[tuple[float, float]], budget: float) -> None:
    best = [rows[i] for i in front(*columns(rows))]
    assert best_at(*columns(best), budget) == best_at(*columns(rows), budget)


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


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_ends_where_the_accuracy_seen_is_just_likely_enough(counts: tuple[int, int]) -> None:
    """The definition: the accuracy seen lies 1.96 standard deviations, the end's own, away from either end."""
    correct, n = counts
    for end in wilson_interval(correct, n):
        assert 0 <= end <= 1
        assert (correct / n - end) ** 2 == pytest.approx(1.959964**2 * end * (1 - end) / n, rel=1e-5, abs=1e-12)
    low, high = wilson_interval(correct, n)
    assert low <= correct / n <= high


def test_wilson_interval_of_a_few() -> None:
    assert wilson_interval(95, 100) == pytest.approx((0.8883, 0.9785), abs=1e-4)
    assert wilson_interval(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)


@pytest.mark.parametrize(("correct", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_interval_of_nonsense(correct: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"correct={correct}, n={n}"):
        wilson_interval(correct, n)
