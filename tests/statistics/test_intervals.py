import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, sem, t

from harness.statistics.intervals import Interval, gap, quantile, wilson_interval


def test_the_quantile_is_of_student_t_and_approaches_the_normal() -> None:
    assert quantile(3) == pytest.approx(t.ppf(0.975, 3))
    assert quantile() == pytest.approx(norm.ppf(0.975))


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=8))
def test_an_interval_is_of_student_t(values: list[float]) -> None:
    found = Interval.of(values)
    half = t.ppf(0.975, len(values) - 1) * sem(values)
    assert found.low == pytest.approx(np.mean(values) - half, abs=1e-9)
    assert found.high == pytest.approx(np.mean(values) + half, abs=1e-9)


def test_one_value_has_an_infinite_interval() -> None:
    assert Interval.of([0.5]) == Interval(0.5, -math.inf, math.inf, 1)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_follows_its_definition(counts: tuple[int, int]) -> None:
    """The observed accuracy is 1.96 standard deviations from each end, computed at that end."""
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
def test_wilson_interval_of_invalid_counts(correct: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"correct={correct}, n={n}"):
        wilson_interval(correct, n)


def test_the_interval_of_a_difference_is_newcombes() -> None:
    # Newcombe 1998, table II, example (a): 56/70 less 48/80.
    first, second = wilson_interval(56, 70), wilson_interval(48, 80)
    assert gap(0.8, first, 0.6, second) == pytest.approx((0.0524, 0.3339), abs=5e-4)
