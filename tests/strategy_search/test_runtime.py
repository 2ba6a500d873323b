"""Predicted seconds: counted operations, the fit to an unknown machine, and the time left."""

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.backbones.described import architecture_of
from harness.core.backbone import BackboneSpec
from harness.core.clock import TimeLimit
from harness.core.results import Standing
from harness.core.spec import Budget
from harness.core.strategy import N_CONVS, OPTIMIZERS, POOLINGS, Kind, Strategy
from harness.strategy_search.runtime import Forecast
from harness.training.counts import KINDS, Setting
from harness.training.flops import trial_cost
from harness.workers.progress import Progress

VGG16 = BackboneSpec.load("vgg16")
ARCHITECTURE = architecture_of(VGG16)

SETTING = Setting(ARCHITECTURE, 10, 500, 300, Budget(batch_size=64), 10**9)
EPOCHS = 3
SLOW = np.array([2e-2, 1e-9, 2e-11, 1e-11, 1e-10, 4e-11, 4e-11, 5e-4, 0.2])  # unlike any measured machine


@st.composite
def tried(draw: st.DrawFn) -> Strategy:
    k = draw(st.integers(0, N_CONVS))
    kinds: dict[int, Kind] = {0: "fine_tune_all", N_CONVS: "feature_extraction"}
    two_phase = k < N_CONVS and draw(st.booleans())
    return Strategy(
        "two_phase" if two_phase else kinds.get(k, "freeze_first_k"), k, draw(st.sampled_from(POOLINGS)),
        tuple(draw(st.lists(st.integers(32, 4096), max_size=3))), 0.0, draw(st.sampled_from(OPTIMIZERS)), 1e-3,
        *((1, 0.1) if two_phase else (0, 1.0)), image_size=32,
    )  # fmt: skip


def row(strategy: Strategy, epochs: int = EPOCHS, noise: float = 1.0) -> dict[str, Any]:
    seconds = SETTING.counts(strategy, epochs) @ SLOW * noise
    measured = {f"seconds_{kind}": value for kind, value in zip(KINDS, seconds, strict=True)}
    return {**strategy.as_row(), "status": "complete" if epochs == EPOCHS else "pruned", "epochs": epochs, **measured}


@given(tried(), st.integers(1, EPOCHS))
def test_the_counted_flops_are_those_of_the_trial_cost(strategy: Strategy, epochs: int) -> None:
    counts = dict(zip(KINDS, SETTING.counts(strategy, epochs), strict=True))
    charged = trial_cost(ARCHITECTURE, strategy, 10, 800, SETTING.max_bytes).at(500, epochs)
    assert counts["features"].sum() + counts["train"][3:7].sum() == pytest.approx(charged)


@pytest.mark.parametrize(("n", "noise", "error"), [(5, 0.1, 0.15), (40, 0.0, 0.05)])
def test_the_rates_of_a_machine_are_fitted_from_its_trials(n: int, noise: float, error: float) -> None:
    draws = np.random.default_rng(0)

    def strategy() -> Strategy:
        k = int(draws.integers(1, N_CONVS))
        head = tuple(int(width) for width in draws.integers(32, 1024, draws.integers(3)))
        return Strategy("freeze_first_k", k, "average", head, 0.0, "adam", 1e-4, image_size=32)

    seen = [row(strategy(), noise=draws.uniform(1 - noise, 1 + noise)) for _ in range(n)]
    forecast = Forecast.fit(SETTING, seen)
    assert forecast is not None
    later = [strategy() for _ in range(40)]
    true = [(SETTING.counts(s, EPOCHS) @ SLOW).sum() for s in later]
    errors = [abs(forecast.seconds(s, EPOCHS) / t - 1) for s, t in zip(later, true, strict=True)]
    assert np.median(errors) < error


def test_the_fit_follows_a_machine_that_becomes_slower() -> None:
    strategy = Strategy("freeze_first_k", 7, "average", (), 0.0, "adam", 1e-4, image_size=32)
    seen = [row(strategy, noise=1 + (i >= 20)) for i in range(25)]
    forecast = Forecast.fit(SETTING, seen)
    assert forecast is not None
    assert forecast.seconds(strategy, EPOCHS) > 1.5 * (SETTING.counts(strategy, EPOCHS) @ SLOW).sum()


def test_baselines_are_enough_for_a_fit() -> None:
    strategy = Strategy("fine_tune_all", 0, "average", (), 0.0, "adam", 1e-3, image_size=32)
    failed = row(strategy) | {"status": "failed"}
    assert Forecast.fit(SETTING, []) is None
    assert Forecast.fit(SETTING, [failed], [{"name": "majority", "epochs": 0, "status": "complete"}]) is None

    def after(slowness: float) -> float:
        seconds = {"seconds_features": 1.5, "seconds_compile": 0.0, "seconds_train": 0.1, "seconds_evaluation": 0.9}
        probe = {"name": "linear_probe", "epochs": 0, "status": "complete"}
        forecast = Forecast.fit(SETTING, [], [probe | {name: slowness * value for name, value in seconds.items()}])
        assert forecast is not None
        return forecast.seconds(strategy, EPOCHS)

    assert after(3.0) == pytest.approx(3 * after(1.0))


def test_time_left_is_remaining_work_at_the_current_rate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    stands = [Standing(0, 0, 0, None, work_done=0.0, work_left=100.0, predicted=True)]
    progress = Progress(4, "accuracy", lambda: stands[-1])
    now += 60
    progress.note("baselines have run")
    assert progress._left(stands[-1]) == 100
    now += 20
    stands.append(Standing(1, 0, 0, 0.5, work_done=10.0, work_left=90.0, predicted=True))
    progress.trial(0, "a strategy", "complete")
    assert "about 3 min 00 s left" in capsys.readouterr().err  # it takes twice as long as predicted
    now += 30
    assert progress._left(stands[-1]) == 150
    limited = Progress(4, "accuracy", lambda: stands[0], TimeLimit(120, now + 70))
    assert limited._left(stands[0]) == 70, "no trial begins after the time limit"
    now += 80
    assert limited._left(stands[0]) == 0
    unknown = Standing(0, 0, 0, None, work_done=0.0, work_left=4.0, predicted=False)
    assert Progress(4, "accuracy", lambda: unknown)._left(unknown) is None
