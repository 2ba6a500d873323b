import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.statistics.pareto import best_at, front, fronts

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
def test_front_equals_comparing_every_pair(rows: list[tuple[float, float]]) -> None:
    unbeaten = [i for i, row in enumerate(rows) if not any(beats(other, row) for other in rows) and row not in rows[:i]]
    assert front(*columns(rows)) == sorted(unbeaten, key=lambda i: rows[i])


@given(st.one_of(points, spread))
def test_each_front_is_that_of_the_points_that_are_left(rows: list[tuple[float, float]]) -> None:
    left = list(range(len(rows)))
    for on in fronts(*columns(rows)):
        assert on == [left[i] for i in front(*columns([rows[i] for i in left]))]
        left = [i for i in left if i not in on]
    assert left == []


@given(points)
def test_accuracy_rises_along_the_front(rows: list[tuple[float, float]]) -> None:
    best = [rows[i] for i in front(*columns(rows))]
    assert best == sorted(set(best))
    assert columns(best)[1] == sorted(set(columns(best)[1]))


@given(st.lists(st.tuples(st.floats(1, 100), maybe_nan), max_size=12))
def test_an_unknown_accuracy_is_ignored(rows: list[tuple[float, float]]) -> None:
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
def test_the_front_has_the_same_best_as_all_points(rows: list[tuple[float, float]], budget: float) -> None:
    best = [rows[i] for i in front(*columns(rows))]
    assert best_at(*columns(best), budget) == best_at(*columns(rows), budget)
