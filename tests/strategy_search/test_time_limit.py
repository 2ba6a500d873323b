"""Planning for a time limit: what takes too much of it is not run, and the sampler looks elsewhere."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.core.clock import TimeLimit
from harness.core.results import TrialResult
from harness.core.strategy import Strategy
from harness.guidance.advice import Advice
from harness.storage.store import Store
from harness.strategy_search import worker as search_worker
from harness.strategy_search.history import History
from harness.strategy_search.plan import plan
from harness.strategy_search.resume import begin_session
from harness.strategy_search.sampler import as_trial
from harness.strategy_search.space import as_params
from harness.strategy_search.worker import Worker
from harness.training.counts import OPERATIONS
from harness.training.problem import Problem

PREDICTED = [10.0, 200.0, 299.0, 301.0, 20.0]
"""Seconds of the trials, in the order in which they are drawn."""


class Search:
    """A study of five trials whose seconds are predicted as `PREDICTED` and pass in no time, or as told."""

    def __init__(self, problem: Problem, folder: Path) -> None:
        self.problem = problem
        self.store = Store(f"sqlite:///{folder}/study.db")
        spec = problem.spec
        self.store.studies.create(spec.name, spec=spec.model_dump(mode="json"), data={}, advice={})
        plan(self.store, spec, Advice.of(2, "", spec.search))

    def run(self, limit: TimeLimit) -> dict[int, str]:
        environment = {"commit": "c", "device": "d"}
        session = begin_session(self.store, self.problem.spec, command="test", environment=environment)
        Worker(self.store, {"vgg16": self.problem}, session, lambda _: None, limit).run(
            lambda *_: None, stop=lambda: False
        )
        trials = self.store.trials.frame("tiny")
        return dict(zip(trials["number"], trials["status"], strict=True))


@pytest.fixture
def search(tiny_problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Search:
    budget = tiny_problem.spec.budget.model_copy(update={"trials": len(PREDICTED)})
    problem = Problem(tiny_problem.spec.model_copy(update={"budget": budget}), *list(vars(tiny_problem).values())[1:])
    found = Search(problem, tmp_path)

    def run_trial(*_: Any, **__: Any) -> TrialResult:
        return TrialResult("complete", 1e6, 1e6, val_accuracy=0.5)

    def predicted(self: Worker, *_: Any) -> float:
        assert self._running is not None
        return PREDICTED[self._running]

    monkeypatch.setattr(search_worker, "run_trial", run_trial)
    monkeypatch.setattr(Worker, "_predicted", predicted)
    return found


def test_a_trial_that_takes_a_third_of_the_limit_is_over_budget(search: Search) -> None:
    assert search.run(TimeLimit.start(900)) == {
        0: "complete",
        1: "complete",
        2: "complete",
        3: "over_budget",
        4: "complete",
    }
    reasons = search.store.trials.frame("tiny").set_index("number")["reason"]
    assert reasons[3] == "predicted to take 301 s, more than a third of the time limit of 900 s"
    shown = [
        as_trial(past, search.problem.spec) for past in History(search.store, search.problem.spec).finished.values()
    ]
    assert [bool(trial.constraints) for trial in shown] == [False, False, False, True, False], "the sampler knows"


def test_a_trial_that_takes_more_than_is_left_waits_for_another_run(search: Search) -> None:
    almost_over = TimeLimit(900, time.monotonic() + 100)
    assert search.run(almost_over) == {0: "complete", 3: "over_budget", 4: "complete"}
    assert search.store.tickets.counts("tiny").free == 2
    drawn = search.store.tickets.planned("tiny")[1:3]
    assert search.run(TimeLimit.start(900)) == {
        0: "complete", 1: "complete", 2: "complete", 3: "over_budget", 4: "complete",
    }  # fmt: skip
    trials = search.store.trials.frame("tiny")
    kept = [as_params(Strategy.from_row(row), search.problem.spec) for row in trials.to_dict("records")[1:3]]
    assert kept == [planned.params for planned in drawn], "with the parameters it had"


def test_without_a_limit_everything_runs(search: Search) -> None:
    assert set(search.run(TimeLimit.start(None)).values()) == {"complete"}


def test_the_first_trial_is_predicted_by_rates_where_the_study_has_them(
    tiny_problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = tiny_problem.spec.budget.model_copy(update={"trials": 1})
    spec = tiny_problem.spec.model_copy(update={"budget": budget})
    monkeypatch.setattr(search_worker, "run_trial", lambda *_, **__: TrialResult("complete", 1e6, 1e6, 0.5))
    found = {}
    for name, rates in (("unrated", None), ("slow", dict.fromkeys(OPERATIONS, 1e-3))):
        problem = replace(tiny_problem, spec=spec, rates=rates)
        (tmp_path / name).mkdir()
        found[name] = Search(problem, tmp_path / name).run(TimeLimit(900.0))
    assert found == {"unrated": {0: "complete"}, "slow": {0: "over_budget"}}, "no trial and no baseline has run yet"


@pytest.mark.parametrize(
    ("limit", "size", "status"), [(3000, 64, "complete"), (900, 48, "complete"), (90, 64, "over_budget")]
)
def test_the_advice_is_tried_at_a_size_that_fits(
    tiny_problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: float, size: int, status: str
) -> None:
    budget = tiny_problem.spec.budget.model_copy(update={"trials": 1})
    sizes = tiny_problem.spec.search.model_copy(update={"image_size": (32, 48, 64)})
    problem = replace(tiny_problem, spec=tiny_problem.spec.model_copy(update={"budget": budget, "search": sizes}))
    monkeypatch.setattr(search_worker, "run_trial", lambda *_, **__: TrialResult("complete", 1e6, 1e6, 0.5))
    monkeypatch.setattr(
        Worker, "_predicted", lambda self, strategy: {32: 100.0, 48: 250.0, 64: 800.0}[strategy.image_size]
    )
    search = Search(problem, tmp_path)
    assert search.run(TimeLimit.start(limit)) == {0: status}
    row = search.store.trials.frame("tiny").iloc[0]
    assert (row["origin"], row["strategy"], row["image_size"]) == ("advice", "freeze_first_k", size)
