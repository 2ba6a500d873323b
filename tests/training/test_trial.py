"""One trial: every way it can end, and what it is charged."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.backbones import activation_cache
from harness.backbones.devices import as_numpy
from harness.core.results import BASELINES, STATUSES, BaselineName, Checkpoint
from harness.core.spec import Budget, Pruning
from harness.core.strategy import KINDS, N_CONVS, Kind, Strategy
from harness.training import baselines, trial
from harness.training.baseline_networks import cnn_pool
from harness.training.baselines import run_baseline
from harness.training.problem import Problem
from harness.training.trial import run_trial


def strategy(kind: Kind = "feature_extraction", rate: float = 3e-3) -> Strategy:
    frozen = {"feature_extraction": N_CONVS, "freeze_first_k": 5, "two_phase": 5}.get(kind, 0)
    phases = (1, 0.3) if kind == "two_phase" else (0, 1.0)
    return Strategy(kind, frozen, "average", (16,), 0.2, "adam", rate, *phases, image_size=32)


def go_on(_: Sequence[Checkpoint]) -> None:
    return None


def with_budget(problem: Problem, **changes: object) -> Problem:
    spec = problem.spec.model_copy(update={"budget": Budget(**{"epochs": 2, "batch_size": 32, **changes})})  # type: ignore[arg-type]
    return replace(problem, spec=spec)


def test_a_batch_of_large_images_holds_fewer(tiny_problem: Problem) -> None:
    def curve(**budget: int) -> list[float]:
        problem = with_budget(tiny_problem, **budget)
        return [point.val_loss for point in run_trial(strategy(KINDS[0]), problem, seed=1, on_checkpoint=go_on).curve]

    fewer = curve(batch_pixels=9 * 32**2 - 1)
    assert fewer == curve(batch_size=8) != curve()
    assert curve(batch_pixels=32 * 32**2) == curve()


@pytest.mark.parametrize("kind", KINDS)
class TestEveryStrategy:
    """The contract of a strategy's trial."""

    def test_completes_with_a_curve_of_growing_cost(self, tiny_problem: Problem, kind: Kind) -> None:
        seen: list[int] = []
        result = run_trial(
            strategy(kind), tiny_problem, seed=1, on_checkpoint=lambda curve: seen.append(len(curve))  # type: ignore[func-returns-value]
        )  # fmt: skip
        assert result.status == "complete" and result.reason == ""
        assert seen == [1, 2] and [point.epoch for point in result.curve] == [1, 2]
        assert 0 < result.curve[0].train_flops < result.curve[1].train_flops == result.train_flops
        assert result.train_flops == result.planned_flops and result.saved_flops == 0
        found = result.predictions
        assert found is not None and found.labels.tolist() == tiny_problem.split.validation.labels.tolist()
        assert (found.log_loss(), float(found.correct.mean())) == (result.val_loss, result.val_accuracy)
        assert found.calibration is not None and found.calibration.loss[0] == pytest.approx(result.val_loss)
        assert result.val_accuracy == result.curve[-1].val_accuracy
        assert result.seconds.train > 0 and result.seconds.evaluation > 0
        assert result.curve[-1].train_seconds <= result.seconds.total

    def test_stops_when_told_and_says_why(self, tiny_problem: Problem, kind: Kind) -> None:
        result = run_trial(strategy(kind), tiny_problem, seed=1, on_checkpoint=lambda _: "hopeless")
        assert (result.status, result.reason, len(result.curve)) == ("pruned", "hopeless", 1)
        assert result.predictions is None
        assert result.train_flops == result.curve[0].train_flops < result.planned_flops

    def test_is_not_begun_over_its_budget(self, tiny_problem: Problem, kind: Kind) -> None:
        problem = with_budget(tiny_problem, max_trial_cost=1e-9)
        result = run_trial(strategy(kind), problem, seed=1, on_checkpoint=go_on)
        assert (result.status, result.train_flops, result.curve) == ("over_budget", 0.0, ())
        assert "exceeds max_trial_cost 1e-09 TFLOP" in result.reason

    def test_is_the_same_for_the_same_seed(self, tiny_problem: Problem, kind: Kind) -> None:
        def losses(seed: int) -> list[float]:
            result = run_trial(strategy(kind), tiny_problem, seed=seed, on_checkpoint=go_on)
            return [point.val_loss for point in result.curve]

        assert losses(1) == losses(1) != losses(2)


def test_activations_that_the_disk_has_no_room_for_end_the_trial_and_not_the_run(
    tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = activation_cache._SPARE_BYTES + 1000
    monkeypatch.setattr(activation_cache.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    result = run_trial(strategy(), tiny_problem, seed=1, on_checkpoint=go_on)
    assert (result.status, result.train_flops, result.curve) == ("over_budget", 0.0, ())
    assert "activations of 144 images at 32 px after block5_conv3 of VGG16 need 4.61e-06 GB, and" in result.reason
    assert "has 1e-06 GB free: free space, or set HARNESS_CACHE" in result.reason
    assert run_baseline("linear_probe", tiny_problem, seed=1).status == "over_budget"
    assert run_trial(strategy("fine_tune_all"), tiny_problem, seed=1, on_checkpoint=go_on).status == "complete"


def test_a_stop_after_the_last_epoch_is_no_stop(tiny_problem: Problem) -> None:
    result = run_trial(
        strategy(), tiny_problem, seed=1, on_checkpoint=lambda curve: "late" if len(curve) == 2 else None
    )
    assert result.status == "complete"


@pytest.mark.parametrize(("enabled", "status", "epochs"), [(True, "pruned", 1), (False, "complete", 2)])
def test_a_dead_network_is_given_up(
    tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch, enabled: bool, status: str, epochs: int
) -> None:
    real = trial.fit
    dead = lambda *given, **named: (replace(end, constant=True) for end in real(*given, **named))  # noqa: E731
    monkeypatch.setattr(trial, "fit", dead)
    problem = replace(tiny_problem, spec=tiny_problem.spec.model_copy(update={"pruning": Pruning(enabled=enabled)}))
    result = run_trial(strategy(), problem, seed=1, on_checkpoint=go_on)
    assert (result.status, len(result.curve)) == (status, epochs)
    assert ("dead" in result.reason) == enabled


def test_features_are_charged_whether_cached_or_not(tiny_problem: Problem) -> None:
    first, again = (run_trial(strategy(), tiny_problem, seed=s, on_checkpoint=go_on) for s in (1, 2))
    assert (first.features_cached, again.features_cached) == (False, True)
    assert first.seconds.features == again.seconds.features > 0
    assert first.train_flops == again.train_flops


def test_memory_that_runs_out_fails_the_trial_and_a_bug_ends_the_run(
    tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(error: Exception) -> object:
        def fit(*_: object, **__: object) -> None:
            raise error

        return fit

    monkeypatch.setattr(trial, "fit", failing(MemoryError("no 3 GB left")))
    result = run_trial(strategy(), tiny_problem, seed=1, on_checkpoint=go_on)
    assert (result.status, result.reason) == ("out_of_memory", "no 3 GB left")
    for module in (trial, baselines):
        monkeypatch.setattr(module, "fit", failing(MemoryError()))
    assert run_trial(strategy(), tiny_problem, seed=1, on_checkpoint=go_on).reason == "memory ran out"
    result = run_baseline("mlp", tiny_problem, seed=1)
    assert (result.status, result.reason) == ("out_of_memory", "memory ran out")
    monkeypatch.setattr(trial, "fit", failing(ZeroDivisionError("a bug")))
    with pytest.raises(ZeroDivisionError):
        run_trial(strategy(), tiny_problem, seed=1, on_checkpoint=go_on)


def test_a_diverged_trial_is_charged_for_what_it_ran(tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(*_: object, **__: object) -> None:
        raise trial.Diverged(0.5)

    monkeypatch.setattr(trial, "fit", fit)
    result = run_trial(strategy("fine_tune_all"), tiny_problem, seed=1, on_checkpoint=go_on)
    assert result.status == "diverged" and result.val_accuracy is None
    assert result.train_flops == pytest.approx(result.planned_flops / 4)  # half of one epoch of two


class TestTwoPhases:
    def test_the_first_is_feature_extraction_and_the_second_goes_on_from_it(self, tiny_problem: Problem) -> None:
        problem = with_budget(tiny_problem, epochs=4)
        two = Strategy("two_phase", 10, "average", (16,), 0.2, "adam", 3e-3, 3, 1e-4, image_size=32)
        result = run_trial(two, problem, seed=1, on_checkpoint=go_on)
        alone = run_trial(strategy(), with_budget(tiny_problem, epochs=3), seed=1, on_checkpoint=go_on)
        assert [point.val_loss for point in result.curve[:3]] == [point.val_loss for point in alone.curve]
        assert [point.train_flops for point in result.curve[:3]] == [point.train_flops for point in alone.curve]
        assert result.curve[3].val_loss == pytest.approx(result.curve[2].val_loss, rel=1e-2), "the head was lost"
        second = run_trial(two.phases(13)[1], with_budget(tiny_problem, epochs=1), seed=1, on_checkpoint=go_on)
        assert result.curve[3].train_flops - result.curve[2].train_flops == pytest.approx(second.train_flops)

    def test_the_convolutions_behind_k_move_in_the_second_only(self, tiny_problem: Problem) -> None:
        run_trial(strategy("two_phase"), tiny_problem, seed=1, on_checkpoint=lambda _: "enough")
        assert moved(tiny_problem) == [False] * N_CONVS
        run_trial(strategy("two_phase"), tiny_problem, seed=1, on_checkpoint=go_on)
        assert moved(tiny_problem) == [False] * 5 + [True] * 8

    def test_a_second_that_diverges_is_charged_for_the_first_too(
        self, tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real, calls = trial.fit, []

        def fit(*arguments: Any, **named: Any) -> Any:
            calls.append(1)
            if len(calls) == 2:
                raise trial.Diverged(0.5)
            yield from real(*arguments, **named)

        monkeypatch.setattr(trial, "fit", fit)
        result = run_trial(strategy("two_phase"), tiny_problem, seed=1, on_checkpoint=go_on)
        assert (result.status, result.reason) == ("diverged", "the loss is not finite after 1.5 epochs")
        assert result.curve[0].train_flops < result.train_flops < result.planned_flops


def moved(problem: Problem) -> list[bool]:
    tensors = problem.backbone.weights.tensors
    return [not np.array_equal(as_numpy(conv.kernel), tensors[conv.name][0]) for conv in problem.backbone.layers]


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_keeps_the_same_contract(tiny_problem: Problem, name: BaselineName) -> None:
    first, again = (run_baseline(name, tiny_problem, seed=3) for _ in range(2))
    assert first.status in STATUSES and first.status == "complete"
    assert first.val_accuracy == again.val_accuracy is not None
    assert first.train_flops == first.planned_flops
    assert (first.train_flops > 0) == (name != "majority")


def test_the_majority_is_right_as_often_as_its_class(tiny_problem: Problem) -> None:
    assert run_baseline("majority", tiny_problem, seed=0).val_accuracy == pytest.approx(1 / 3)


def test_the_probe_beats_the_majority_on_separable_images(tiny_problem: Problem) -> None:
    accuracy = run_baseline("linear_probe", tiny_problem, seed=0).val_accuracy
    assert accuracy is not None and accuracy > 0.6


@pytest.mark.parametrize(("image_size", "pool"), [(32, 2), (63, 2), (64, 4), (224, 4)])
def test_the_cnns_pools_fit_the_image(image_size: int, pool: int) -> None:
    assert cnn_pool(image_size) == pool
