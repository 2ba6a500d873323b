"""The search on the tiny network and a real database: plan, space, claims, recovery."""

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from harness.core.errors import SpecError
from harness.core.processes import host
from harness.core.results import Checkpoint, Seconds, TrialResult
from harness.core.spec import StudySpec
from harness.core.strategy import ARTICLE_KINDS, KINDS, N_CONVS, Kind, Strategy
from harness.guidance.advice import RECIPES, Advice, advised
from harness.search import worker as search_worker
from harness.search.judge import Judge
from harness.search.optuna_study import open_study, recover, standing
from harness.search.plan import plan
from harness.search.resume import begin_session, check_same_problem, resolve_precision
from harness.search.sampler import trial_seed
from harness.search.space import as_params, outside, suggest
from harness.search.worker import Worker
from harness.storage.heartbeat import Watch
from harness.storage.store import Store
from harness.storage.tickets import Ticket
from harness.storage.trials import TrialStart
from harness.training.problem import Problem

ADVICE = Advice(2, Strategy("freeze_first_k", 7, "average", (), 0.0, "adam", 1e-4, image_size=32), "because")


@pytest.fixture
def spec(study_file: Path) -> StudySpec:
    return StudySpec.load(str(study_file))[0]


@pytest.fixture
def store(tmp_path: Path, spec: StudySpec) -> Store:
    opened = Store(f"sqlite:///{tmp_path}/study.db")
    opened.studies.create(spec.name, spec=spec.model_dump(mode="json"), data={}, advice={})
    return opened


def session(store: Store, spec: StudySpec) -> int:
    return begin_session(store, spec, command="test", environment={"commit": "c", "device": "d"})


def trials(spec: StudySpec, n: int, **changes: Any) -> StudySpec:
    budget = spec.budget.model_copy(update={"trials": n})
    return spec.model_copy(update={"budget": budget, **changes})


def origins(study: optuna.Study) -> list[str]:
    return [trial.user_attrs["origin"] for trial in study.get_trials()]


def test_the_plan_is_advice_recipes_quota_sampler(store: Store, spec: StudySpec) -> None:
    study = open_study(store, spec.name)
    plan(study, store, trials(spec, 50), ADVICE)
    assert origins(study)[:3] == ["advice", "recipe_extractor", "recipe_partial"]
    planned = Counter(trial.system_attrs["fixed_params"].get("strategy") for trial in study.get_trials())
    assert {kind: planned[kind] for kind in ARTICLE_KINDS} == dict.fromkeys(ARTICLE_KINDS, 5)
    assert planned[None] == 30
    assert {trial.state for trial in study.get_trials()} == {TrialState.WAITING}


def test_the_quota_is_cheapest_first_with_spread_depths_and_the_advised_strategies(
    store: Store, spec: StudySpec
) -> None:
    study = open_study(store, spec.name)
    plan(study, store, trials(spec, 50), ADVICE)
    quota = [trial.system_attrs["fixed_params"] for trial in study.get_trials()[3:20]]
    assert [params["strategy"] for params in quota] == [
        *["feature_extraction"] * 4, *["freeze_first_k"] * 3, *["fine_tune_all", "from_scratch"] * 5,
    ]  # fmt: skip
    assert [params["frozen"] for params in quota[4:7]] == [10, 6, 3]
    for params, kind in [(quota[7], "fine_tune_all"), (quota[8], "from_scratch")]:
        assert params == as_params(advised(32)[cast(Kind, kind)], spec)
    assert all(set(params) == {"strategy"} for params in quota[9:])


def test_a_continued_plan_repeats_no_advised_strategy(store: Store, spec: StudySpec) -> None:
    study = open_study(store, spec.name)
    for n in (10, 50):
        plan(study, store, trials(spec, n), ADVICE)
    planned = [trial.system_attrs["fixed_params"] for trial in study.get_trials()]
    assert planned.count(as_params(advised(32)["fine_tune_all"], spec)) == 1


def test_an_advised_strategy_outside_the_space_leaves_its_place_to_the_sampler(store: Store, spec: StudySpec) -> None:
    search = spec.search.model_copy(update={"optimizer": ("sgd",)})
    study = open_study(store, spec.name)
    plan(study, store, trials(spec, 50, search=search), ADVICE)
    planned = [trial.system_attrs["fixed_params"] for trial in study.get_trials()]
    assert planned.count({"strategy": "fine_tune_all"}) == 5


def test_planning_again_adds_only_missing_trials(store: Store, spec: StudySpec) -> None:
    study = open_study(store, spec.name)
    for n, expected in [(8, 8), (8, 8), (5, 8), (20, 20)]:
        plan(study, store, trials(spec, n), ADVICE)
        assert len(study.get_trials()) == expected
    planned = Counter(trial.system_attrs["fixed_params"].get("strategy") for trial in study.get_trials())
    assert min(planned[kind] for kind in ARTICLE_KINDS) >= 2  # a tenth of 20
    assert origins(study).count("advice") == 1


def test_few_trials_still_begin_with_the_advice(store: Store, spec: StudySpec) -> None:
    study = open_study(store, spec.name)
    plan(study, store, trials(spec, 2), ADVICE)
    assert origins(study) == ["advice", "recipe_extractor"]
    plan(study, store, trials(spec, 8), ADVICE)
    assert origins(study)[:4] == ["advice", "recipe_extractor", "recipe_partial", "quota"]


def test_a_recipe_outside_the_space_is_left_out_with_a_warning(
    store: Store, spec: StudySpec, caplog: pytest.LogCaptureFixture
) -> None:
    narrow = trials(spec, 6, search=spec.search.model_copy(update={"head_width": (4, 512), "optimizer": ("adam",)}))
    study = open_study(store, spec.name)
    plan(study, store, narrow, ADVICE)
    assert origins(study)[:2] == ["advice", "quota"]
    assert "recipe_extractor is not tried: the study's search space leaves out width_1 1000" in caplog.text
    assert "recipe_partial is not tried" in caplog.text and "optimizer sgd" in caplog.text


@pytest.mark.parametrize("image_size", [(32,), (64,), (32, 64, 224)])
@pytest.mark.parametrize("strategy", [ADVICE.strategy, *RECIPES.values()])
def test_suggest_inverts_as_params(spec: StudySpec, strategy: Strategy, image_size: tuple[int, ...]) -> None:
    spec = spec.model_copy(update={"search": spec.search.model_copy(update={"image_size": image_size})})
    strategy = replace(strategy, image_size=image_size[-1])
    params = as_params(strategy, spec)
    assert outside(params, spec) == []
    found = suggest(optuna.trial.FixedTrial(params), spec)  # type: ignore[arg-type]
    if image_size == (32,):  # the last map is a single point, so that pooling makes no difference
        found = Strategy(**{**_fields(found), "pooling": strategy.pooling})
    assert found == strategy


def _fields(strategy: Strategy) -> dict[str, Any]:
    return {name: getattr(strategy, name) for name in Strategy.__slots__}


def test_every_drawn_strategy_lies_in_the_space(study_file: Path) -> None:
    rates = dict.fromkeys(KINDS, (1e-05, 0.01))
    changes = {"search.strategies": KINDS, "search.learning_rate": rates, "budget.epochs": 5}
    spec = StudySpec.load(str(study_file), changes)[0]
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=optuna.samplers.RandomSampler(0))
    drawn = []
    for _ in range(200):
        trial = study.ask()
        drawn.append(suggest(trial, spec))
        assert outside(trial.params, spec) == []
        assert ("frozen" in trial.params) == (drawn[-1].kind == "freeze_first_k")
        assert ("dropout" in trial.params) == bool(drawn[-1].head)
        assert ("head_epochs" in trial.params) == (drawn[-1].kind == "two_phase")
        assert as_params(drawn[-1], spec) == trial.params
    assert {strategy.kind for strategy in drawn} == set(KINDS)
    assert {strategy.frozen for strategy in drawn if strategy.kind == "freeze_first_k"} == set(range(1, N_CONVS))
    assert {len(strategy.head) for strategy in drawn} == {0, 1, 2, 3}
    two_phase = [strategy for strategy in drawn if strategy.kind == "two_phase"]
    assert {strategy.head_epochs for strategy in two_phase} == {1, 2, 3}
    assert min(strategy.frozen for strategy in two_phase) == 0
    assert max(strategy.rate_factor for strategy in two_phase) <= 0.3


class TestWorker:
    """Trials of a real study with a stub instead of training."""

    @pytest.fixture(autouse=True)
    def _stubbed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ran: list[Strategy] = []

        def run_trial(strategy: Strategy, problem: Problem, *, seed: int, on_checkpoint: object) -> TrialResult:
            self.ran.append(strategy)
            return TrialResult("complete", 1e9, 1e9, val_accuracy=0.5)

        monkeypatch.setattr(search_worker, "run_trial", run_trial)

    def worker(self, store: Store, problem: Problem) -> Worker:
        return Worker(open_study(store, "tiny"), store, problem, session(store, problem.spec), lambda _: None)

    def run(self, store: Store, problem: Problem, n: int = 1000) -> None:
        self.worker(store, problem).run(lambda *_: None, stop=lambda: len(self.ran) >= n)

    def test_runs_exactly_the_plan_and_no_point_twice(self, store: Store, tiny_problem: Problem) -> None:
        plan(open_study(store, "tiny"), store, tiny_problem.spec, ADVICE)
        self.run(store, tiny_problem, 3)
        self.run(store, tiny_problem)
        self.run(store, tiny_problem)
        assert len(self.ran) == tiny_problem.spec.budget.trials == len(set(self.ran))
        assert self.ran[0].kind == "freeze_first_k" and self.ran[0].frozen == 7
        states = Counter(trial.state for trial in open_study(store, "tiny").get_trials())
        assert states == {TrialState.COMPLETE: 8}
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
        study = open_study(store, "tiny")
        plan(study, store, tiny_problem.spec, ADVICE)
        assert not standing(study).predicted and standing(study).work_left == 8
        self.run(store, tiny_problem, 4)
        predicted = store.trials.frame("tiny")["predicted_seconds"]
        assert np.isnan(predicted[0]), "nothing had run: there was nothing to predict from"
        assert (predicted[1:] > 0).all()
        now = standing(study)
        assert now.predicted and now.work_done >= predicted.sum() and now.work_left > 0
        device = store.trials.frame("tiny")["device"][0]
        trials, baselines = store.trials.recent("tiny", device, 2), store.baselines.measured_on("tiny", device)
        assert [trial["number"] for trial in trials] == [2, 3] and not baselines
        assert store.trials.recent("tiny", "another", 2) == store.baselines.measured_on("tiny", "another") == []
        assert store.trials.ended("tiny", 0) == {0, 1, 2, 3} and not store.trials.ended("tiny", 1)

    def test_a_resumed_study_draws_the_same_trials(
        self, tmp_path: Path, spec: StudySpec, tiny_problem: Problem
    ) -> None:
        drawn = []
        for name, pieces in (("whole", [1000]), ("pieces", [2, 5, 1000])):
            store = Store(f"sqlite:///{tmp_path}/{name}.db")
            store.studies.create("tiny", spec={}, data={}, advice={})
            plan(open_study(store, "tiny"), store, spec, ADVICE)
            self.ran = []
            for n in pieces:
                self.run(store, tiny_problem, n)
            drawn.append(self.ran)
        assert drawn[0] == drawn[1]

    def test_fewer_trials_than_planned_are_respected(self, store: Store, tiny_problem: Problem) -> None:
        plan(open_study(store, "tiny"), store, tiny_problem.spec, ADVICE)
        spec = trials(tiny_problem.spec, 4)
        fewer = Problem(spec, tiny_problem.split, tiny_problem.backbone, tiny_problem.features, tiny_problem.networks)
        self.run(store, fewer)
        assert len(self.ran) == 4

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), ZeroDivisionError("a bug")])
    def test_an_interrupted_trial_waits_again(
        self, store: Store, tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch, error: BaseException
    ) -> None:
        study = open_study(store, "tiny")
        plan(study, store, tiny_problem.spec, ADVICE)
        self.run(store, tiny_problem, 1)
        with monkeypatch.context() as patched:

            def failing(*_: object, **__: object) -> TrialResult:
                raise error

            patched.setattr(search_worker, "run_trial", failing)
            with pytest.raises(type(error)):
                self.worker(store, tiny_problem).run(lambda *_: None, stop=lambda: False)
        assert study.get_trials()[1].state == TrialState.WAITING
        assert store.trials.frame("tiny")["number"].tolist() == [0]
        self.run(store, tiny_problem)
        assert len(store.trials.frame("tiny")) == len(study.get_trials()) == 8

    def test_a_trial_of_a_dead_process_is_run_again_with_its_parameters(
        self, store: Store, tiny_problem: Problem
    ) -> None:
        study, dead = self.killed(store, tiny_problem, during="training")
        params = study.get_trials()[0].params
        assert recover(study, store, Watch(store, "tiny")) == 1
        assert recover(study, store, Watch(store, "tiny")) == 0
        assert study.get_trials()[0].state == TrialState.WAITING
        assert store.sessions.frame("tiny").set_index("id").loc[dead, "outcome"] == "killed"
        self.run(store, tiny_problem)
        again = study.get_trials()[0]
        assert (again.state, again.params) == (TrialState.COMPLETE, params)
        assert len(study.get_trials()) == 8

    def test_a_trial_killed_before_its_start_is_recovered(self, store: Store, tiny_problem: Problem) -> None:
        study, _ = self.killed(store, tiny_problem, during="claim")
        assert recover(study, store, Watch(store, "tiny")) == 1

    def test_a_trial_killed_between_the_two_records_is_not_run_twice(self, store: Store, tiny_problem: Problem) -> None:
        study, _ = self.killed(store, tiny_problem, during="telling")
        assert recover(study, store, Watch(store, "tiny")) == 0
        stored = study.get_trials()[0]
        assert (stored.state, stored.values) == (TrialState.COMPLETE, [0.5, 1e9])

    def test_a_trial_that_always_kills_its_process_is_given_up(self, store: Store, tiny_problem: Problem) -> None:
        for _ in range(search_worker.MAX_RETRIES + 1):
            study, _ = self.killed(store, tiny_problem, during="training")
            recover(study, store, Watch(store, "tiny"))
        self.run(store, tiny_problem)
        row = store.trials.frame("tiny").iloc[0]
        assert (row["status"], row["reason"]) == ("failed", "its process died 3 times in this trial")
        assert study.get_trials()[0].state == TrialState.FAIL
        assert len(self.ran) == 7

    def test_a_trial_of_a_living_process_is_left_alone(self, store: Store, tiny_problem: Problem) -> None:
        study = open_study(store, "tiny")
        plan(study, store, tiny_problem.spec, ADVICE)
        worker = self.worker(store, tiny_problem)
        assert worker._claim() == Ticket(0, 0)
        worker._begin(0, seed=1)
        assert recover(study, store, Watch(store, "tiny")) == 0
        assert study.get_trials()[0].state == TrialState.RUNNING

    def killed(self, store: Store, problem: Problem, *, during: str) -> tuple[optuna.Study, int]:
        """Leave trial 0 as a process that dies at this moment does, and return the id of its session."""
        study = open_study(store, "tiny")
        plan(study, store, problem.spec, ADVICE)
        dead = store.sessions.begin(
            "tiny", command="", spec={}, environment={"commit": "c", "device": "d"}, host=host(),
            pid=2**22 + 1, process_started=0.0,
        )  # fmt: skip
        worker = Worker(study, store, problem, dead, lambda _: None)
        ticket = worker._claim()
        assert ticket is not None and ticket.number == 0
        if during != "claim":
            worker._begin(0, seed=1)
        if during == "telling":
            store.trials.end("tiny", 0, TrialResult("complete", 1e9, 1e9, val_accuracy=0.5), session=dead)
        return study, dead


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"data.train_size": 90}, ["data.train_size was 96, now 90"]),
        (
            {"search.dropout": [0.0, 0.9], "seed": 4},
            ["search.dropout was [0.0, 0.6], now [0.0, 0.9]", "seed was 0, now 4"],
        ),
        ({"budget.epochs": 7}, ["budget.epochs was 2, now 7"]),
        (
            {"metric": "macro_f1", "class_weights": True},
            ["metric was 'accuracy', now 'macro_f1'", "class_weights was False, now True"],
        ),
    ],
)
def test_a_changed_problem_is_refused_key_by_key(study_file: Path, changes: dict[str, Any], named: list[str]) -> None:
    before = StudySpec.load(str(study_file))[0].model_dump(mode="json")
    with pytest.raises(SpecError) as refused:
        check_same_problem(before, StudySpec.load(str(study_file), changes)[0])
    assert all(words in str(refused.value) for words in named) and "--fresh" in str(refused.value)


def test_settings_that_keep_results_comparable_may_change(study_file: Path) -> None:
    before = StudySpec.load(str(study_file))[0].model_dump(mode="json")
    changes = {"budget.trials": 90, "budget.time_limit": 3.0, "pruning.margin": 0.1, "budget.max_trial_cost": 2.0}
    check_same_problem(before, StudySpec.load(str(study_file), changes)[0])


def test_a_study_stored_without_a_metric_uses_accuracy(study_file: Path) -> None:
    before = StudySpec.load(str(study_file))[0].model_dump(mode="json")
    del before["metric"], before["class_weights"]
    check_same_problem(before, StudySpec.load(str(study_file))[0])
    with pytest.raises(SpecError, match="metric was 'accuracy', now 'macro_f1'"):
        check_same_problem(before, StudySpec.load(str(study_file), {"metric": "macro_f1"})[0])


def test_search_and_pruning_use_the_metric_of_the_study(
    tmp_path: Path, tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tiny_problem.spec.model_copy(update={"metric": "macro_f1"})
    problem = Problem(spec, *list(vars(tiny_problem).values())[1:])
    store = Store(f"sqlite:///{tmp_path}/study.db")
    store.studies.create("tiny", spec=spec.model_dump(mode="json"), data={}, advice={})
    study = open_study(store, "tiny")
    plan(study, store, spec, ADVICE)
    seen: list[str | None] = []

    def run_trial(strategy: Strategy, problem: Problem, *, seed: int, on_checkpoint: Any) -> TrialResult:
        first = not seen
        curve = [Checkpoint(1, 1e6, 1.0, 1.0, 1.0, val_accuracy=0.3 if first else 0.99, val_macro_f1=0.9 * first)]
        seen.append(on_checkpoint(curve))
        return TrialResult("complete", 1e6, 1e6, val_accuracy=0.5, val_macro_f1=0.25)

    monkeypatch.setattr(search_worker, "run_trial", run_trial)
    worker = Worker(study, store, problem, session(store, spec), lambda _: None)
    worker.run(lambda *_: None, stop=lambda: len(seen) >= 2)
    assert study.metric_names == ["val_macro_f1", "train_flops"]
    assert [trial.values[0] for trial in study.get_trials()[:2]] == [0.25, 0.25]
    assert seen[0] is None
    assert seen[1] is not None and "macro F1 0.000" in seen[1] and "the front's 0.900" in seen[1]


def test_pruning_uses_the_second_phase_alone(tmp_path: Path, tiny_problem: Problem) -> None:
    spec = tiny_problem.spec.model_copy(update={"budget": tiny_problem.spec.budget.model_copy(update={"epochs": 5})})
    problem = Problem(spec, *list(vars(tiny_problem).values())[1:])
    store = Store(f"sqlite:///{tmp_path}/study.db")
    store.studies.create("tiny", spec=spec.model_dump(mode="json"), data={}, advice={})
    mine = session(store, spec)
    one_phase = Strategy("fine_tune_all", 0, "average", (), 0.0, "adam", 1e-3, image_size=32)
    two_phase = Strategy("two_phase", 5, "average", (), 0.0, "adam", 1e-2, 2, 0.1, image_size=32)
    falls = {one_phase: [0.6, 0.62, 0.64, 0.64, 0.64], two_phase: [0.6, 0.6, 0.6, 0.97, 0.98]}
    store.tickets.add("tiny", range(30))

    def curve(accuracies: list[float]) -> list[Checkpoint]:
        return [Checkpoint(i, i * 1e3, i, 1.0, 1.0, accuracy) for i, accuracy in enumerate(accuracies, start=1)]

    for number, strategy in enumerate([one_phase] * 10 + [two_phase] * 10):
        store.tickets.claim("tiny", mine, 30)
        store.trials.begin("tiny", number, TrialStart(strategy, "quota", seed=1, planned_flops=1.0), session=mine)
        for point in curve(falls[strategy]):
            store.trials.record_checkpoint("tiny", number, point, session=mine)
        store.trials.end("tiny", number, TrialResult("complete", 1e9, 1e9, val_accuracy=0.9), session=mine)
    one, two = Judge(store, problem, 99, one_phase), Judge(store, problem, 99, two_phase)
    spared = Judge(store, problem, 99, advised(32)["fine_tune_all"])
    assert spared.verdict(curve([0.6])) is None, "the strategies are compared by it"
    off = problem.spec.model_copy(update={"pruning": problem.spec.pruning.model_copy(update={"enabled": False})})
    assert Judge(store, replace(problem, spec=off), 99, one_phase).verdict(curve([0.6])) is None, "--no-pruning"
    assert one.verdict(curve([0.6])) is not None, "no trial of one phase has come far from there"
    assert two.verdict(curve([0.6])) is None and two.verdict(curve([0.1, 0.1])) is None
    assert two.verdict(curve([0.6, 0.6, 0.6])) is None, "others have come far from there"
    assert two.verdict(curve([0.6, 0.6, 0.6, 0.7])) is not None


def test_different_trials_have_different_seeds() -> None:
    assert len({trial_seed(base, number) for base in range(5) for number in range(200)}) == 1000


def test_the_machine_that_creates_a_study_decides_its_precision(store: Store, spec: StudySpec) -> None:
    assert spec.budget.precision == "auto"
    begun = resolve_precision(spec, None, lambda: "bfloat16")
    assert begun.budget.precision == "bfloat16"
    store.studies.create("begun", spec=begun.model_dump(mode="json"), data={}, advice={})
    again = resolve_precision(spec, store.studies.find("begun"), lambda: "float32")
    assert again == begun, "another machine, or another day, takes what the study was begun with"
    asked = spec.model_copy(update={"budget": spec.budget.model_copy(update={"precision": "float32"})})
    assert resolve_precision(asked, store.studies.find("begun"), lambda: "bfloat16") is asked, (
        "what is asked for is not overruled"
    )
