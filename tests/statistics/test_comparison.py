"""Estimates and comparisons of test accuracies: coverage, level, limits and Holm's correction."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.statistics.comparison import differences, estimate, holm
from harness.statistics.intervals import wilson_interval


def drawn(draws: np.random.Generator, accuracy: float, by_seed: float, seeds: int, images: int) -> np.ndarray:
    """Simulate correct predictions: accuracy varies by seed, and difficulty varies by image."""
    hardness = draws.normal(size=images)
    skill = draws.normal(scale=by_seed, size=(seeds, 1))
    noise = draws.normal(scale=0.5, size=(seeds, images))
    cut = np.quantile(draws.normal(size=100_000) * np.sqrt(1 + by_seed**2 + 0.25), accuracy)
    return np.asarray(hardness + skill + noise < cut)


def test_the_interval_covers_the_accuracy_of_other_seeds_and_other_images() -> None:
    draws = np.random.default_rng(1)
    inside, narrow = 0, 0
    for _ in range(300):
        found = estimate(drawn(draws, 0.9, 0.25, seeds=4, images=400))
        inside += found.low <= 0.9 <= found.high
        narrow += found.by_seeds[0] <= 0.9 <= found.by_seeds[1]
    assert 0.91 <= inside / 300 <= 0.99
    assert narrow < inside  # the spread over seeds ignores that the images are a sample


def test_differences_are_found_at_the_nominal_level() -> None:
    draws = np.random.default_rng(2)
    false, true = 0, 0
    for _ in range(200):
        hardness = draws.normal(size=400)

        def hits(skill: float, hardness: np.ndarray = hardness) -> np.ndarray:
            return hardness + draws.normal(scale=0.2, size=(5, 1)) + draws.normal(scale=0.5, size=(5, 400)) < skill

        same, better = differences([(hits(1), hits(1)), (hits(2), hits(1))])
        false += same.p < 0.05
        true += better.significant and better.low > 0
    assert false / 200 <= 0.09 and true / 200 > 0.9


def test_a_perfect_score_is_not_certain() -> None:
    found = estimate(np.ones((3, 50), bool))
    assert (found.mean, found.high) == (1.0, 1.0) and found.low == pytest.approx(wilson_interval(50, 50)[0])


def test_equal_predictions_do_not_differ_and_opposite_ones_do() -> None:
    right = np.arange(40).reshape(2, 20) % 3 > 0
    same, opposite = differences([(right, right), (np.ones((2, 9), bool), np.zeros((2, 9), bool))])
    assert (same.mean, same.low, same.high, same.p, same.significant) == (0.0, 0.0, 0.0, 1.0, False)
    assert opposite.mean == 1.0 and opposite.significant


def test_one_seed_has_no_spread() -> None:
    with pytest.raises(ValueError, match="two seeds"):
        estimate(np.ones((1, 50), bool))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_a_p_value_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= corrected <= 1 for p, corrected in zip(p_values, adjusted, strict=True))
    assert min(adjusted) == min(1.0, len(p_values) * min(p_values))
    by_p = [adjusted[i] for i in sorted(range(len(p_values)), key=lambda i: p_values[i])]
    assert by_p == sorted(by_p)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
