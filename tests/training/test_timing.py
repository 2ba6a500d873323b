"""The rates of a machine: what is measured, and that measuring changes no trial."""

import math
from dataclasses import replace

from harness.core.strategy import Strategy
from harness.training.baselines import run_baseline
from harness.training.counts import OPERATIONS
from harness.training.problem import Problem
from harness.training.timing import measure_rates
from harness.training.trial import run_trial

TUNED = Strategy("fine_tune_all", 0, "average", (8,), 0.2, "adam", 1e-3, image_size=32)
HEAD = Strategy("feature_extraction", 13, "average", (8,), 0.2, "adam", 1e-3, image_size=32)


def test_measured_rates_give_every_training_its_seconds_and_change_none(tiny_problem: Problem) -> None:
    before = run_trial(TUNED, tiny_problem, seed=3, on_checkpoint=lambda _: None)
    assert math.isnan(before.rated_seconds) and math.isnan(before.curve[-1].rated_seconds)
    rates = measure_rates(tiny_problem)
    assert tuple(rates) == OPERATIONS and all(0 <= rate < 10 for rate in rates.values())
    rated = replace(tiny_problem, rates=rates)
    after = run_trial(TUNED, rated, seed=3, on_checkpoint=lambda _: None)
    assert [point.val_loss for point in after.curve] == [point.val_loss for point in before.curve]
    assert before.predictions is not None and after.predictions is not None
    assert after.predictions.predicted.tolist() == before.predictions.predicted.tolist()
    assert after.train_flops == before.train_flops
    costs = [point.rated_seconds for point in after.curve]
    assert 0 < costs[0] < costs[1] == after.rated_seconds == after.planned_seconds
    assert costs[1] == rated.spent(TUNED, 2).rated_seconds > rated.spent(HEAD, 2).rated_seconds > 0


def test_baselines_have_their_seconds_too(tiny_problem: Problem) -> None:
    rated = replace(tiny_problem, rates=dict.fromkeys(OPERATIONS, 1e-9))
    found = {name: run_baseline(name, rated, seed=0) for name in ("majority", "mlp", "linear_probe")}
    assert found["majority"].rated_seconds == 0
    assert found["mlp"].rated_seconds == found["mlp"].planned_seconds == found["mlp"].curve[-1].rated_seconds > 0
    assert found["linear_probe"].rated_seconds > 0
    assert math.isnan(run_baseline("mlp", tiny_problem, seed=0).rated_seconds), "nothing was measured"


def test_a_trial_that_does_not_begin_has_its_plan(tiny_problem: Problem) -> None:
    budget = tiny_problem.spec.budget.model_copy(update={"max_trial_cost": 1e-9})
    spec = tiny_problem.spec.model_copy(update={"budget": budget})
    rated = replace(tiny_problem, spec=spec, rates=dict.fromkeys(OPERATIONS, 1e-9))
    result = run_trial(TUNED, rated, seed=0, on_checkpoint=lambda _: None)
    assert (result.status, result.rated_seconds) == ("over_budget", 0.0)
    assert result.planned_seconds == rated.spent(TUNED, 2).rated_seconds
    assert "TFLOP exceeds max_trial_cost" in result.reason
