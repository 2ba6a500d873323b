"""The verdict on a running trial from the trials of its study."""

from dataclasses import replace
from pathlib import Path

from harness.core.results import Checkpoint, TrialResult
from harness.core.strategy import Strategy
from harness.guidance.advice import advised
from harness.storage.store import Store
from harness.storage.tickets import Planned
from harness.storage.trials import TrialStart
from harness.strategy_search.history import History
from harness.strategy_search.judge import Judge
from harness.training.problem import Problem
from tests.helpers.searching import session


def test_pruning_uses_the_second_phase_alone(tmp_path: Path, tiny_problem: Problem) -> None:
    spec = tiny_problem.spec.model_copy(update={"budget": tiny_problem.spec.budget.model_copy(update={"epochs": 5})})
    problem = Problem(spec, *list(vars(tiny_problem).values())[1:])
    store = Store(f"sqlite:///{tmp_path}/study.db")
    store.studies.create("tiny", spec=spec.model_dump(mode="json"), data={}, advice={})
    mine = session(store, spec)
    one_phase = Strategy("fine_tune_all", 0, "average", (), 0.0, "adam", 1e-3, image_size=32)
    two_phase = Strategy("two_phase", 5, "average", (), 0.0, "adam", 1e-2, 2, 0.1, image_size=32)
    falls = {one_phase: [0.6, 0.62, 0.64, 0.64, 0.64], two_phase: [0.6, 0.6, 0.6, 0.97, 0.98]}
    store.tickets.add("tiny", [Planned()] * 30)

    def curve(accuracies: list[float]) -> list[Checkpoint]:
        return [Checkpoint(i, i * 1e3, i, 1.0, 1.0, accuracy) for i, accuracy in enumerate(accuracies, start=1)]

    for number, strategy in enumerate([one_phase] * 10 + [two_phase] * 10):
        store.tickets.claim("tiny", mine, 30)
        store.trials.begin("tiny", number, TrialStart(strategy, "quota", seed=1, planned_flops=1.0), session=mine)
        for point in curve(falls[strategy]):
            store.trials.record_checkpoint("tiny", number, point, session=mine)
        store.trials.end("tiny", number, TrialResult("complete", 1e9, 1e9, val_accuracy=0.9), session=mine)
    history = History(store, spec)
    one, two = Judge(history, problem, one_phase), Judge(history, problem, two_phase)
    spared = Judge(history, problem, advised(spec.search, 32)["fine_tune_all"])
    assert spared.verdict(curve([0.6])) is None, "the strategies are compared by it"
    off = problem.spec.model_copy(update={"pruning": problem.spec.pruning.model_copy(update={"enabled": False})})
    assert Judge(history, replace(problem, spec=off), one_phase).verdict(curve([0.6])) is None, "--no-pruning"
    assert one.verdict(curve([0.6])) is not None, "no trial of one phase has come far from there"
    assert two.verdict(curve([0.6])) is None and two.verdict(curve([0.1, 0.1])) is None
    assert two.verdict(curve([0.6, 0.6, 0.6])) is None, "others have come far from there"
    assert two.verdict(curve([0.6, 0.6, 0.6, 0.7])) is not None
