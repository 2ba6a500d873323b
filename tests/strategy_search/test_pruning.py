import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.core.results import Checkpoint
from harness.statistics.pareto import best_at
from harness.strategy_search.pruning import (
    BEST_ONE_IN,
    OtherCheckpoints,
    Rules,
    leads,
    lowest_errors,
    should_stop,
    steepest_fall,
    upper_bounds,
)

EPOCHS, CLASSES = 5, 10
ENOUGH = BEST_ONE_IN - 1  # finished trials
FLOPS = 1e12  # of an epoch

# Measured: VGG16 on 2,000 MNIST digits at 32x32, Adam at a constant 1e-4; 0, 10 and 5 convolutions frozen.
SEEN = [[0.827, 0.960, 0.967, 0.970, 0.953], [0.849, 0.874, 0.945, 0.945, 0.968], [0.774, 0.900, 0.975, 0.948, 0.967]]
# Invented.
TAKES_OFF = [0.112, 0.112, 0.630, 0.941, 0.962]
NEVER_DOES = [0.112, 0.098, 0.112, 0.112, 0.112]

accuracies = st.integers(0, 1000).map(lambda hits: hits / 1000)
curves = st.lists(accuracies, min_size=1, max_size=EPOCHS)
histories = st.lists(st.lists(accuracies, min_size=EPOCHS, max_size=EPOCHS), max_size=12)
fronts = st.lists(st.tuples(st.floats(0.1, 6), accuracies), max_size=6)
margins = st.floats(0, 1)


def curve(values: Sequence[float]) -> list[Checkpoint]:
    return [
        Checkpoint(epoch, epoch * FLOPS, float(epoch), train_loss=1.0, val_loss=1.0, val_accuracy=value)
        for epoch, value in enumerate(values, start=1)
    ]


def ended(history: Sequence[Sequence[float]]) -> list[list[float]]:
    return [lowest_errors(curve(other), "accuracy") for other in history]


def bounds(values: Sequence[float], history: Sequence[Sequence[float]] = ()) -> list[float]:
    return upper_bounds(curve(values), ended(history), Rules(EPOCHS, CLASSES))


def verdict(
    values: Sequence[float],
    front: Sequence[tuple[float, float]],
    history: Sequence[Sequence[float]] = (),
    margin: float = 0.005,
) -> str | None:
    """``front`` holds (cost in epochs of the trial, accuracy)."""
    future = [epoch * FLOPS for epoch in range(len(values) + 1, EPOCHS + 1)]
    rivals = others([(1, cost * FLOPS, accuracy) for cost, accuracy in front])
    rules = Rules(EPOCHS, CLASSES, margin=margin)
    return should_stop(curve(values), future, rivals, ended(history), rules)


def others(points: Sequence[tuple[int, float, float]]) -> OtherCheckpoints:
    """``points`` are (epoch, FLOPs, accuracy)."""
    return OtherCheckpoints(*np.array(points, float).reshape(-1, 3).T)


# Properties


@given(curves, histories)
def test_bounds_lie_between_the_best_so_far_and_one(values: list[float], history: list[list[float]]) -> None:
    found = bounds(values, history)
    assert len(found) == EPOCHS - len(values)
    assert all(max(values) - 1e-12 <= bound <= 1 for bound in found)


@given(curves, histories)
def test_more_epochs_never_lower_the_bound(values: list[float], history: list[list[float]]) -> None:
    found = bounds(values, history)
    assert found == sorted(found)


@given(curves, histories, fronts, margins, margins)
def test_more_margin_never_stops_more(
    values: list[float], history: list[list[float]], front: list[tuple[float, float]], one: float, other: float
) -> None:
    less, more = sorted([one, other])
    if verdict(values, front, history, less) is None:
        assert verdict(values, front, history, more) is None


@given(curves, histories, fronts, st.tuples(st.floats(0.1, 6), accuracies))
def test_a_better_front_never_stops_less(
    values: list[float], history: list[list[float]], front: list[tuple[float, float]], further: tuple[float, float]
) -> None:
    if verdict(values, front, history):
        assert verdict(values, [*front, further], history)


@given(st.lists(accuracies, min_size=EPOCHS, max_size=EPOCHS), histories, fronts)
def test_never_after_the_last_epoch(
    values: list[float], history: list[list[float]], front: list[tuple[float, float]]
) -> None:
    assert verdict(values, front, history, margin=0) is None


@given(curves, histories)
def test_never_without_a_front(values: list[float], history: list[list[float]]) -> None:
    assert verdict(values, [], history, margin=0) is None


@given(curves, histories, fronts)
def test_never_while_ahead_of_the_front(
    values: list[float], history: list[list[float]], front: list[tuple[float, float]]
) -> None:
    """A trial that already reaches the front at the next epoch's compute continues."""
    rival = best_at([cost for cost, _ in front], [accuracy for _, accuracy in front], len(values) + 1)
    if max(values) >= rival:
        assert verdict(values, front, history, margin=0.001) is None


@given(st.integers(1, EPOCHS - 1), st.lists(st.tuples(accuracies, accuracies), min_size=30, max_size=60))
def test_few_of_the_finished_trials_improved_faster_than_forecast(at: int, ends: list[tuple[float, float]]) -> None:
    """On the finished trials themselves the forecast fails for the nominal share."""
    history = [[start] * at + [end] * (EPOCHS - at) for start, end in ends if 0.2 <= start < 1]
    assume(len(history) >= ENOUGH)
    beaten = sum(max(other) > bounds(other[:at], history)[-1] + 1e-9 for other in history)
    assert beaten <= 0.1 * (len(history) + 1)


# Cases


def test_without_finished_trials_the_default_law_is_the_bound() -> None:
    assert bounds([0.2, 0.5, 0.8]) == pytest.approx([1 - 0.2 * 0.5 * (3 / 4) ** 2, 1 - 0.2 * 0.5 * (3 / 5) ** 2])
    assert steepest_fall(1, 3) == pytest.approx(0.5 / 9)


def test_the_law_is_more_optimistic_than_anything_seen() -> None:
    for values in SEEN:
        for now in range(1, EPOCHS):
            reached = [max(values[: later + 1]) for later in range(now, EPOCHS)]
            assert all(bound > best for bound, best in zip(bounds(values[:now]), reached, strict=True)), values[:now]


def test_nine_finished_trials_replace_the_law_but_eight_do_not() -> None:
    flat = [0.7] * EPOCHS
    assert bounds([0.8], [flat] * (ENOUGH - 1)) == bounds([0.8])
    assert bounds([0.8], [flat] * ENOUGH) == pytest.approx([0.8] * 4)


def test_one_fast_trial_widens_the_law() -> None:
    fast = [0.8, 0.999, 0.999, 0.999, 0.999]
    assert bounds([0.6], [fast])[0] == pytest.approx(1 - 0.4 * 0.001 / 0.2)


def test_the_bound_of_many_trials_ignores_the_luckiest() -> None:
    usual = [[0.8, 0.9, 0.9, 0.9, 0.9]] * 17
    lucky = [[0.8, 0.98, 0.98, 0.98, 0.98]]
    assert bounds([0.6], [*usual, *lucky])[0] == pytest.approx(0.96)  # 18 trials: 1 of 19 is not ignored
    assert bounds([0.6], [*usual, usual[0], *lucky])[0] == pytest.approx(0.8)  # 19 trials: 2 of 20 are a tenth
    assert bounds([0.6], [*usual, *lucky, *lucky])[0] == pytest.approx(0.96)


def test_curves_over_another_number_of_epochs_are_left_out() -> None:
    assert bounds([0.8], [[0.7, 0.7]] * 10) == bounds([0.8])


def test_a_perfect_trial_is_not_used_for_others() -> None:
    assert bounds([0.8], [[1.0] * EPOCHS] * 10) == bounds([0.8])


def test_a_dip_does_not_stop_a_trial() -> None:
    assert bounds([0.8, 0.95, 0.7]) == bounds([0.8, 0.95, 0.95])


def test_a_slow_start_continues_if_it_can_reach_the_front() -> None:
    """5 frozen convolutions: 0.774 after one epoch, when others have 0.96, and 0.975 after three."""
    assert verdict([0.774], [(0.1, 0.90), (1.0, 0.962)]) is None
    assert verdict([0.774, 0.900], [(0.1, 0.90), (1.0, 0.962)], SEEN) is None


def test_a_trial_at_chance_may_still_improve() -> None:
    front = [(0.1, 0.90), (4.0, 0.96)]
    for at in (1, 2):
        assert verdict(TAKES_OFF[:at], front, SEEN * 3) is None, at
    assert verdict(TAKES_OFF[:3], front, [*SEEN * 3, TAKES_OFF]) is None


def test_a_trial_at_chance_is_compared_with_trials_at_chance_only() -> None:
    """The small improvements of good trials do not apply to one that has not started to learn."""
    assert bounds([0.11, 0.11], [[0.9] * EPOCHS] * (ENOUGH - 1)) == bounds([0.11, 0.11])
    assert bounds([0.11, 0.11], [TAKES_OFF] * ENOUGH)[-1] == pytest.approx(1 - 0.888 * 0.038 / 0.888, abs=1e-3)


def test_without_others_at_chance_the_best_start_of_nine_trials_is_used() -> None:
    assert bounds([0.11, 0.11], SEEN * 3) == pytest.approx([0.849, 0.960, 0.975])
    assert bounds([0.11], [NEVER_DOES] * 4 + [TAKES_OFF] * 5)[-1] == pytest.approx(0.962 + 0.001, abs=2e-3)
    assert bounds([0.11] * 4, [[0.05] * EPOCHS] * (ENOUGH - 1) + [[0.3] * EPOCHS]) == pytest.approx([0.3])


def test_trials_stopped_at_chance_count_for_others_at_chance() -> None:
    """Only if stopped after most of their epochs: one stopped earlier might have improved."""
    assert bounds([0.11], [NEVER_DOES[:3]] * ENOUGH) == pytest.approx([0.11] * 4, abs=0.01)
    assert bounds([0.11], [NEVER_DOES[:2]] * ENOUGH) == bounds([0.11])


def test_a_trial_stopped_while_improving_counts_as_forecast() -> None:
    fast = [TAKES_OFF[:4]]
    assert bounds([0.11], [NEVER_DOES] * 8 + fast)[-1] == pytest.approx(bounds(TAKES_OFF[:4])[-1], abs=2e-3)


def test_stopped_trials_do_not_count_for_trials_that_learn() -> None:
    assert bounds([0.5], [[0.5, 0.5, 0.5], NEVER_DOES[:3]] * ENOUGH) == bounds([0.5])


def test_a_trial_that_never_improves_is_stopped() -> None:
    front = [(0.1, 0.90), (1.0, 0.97)]
    assert verdict(NEVER_DOES[:1], front) is None
    assert verdict(NEVER_DOES[:3], front) is not None
    assert verdict(NEVER_DOES[:1], front, [NEVER_DOES] * ENOUGH) is not None


def test_a_slow_trial_is_stopped_with_a_reason() -> None:
    reason = verdict([0.30, 0.412, 0.45], [(1.0, 0.962), (7.0, 0.99)])
    assert reason == (
        "accuracy 0.450 at 3.00 TFLOP; even the optimistic forecast of 0.901 at 5.00 TFLOP stays under the front's "
        "0.962"
    )


def test_more_expensive_trials_do_not_count() -> None:
    assert verdict([0.30, 0.412, 0.45], [(7.0, 0.99)]) is None


def test_an_accuracy_that_the_front_has_for_less_does_not_continue_a_trial() -> None:
    flat = [[0.9] * EPOCHS] * ENOUGH
    assert verdict([0.9], [(0.5, 0.95)], flat, margin=0.05 - 1e-9) is not None
    assert verdict([0.9], [(0.5, 0.95)], flat, margin=0.05 + 1e-9) is None


def test_an_unknown_accuracy_on_the_front_does_not_count() -> None:
    assert verdict([0.2], [(0.5, math.nan)], margin=0) is None


@given(accuracies, st.lists(st.tuples(st.integers(1, EPOCHS), st.floats(1, 9), accuracies), max_size=20))
def test_a_trial_leads_if_none_of_its_cost_was_as_good_at_its_epoch(
    accuracy: float, points: list[tuple[int, float, float]]
) -> None:
    curve = [Checkpoint(2, 3.0, 1.0, 1.0, 1.0, accuracy)]
    beaten = any(epoch == 2 and 1.5 <= cost <= 6 and score >= accuracy for epoch, cost, score in points)
    at_chance = 1 - accuracy >= 0.95 * (1 - 1 / CLASSES)
    assert leads(curve, others(points), Rules(EPOCHS, CLASSES)) == (not beaten and not at_chance)


def test_an_unknown_score_does_not_lead() -> None:
    curve = [Checkpoint(1, 1.0, 1.0, 1.0, 1.0, 0.5)]
    rules = Rules(EPOCHS, CLASSES)
    assert leads(curve, others([(1, 1.0, math.nan), (1, 1.0, 0.4)]), rules)
    assert not leads(curve, others([(1, 1.0, math.nan), (1, 1.0, 0.5)]), rules)
