"""A search over two backbones: everything that compares trials compares their seconds."""

from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from dashboards.terminal import as_json
from harness.analysis.recommendation import recommend
from harness.analysis.rows import Rows
from harness.analysis.summary import summarise
from harness.backbones.backbone import Backbone
from harness.backbones.describe import describe
from harness.core.cost import SECONDS
from harness.core.errors import SpecError
from harness.core.results import Checkpoint, TrialResult
from harness.core.spec import StudySpec
from harness.core.strategy import Strategy
from harness.data.dataset import load_split
from harness.guidance.advice import Advice
from harness.statistics.pareto import front
from harness.storage.store import Store
from harness.storage.tickets import Planned
from harness.storage.trials import TrialStart
from harness.strategy_search.history import History
from harness.strategy_search.judge import Judge
from harness.strategy_search.mirror import mirror
from harness.strategy_search.plan import plan
from harness.training.counts import OPERATIONS
from harness.training.problem import Problem
from harness.workers import work
from harness.workers.work import run_study_trials, with_rates
from tests.helpers import tiny
from tests.helpers.searching import session
from tests.helpers.synthetic import confirm_study

OTHER = tiny.VGG16.model_copy(update={"name": "other"})
PROFILE = {"n_images": 96, "similar": False, "similarity_source": "declared"}


@pytest.fixture
def problems(study_file: Path, tmp_path: Path) -> dict[str, Problem]:
    """The study on the tiny network, and on one like it of another name."""
    changes = {"search.backbones": [tiny.VGG16, OTHER], "budget.trials": 6, "baselines.names": ["majority", "mlp"]}
    spec, dataset = StudySpec.load(str(study_file), changes)
    first = tiny.tiny_problem(spec, load_split(dataset, spec), tmp_path / "cache")
    model = tiny.tiny_model()
    other = Backbone(model, OTHER, describe(model, OTHER), tiny.tiny_weights())
    return {"vgg16": first, "other": Problem.on(other, spec, first.split, tmp_path / "cache")}


@pytest.fixture
def begun(problems: dict[str, Problem], tmp_path: Path) -> Store:
    """The study in a database, without a trial."""
    store, first = Store(f"sqlite:///{tmp_path}/study.db"), problems["vgg16"]
    sizes = {"n_train": 96, "n_validation": 48, "n_test": 30}
    data = {"dataset": "digits", "classes": 3, "profile": PROFILE, "class_names": ["a", "b", "c"], **sizes}
    data["layer_scores"] = []
    advice = {"scenario": 2, "strategy": "", "reason": ""}
    members = [(str(row), "abc"[label], "") for row, label in enumerate(first.split.validation.labels)]
    split = {"validation": members}
    store.studies.create("tiny", spec=first.spec.model_dump(mode="json"), data=data, advice=advice, split=split)
    return store


@pytest.mark.large
def test_a_search_over_two_backbones_is_judged_by_seconds(
    problems: dict[str, Problem], begun: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = problems["vgg16"].spec
    plan(begun, spec, Advice.of(2, "", spec.search))
    done: list[int] = []
    notes: list[str] = []
    run_study_trials(
        problems, begun, "one", baselines=True, on_trial=lambda number, *_: done.append(number), note=notes.append,
        stop=lambda: len(done) == 3,
    )  # fmt: skip
    stored = begun.studies.get("tiny").data["rates"]
    assert stored["precision"] == spec.budget.precision and set(stored["backbones"]) == {"vgg16", "other"}
    assert any("timed vgg16 and other" in line for line in notes)

    def again(_: Problem) -> None:
        raise AssertionError("rates are measured once")

    monkeypatch.setattr(work, "measure_rates", again)
    run_study_trials(problems, begun, "two", baselines=True)
    rated = with_rates(begun, problems)
    rows = Rows.read(begun, "tiny")
    assert rows.cost is SECONDS and len(rows.trials) == 6 and set(rows.trials["backbone"]) == {"vgg16", "other"}
    for trial in rows.trials.to_dict("records"):
        problem, strategy = rated[trial["backbone"]], Strategy.from_row(trial)
        assert trial["rated_seconds"] == problem.spent(strategy, trial["epochs"]).rated_seconds > 0
        assert trial["planned_seconds"] == problem.spent(strategy, 2).rated_seconds
    mirror(begun, "tiny")
    study = optuna.load_study(study_name="tiny", storage=begun.optuna_storage())
    assert study.metric_names == ["val_accuracy", "rated_seconds"]
    told = {trial.number: trial.values[1] for trial in study.get_trials() if trial.values is not None}
    complete = rows.trials[rows.trials["status"] == "complete"]
    assert told == dict(zip(complete["number"], complete["rated_seconds"], strict=True)) and told
    assert rows.baselines.set_index("name").loc["majority", "rated_seconds"] == 0
    assert rows.baselines.set_index("name").loc["mlp", "rated_seconds"] > 0

    points = rows.checkpoints.reset_index(drop=True)
    best = points.iloc[front(points["rated_seconds"].tolist(), points["val_accuracy"].tolist())]
    shown = as_json(rows, begun.url, tmp_path / "page.html")
    assert shown["cost"] == "seconds"
    assert [point["rated_seconds"] for point in shown["front"]] == pytest.approx(best["rated_seconds"].tolist())
    assert not any("TFLOP" in sentence for sentence in summarise(rows).sentences)

    confirm_study(begun, "tiny")
    rows = Rows.read(begun, "tiny")
    advised = recommend(rows)
    assert advised is not None
    pick = rows.trials.set_index("number").loc[advised.confirmed.pick.candidate.trial]
    assert advised.confirmed.pick.search_cost == pick["rated_seconds"]
    assert advised.confirmed.pick.cost == pytest.approx(1.5 * pick["rated_seconds"])


def test_a_trial_is_stopped_by_seconds(problems: dict[str, Problem], begun: Store) -> None:
    """Ten trials were quick and good. Each epoch of this one has fewer FLOPs, and takes longer."""
    rates = dict.fromkeys(OPERATIONS, 1e-9)
    spec = problems["vgg16"].spec
    budget = spec.budget.model_copy(update={"epochs": 5})
    spec = spec.model_copy(update={"budget": budget})
    problem = replace(problems["other"], spec=spec, rates=rates)
    strategy = Strategy("fine_tune_all", 0, "average", (), 0.0, "adam", 1e-3, image_size=32, backbone="other")
    mine = session(begun, spec)
    begun.tickets.add("tiny", [Planned()] * 10)
    costs = [problem.spent(strategy, epoch) for epoch in range(1, 6)]

    def curve(scores: list[float], flops: float, seconds: float) -> list[Checkpoint]:
        return [
            Checkpoint(
                i, flops * cost.train_flops, 1.0, 1.0, 1.0, score, rated_seconds=seconds * cost.rated_seconds
            )
            for i, (score, cost) in enumerate(zip(scores, costs, strict=False), start=1)
        ]  # fmt: skip

    for number in range(10):
        begun.tickets.claim("tiny", mine, 10)
        begun.trials.begin("tiny", number, TrialStart(strategy, "quota", seed=1, planned_flops=1.0), session=mine)
        for point in curve([0.9, 0.91, 0.92, 0.92, 0.92], flops=100, seconds=0.6):
            begun.trials.record_checkpoint("tiny", number, point, session=mine)
        begun.trials.end("tiny", number, TrialResult("complete", 1e9, 1e9, val_accuracy=0.92), session=mine)
    so_far = curve([0.5], flops=1, seconds=1)
    reason = Judge(History(begun, spec), problem, strategy).verdict(so_far)
    assert reason is not None and " s; even the optimistic" in reason and "TFLOP" not in reason
    search = spec.search.model_copy(update={"cost": "flops"})
    by_flops = replace(problem, spec=spec.model_copy(update={"search": search}))
    history = History(begun, by_flops.spec)
    assert Judge(history, by_flops, strategy).verdict(so_far) is None, "all others had a hundred times the FLOPs"


def test_memory_that_runs_out_while_timing_is_said(
    problems: dict[str, Problem], begun: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure_rates(_: Problem) -> None:
        raise MemoryError

    monkeypatch.setattr(work, "measure_rates", measure_rates)
    with pytest.raises(SpecError, match=r"memory ran out while vgg16, other were timed .*--batch-size"):
        with_rates(begun, problems)
