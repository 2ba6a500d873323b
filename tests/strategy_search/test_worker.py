"""A worker's trials in a real database, with a stub instead of training: claims, recovery, retries."""

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core.processes import host
from harness.core.results import Checkpoint, Seconds, TrialResult
from harness.core.spec import StudySpec
from harness.core.strategy import ARTICLE_KINDS, Strategy
from harness.storage.heartbeat import Watch
from harness.storage.standing import standing
from harness.storage.store import Store
from harness.storage.tickets import Counts
from harness.strategy_search import worker as search_worker
from harness.strategy_search.history import History
from harness.strategy_search.plan import plan
from harness.strategy_search.sampler import choose
from harness.strategy_search.space import from_params
from harness.strategy_search.worker import Worker
from harness.training.problem import Problem
from tests.helpers.searching import ADVICE, session, trials


def worker(store: Store, problem: Problem) -> Worker:
    """Return a worker of the study "tiny" in this process."""
    return Worker(store, {"vgg16": problem}, session(store, problem.spec), lambda _: None)


class TestWorker:
    """One worker of a study."""

    @pytest.fixture(autouse=True)
    def _stubbed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ran: list[Strategy] = []

        def run_trial(strategy: Strategy, problem: Problem, *, seed: int, on_checkpoint: object) -> TrialResult:
            self.ran.append(strategy)
            return TrialResult("complete", 1e9, 1e9, val_accuracy=0.5)

        monkeypatch.setattr(search_worker, "run_trial", run_trial)

    def run(self, store: Store, problem: Problem, n: int = 1000) -> None:
        worker(store, problem).run(lambda *_: None, stop=lambda: len(self.ran) >= n)

    def test_runs_exactly_the_plan_and_no_point_twice(self, store: Store, tiny_problem: Problem) -> None:
        plan(store, tiny_problem.spec, ADVICE)
        self.run(store, tiny_problem, 3)
        self.run(store, tiny_problem)
        self.run(store, tiny_problem)
        assert len(self.ran) == tiny_problem.spec.budget.trials == len(set(self.ran))
        assert self.ran[0].kind == "freeze_first_k" and self.ran[0].frozen == 7
        assert store.tickets.counts("tiny") == Counts(planned=8, finished=8, held=0)
        assert store.trials.frame("tiny")["number"].tolist() == list(range(8))
        counts = Counter(strategy.kind for strategy in self.ran)
        assert min(counts[kind] for kind in ARTICLE_KINDS) >= math.ceil(0.1 * 8)

    def test_the_seconds_of_a_trial_are_predicted_from_earlier_trials(
        self, store: Store, tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def run_trial(strategy: Strategy, problem: Problem, *, seed: int, on_checkpoint: Any) -> TrialResult:
            self.ran.append(strategy)
            on_checkpoint([Checkpoint(1, 1.0, 1.0, 1.0, 1.0, 0.5)])
            return TrialResult("complete", 1e9, 1e9, val_accuracy=0.5, seconds=Seconds(1.0, 2.0, 30.0, 7.0))

        monkeypatch.setattr(search_worker, "run_trial", run_trial)
        plan(store, tiny_problem.spec, ADVICE)
        assert not standing(store, "tiny").predicted and standing(store, "tiny").work_left == 8
        self.run(store, tiny_problem, 4)
        predicted = store.trials.frame("tiny")["predicted_seconds"]
        assert np.isnan(predicted[0]), "nothing had run: there was nothing to predict from"
        assert (predicted[1:] > 0).all()
        now = standing(store, "tiny")
        assert now.predicted and now.work_done >= predicted.sum() and now.work_left > 0
        device = store.trials.frame("tiny")["device"][0]
        trials, baselines = store.trials.recent("tiny", device, 2), store.baselines.measured_on("tiny", device)
        assert [trial["number"] for trial in trials] == [2, 3] and not baselines
        assert store.trials.recent("tiny", "another", 2) == store.baselines.measured_on("tiny", "another") == []

    def test_a_resumed_study_draws_the_same_trials(
        self, tmp_path: Path, spec: StudySpec, tiny_problem: Problem
    ) -> None:
        drawn = []
        for name, pieces in (("whole", [1000]), ("pieces", [2, 5, 1000])):
            store = Store(f"sqlite:///{tmp_path}/{name}.db")
            store.studies.create("tiny", spec={}, data={}, advice={})
            plan(store, spec, ADVICE)
            self.ran = []
            for n in pieces:
                self.run(store, tiny_problem, n)
            drawn.append(self.ran)
        assert drawn[0] == drawn[1]

    def test_fewer_trials_than_planned_are_respected(self, store: Store, tiny_problem: Problem) -> None:
        plan(store, tiny_problem.spec, ADVICE)
        spec = trials(tiny_problem.spec, 4)
        fewer = Problem(spec, tiny_problem.split, tiny_problem.backbone, tiny_problem.features, tiny_problem.networks)
        self.run(store, fewer)
        assert len(self.ran) == 4

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), ZeroDivisionError("a bug")])
    def test_an_interrupted_trial_waits_again(
        self, store: Store, tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch, error: BaseException
    ) -> None:
        plan(store, tiny_problem.spec, ADVICE)
        self.run(store, tiny_problem, 1)
        with monkeypatch.context() as patched:

            def failing(*_: object, **__: object) -> TrialResult:
                raise error

            patched.setattr(search_worker, "run_trial", failing)
            with pytest.raises(type(error)):
                worker(store, tiny_problem).run(lambda *_: None, stop=lambda: False)
        assert store.tickets.counts("tiny") == Counts(planned=8, finished=1, held=0)
        assert store.trials.frame("tiny")["number"].tolist() == [0]
        self.run(store, tiny_problem)
        assert len(store.trials.frame("tiny")) == store.tickets.counts("tiny").planned == 8

    def test_a_trial_of_a_dead_process_is_run_again_with_its_parameters(
        self, store: Store, tiny_problem: Problem
    ) -> None:
        dead = self.killed(store, tiny_problem, during="training")
        drawn = from_params(store.tickets.planned("tiny")[0].params, tiny_problem.spec)
        assert Watch(store, "tiny").recover() == 1
        assert Watch(store, "tiny").recover() == 0
        assert store.tickets.counts("tiny") == Counts(planned=8, finished=0, held=0)
        assert store.sessions.frame("tiny").set_index("id").loc[dead, "outcome"] == "killed"
        self.run(store, tiny_problem)
        again = store.trials.frame("tiny").to_dict("records")
        assert Strategy.from_row(again[0]) == drawn and len(again) == 8

    def test_a_trial_killed_before_its_start_is_recovered(self, store: Store, tiny_problem: Problem) -> None:
        self.killed(store, tiny_problem, during="claim")
        assert Watch(store, "tiny").recover() == 1

    def test_a_trial_that_had_ended_when_its_process_died_is_not_run_twice(
        self, store: Store, tiny_problem: Problem
    ) -> None:
        self.killed(store, tiny_problem, during="end")
        assert Watch(store, "tiny").recover() == 0
        assert store.tickets.counts("tiny") == Counts(planned=8, finished=1, held=0)

    def test_a_trial_that_always_kills_its_process_is_given_up(self, store: Store, tiny_problem: Problem) -> None:
        for _ in range(search_worker.MAX_RETRIES + 1):
            self.killed(store, tiny_problem, during="training")
            Watch(store, "tiny").recover()
        self.run(store, tiny_problem)
        row = store.trials.frame("tiny").iloc[0]
        assert (row["status"], row["reason"]) == ("failed", "its process died 3 times in this trial")
        assert len(self.ran) == 7

    def test_a_trial_of_a_living_process_is_left_alone(self, store: Store, tiny_problem: Problem) -> None:
        plan(store, tiny_problem.spec, ADVICE)
        living = worker(store, tiny_problem)
        ticket = living._claim()
        assert ticket is not None and ticket.number == 0
        living._begin(ticket, seed=1)
        assert Watch(store, "tiny").recover() == 0
        assert store.tickets.counts("tiny") == Counts(planned=8, finished=0, held=1)

    def killed(self, store: Store, problem: Problem, *, during: str) -> int:
        """Leave trial 0 as a process that dies at this moment does, and return the id of its session."""
        plan(store, problem.spec, ADVICE)
        dead = store.sessions.begin(
            "tiny", command="", spec={}, environment={"commit": "c", "device": "d"}, host=host(),
            pid=2**22 + 1, process_started=0.0,
        )  # fmt: skip
        dying = Worker(store, {"vgg16": problem}, dead, lambda _: None)
        ticket = dying._claim()
        assert ticket is not None and ticket.number == 0
        if during != "claim":
            dying._begin(ticket, seed=1)
        if during == "end":
            store.trials.end("tiny", 0, TrialResult("complete", 1e9, 1e9, val_accuracy=0.5), session=dead)
        return dead


def test_search_and_pruning_use_the_metric_of_the_study(
    tmp_path: Path, tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tiny_problem.spec.model_copy(update={"metric": "macro_f1"})
    problem = Problem(spec, *list(vars(tiny_problem).values())[1:])
    store = Store(f"sqlite:///{tmp_path}/study.db")
    store.studies.create("tiny", spec=spec.model_dump(mode="json"), data={}, advice={})
    plan(store, spec, ADVICE)
    seen: list[str | None] = []

    def run_trial(strategy: Strategy, problem: Problem, *, seed: int, on_checkpoint: Any) -> TrialResult:
        first = not seen
        curve = [Checkpoint(1, 1e6, 1.0, 1.0, 1.0, val_accuracy=0.3 if first else 0.99, val_macro_f1=0.9 * first)]
        seen.append(on_checkpoint(curve))
        return TrialResult("complete", 1e6, 1e6, val_accuracy=0.5, val_macro_f1=0.25)

    monkeypatch.setattr(search_worker, "run_trial", run_trial)
    worker(store, problem).run(lambda *_: None, stop=lambda: len(seen) >= 2)
    assert [past.score for past in History(store, spec).finished.values()] == [0.25, 0.25]
    assert seen[0] is None
    assert seen[1] is not None and "macro F1 0.000" in seen[1] and "the front's 0.900" in seen[1]


class TestWorkers:
    """Several workers of one study."""

    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(search_worker, "_IDLE", 0.01)

    def test_a_process_considered_dead_drops_its_result(
        self, store: Store, tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is paused in its first trial until another process has done that trial. Then it runs the rest."""
        plan(store, tiny_problem.spec, ADVICE)
        frozen, other = worker(store, tiny_problem), worker(store, tiny_problem)
        ran: list[str] = []

        def run_trial(*_: object, on_checkpoint: Callable[..., Any], **__: object) -> TrialResult:
            if not ran:
                ran.append("frozen")
                assert store.tickets.release_dead_session("tiny", frozen._session) == [0]
                Watch(store, "tiny").recover()
                other.run(lambda *_: None, stop=lambda: len(ran) >= 3)
            ran.append("whole")
            on_checkpoint((Checkpoint(1, 1e9, 1.0, 1.0, 1.0, 0.5),))
            return TrialResult("complete", 1e9, 1e9, val_accuracy=0.5)

        monkeypatch.setattr(search_worker, "run_trial", run_trial)
        finished: list[int] = []
        frozen.run(lambda number, *_: finished.append(number), stop=lambda: False)
        assert "its result is dropped" in caplog.text
        rows = store.trials.frame("tiny")
        assert rows["number"].tolist() == list(range(8)) and 0 not in finished
        assert rows.loc[0, "session"] == other._session and rows["retries"].tolist() == [1] + [0] * 7
        assert store.tickets.counts("tiny") == Counts(planned=8, finished=8, held=0)
        assert frozen._session in {row.id for row in store.sessions.unfinished("tiny")}

    def test_trials_that_need_as_much_memory_as_a_failed_one_are_skipped(
        self, store: Store, tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plan(store, tiny_problem.spec, ADVICE)
        begun: list[Strategy] = []

        def run_trial(strategy: Strategy, *_: object, **__: object) -> TrialResult:
            begun.append(strategy)
            if strategy.frozen <= 7:
                return TrialResult("out_of_memory", 0.0, 1e9, reason="8 GB were asked for")
            return TrialResult("complete", 1e9, 1e9, val_accuracy=0.5)

        monkeypatch.setattr(search_worker, "run_trial", run_trial)
        worker(store, tiny_problem).run(lambda *_: None, stop=lambda: False)
        rows = store.trials.frame("tiny").set_index("number")
        assert rows.loc[0, "status"] == "out_of_memory"
        history = History(store, tiny_problem.spec)
        assert 0 not in [past.number for past in choose(history.finished.values(), 0, 100)], (
            "the sampler does not learn from it"
        )
        refused = rows[rows["status"] == "over_budget"]
        assert len(refused) + len(begun) == 8 and len(refused) > 0
        assert refused["reason"].str.fullmatch(r"needs at least the memory of trial \d, which ran out of it").all()
        for one in begun[1:]:
            assert not one.needs_memory_of(begun[0])

    @pytest.mark.parametrize("workers", [2, pytest.param(8, marks=pytest.mark.large)])
    def test_more_workers_search_the_same_problem(
        self, store: Store, tiny_problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
    ) -> None:
        """The seed and plan of a trial do not depend on the worker."""

        def run_trial(*_: object, **__: object) -> TrialResult:
            return TrialResult("complete", 1e9, 1e9, val_accuracy=0.5)

        monkeypatch.setattr(search_worker, "run_trial", run_trial)
        alone = Store(f"sqlite:///{tmp_path}/alone.db")
        alone.studies.create("tiny", spec={}, data={}, advice={})
        for where, n in ((alone, 1), (store, workers)):
            plan(where, tiny_problem.spec, ADVICE)
            crew = [worker(where, tiny_problem) for _ in range(n)]
            done = 0
            while done < 8:
                for one in crew:
                    before = len(where.trials.frame("tiny"))
                    one.run(lambda *_: None, stop=lambda: len(where.trials.frame("tiny")) > before)  # noqa: B023
                done = len(where.trials.frame("tiny"))
        planned = ["number", "seed", "origin", "strategy"]
        first, second = (where.trials.frame("tiny") for where in (alone, store))
        assert second["session"].nunique() == workers
        pinned = first["origin"] != "sampler"
        assert first.loc[pinned, planned].to_numpy().tolist() == second.loc[pinned, planned].to_numpy().tolist()
        assert first["seed"].tolist() == second["seed"].tolist()
