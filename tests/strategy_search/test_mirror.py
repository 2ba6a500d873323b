"""The Optuna study that shows ours: the same trials, states, values and parameters."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from harness.core.results import STATUSES, Checkpoint, TrialResult
from harness.core.spec import StudySpec
from harness.core.strategy import Strategy
from harness.storage.store import Store
from harness.strategy_search import worker as search_worker
from harness.strategy_search.mirror import Mirror, mirror
from harness.strategy_search.plan import plan
from harness.strategy_search.space import as_params
from harness.strategy_search.worker import Worker
from harness.training.problem import Problem
from tests.helpers.searching import ADVICE, session, trials

STATES = {"complete": TrialState.COMPLETE, "failed": TrialState.FAIL, "out_of_memory": TrialState.FAIL}


class Search:
    """A study of stubbed trials that end in every way, one after the other."""

    def __init__(self, store: Store, problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store, self.spec = store, trials(problem.spec, 12)
        self._problem = Problem(self.spec, *list(vars(problem).values())[1:])
        self.ran = 0
        monkeypatch.setattr(search_worker, "run_trial", self._run_trial)
        plan(store, self.spec, ADVICE)

    def _run_trial(self, *_: Any, on_checkpoint: Any, **__: Any) -> TrialResult:
        status = STATUSES[self.ran % len(STATUSES)]
        self.ran += 1
        accuracy = 0.5 + self.ran / 100
        on_checkpoint([Checkpoint(1, 1e9, 1.0, 1.0, 1.0, accuracy, accuracy)])
        return TrialResult(status, 1e9 * self.ran, 1e12, accuracy, reason="" if status == "complete" else "because")

    def run(self, n: int) -> None:
        until = self.ran + n
        Worker(self.store, {"vgg16": self._problem}, session(self.store, self.spec), lambda _: None).run(
            lambda *_: None, stop=lambda: self.ran >= until
        )

    def optuna(self) -> list[optuna.trial.FrozenTrial]:
        return optuna.load_study(study_name="tiny", storage=self.store.optuna_storage()).get_trials()

    def check(self) -> None:
        """Optuna has what ``trial_summary`` has."""
        told, rows = self.optuna(), self.store.trials.frame("tiny").to_dict("records")
        curves = self.store.trials.curves("tiny", 0)
        assert [trial.number for trial in told] == [row["number"] for row in rows] == list(range(len(rows)))
        for trial, row in zip(told, rows, strict=True):
            assert trial.state == STATES.get(row["status"], TrialState.PRUNED)
            assert trial.values == ([row["val_accuracy"], row["train_flops"]] if row["status"] == "complete" else None)
            assert trial.params == as_params(Strategy.from_row(row), self.spec)
            assert trial.user_attrs["status"] == row["status"] and trial.user_attrs.get("reason", "") == row["reason"]
            curve = {point.epoch: point.val_accuracy for point in curves.get(trial.number, [])}
            assert trial.intermediate_values == curve
            assert trial.datetime_start is not None and trial.datetime_complete is not None
            assert trial.datetime_start.astimezone() == row["started_at"].floor("us")
            assert trial.datetime_complete.astimezone() == row["finished_at"].floor("us")


@pytest.fixture
def search(store: Store, tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch) -> Search:
    return Search(store, tiny_problem, monkeypatch)


def test_optuna_loads_a_finished_study_as_it_is(search: Search) -> None:
    search.run(12)
    mirror(search.store, "tiny")
    search.check()
    study = optuna.load_study(study_name="tiny", storage=search.store.optuna_storage())
    assert study.metric_names == ["val_accuracy", "train_flops"]


def test_only_new_trials_are_added(search: Search) -> None:
    live = Mirror(search.store, "tiny")
    for _ in range(3):
        search.run(2)
        before = [trial.datetime_complete for trial in search.optuna()] if search.ran > 2 else []
        live.update()
        live.update()
        search.check()
        assert [trial.datetime_complete for trial in search.optuna()][: len(before)] == before
    mirror(search.store, "tiny")
    search.check()


def test_a_running_search_shows_its_trials_in_a_small_share_of_its_time(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, took = [100.0], 2.0
    monkeypatch.setattr("harness.strategy_search.mirror.time.monotonic", lambda: now[0])
    live = Mirror(search.store, "tiny")
    update, updates = live.update, []

    def slow() -> None:
        update()
        updates.append(now[0])
        now[0] += took

    monkeypatch.setattr(live, "update", slow)
    for _ in range(200):
        live.keep_up()
        now[0] += 1
    busy = took * len(updates) / (now[0] - 100)
    assert 0.04 < busy < 0.06, "a twentieth"
    assert updates[0] == 100, "the first at once"


def test_a_study_that_was_deleted_in_optuna_dashboard_is_shown_again(search: Search) -> None:
    live = Mirror(search.store, "tiny")
    search.run(2)
    live.update()
    optuna.delete_study(study_name="tiny", storage=search.store.optuna_storage())
    live.update()
    search.check()


def test_trials_after_one_that_runs_wait_for_it(search: Search) -> None:
    live, slow = Mirror(search.store, "tiny"), session(search.store, search.spec)
    search.run(1)
    slower = Worker(search.store, {"vgg16": search._problem}, slow, lambda _: None)
    ticket = slower._claim()
    assert ticket is not None
    slower._begin(ticket, seed=1)
    search.run(2)
    live.update()
    assert [trial.number for trial in search.optuna()] == [0]
    slower._release()
    live.update()
    assert [trial.user_attrs["number"] for trial in search.optuna()] == [0, 2, 3], "nobody runs it"
    search.run(1)
    live.update()
    search.check()


def test_the_mirror_of_no_trial_is_a_study(tmp_path: Path, spec: StudySpec) -> None:
    store = Store(f"sqlite:///{tmp_path}/study.db")
    store.studies.create("tiny", spec=spec.model_dump(mode="json"), data={}, advice={})
    mirror(store, "tiny")
    assert optuna.get_all_study_names(store.optuna_storage()) == ["tiny"]
