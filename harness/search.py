"""The search: which strategies are tried, in which order, and what becomes of each. Optuna is used here only."""

import hashlib
import logging
import math
import os
import socket
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import optuna
from optuna.trial import FrozenTrial, TrialState

from harness.advice import RECIPES, Advice
from harness.cost import Cost
from harness.environment import process_started
from harness.errors import SpecError
from harness.pareto import front
from harness.problem import Problem
from harness.pruning import should_stop
from harness.results import Checkpoint, Status, TrialResult
from harness.spec import SearchSpace, StudySpec
from harness.store import Store
from harness.strategy import N_CONVS, Kind, OptimizerName, Pooling, Strategy
from harness.trial import run_trial

log = logging.getLogger(__name__)

optuna.logging.set_verbosity(optuna.logging.WARNING)  # progress is ours to show

MAX_RETRIES = 2
"""How often a trial whose process died is begun again before it counts as failed."""

OnTrial = Callable[[int, Strategy, TrialResult], None]
"""Told the number, the strategy and the result of every trial this process has finished."""


def open_study(store: Store, name: str) -> optuna.Study:
    """The Optuna study of that name, made if there is none: validation accuracy up, training FLOPs down."""
    study = optuna.create_study(
        storage=store.optuna_storage(), study_name=name, directions=["maximize", "minimize"], load_if_exists=True
    )
    with _experimental():
        study.set_metric_names(["val_accuracy", "train_flops"])
    return study


def plan(study: optuna.Study, spec: StudySpec, advice: Advice) -> None:
    """Put a waiting trial into the storage for each that ``spec.budget.trials`` still lacks.

    Trial 0 is the advice, 1 and 2 the article's recipes; then each strategy in turn until it has its minimum share; the
    rest are the sampler's. Waiting trials are claimed one by one, by whichever worker is free, so that exactly the
    number asked for is run. A study that has been planned for as many already is left as it is.
    """
    trials = study.get_trials(deepcopy=False)
    missing = spec.budget.trials - len(trials)
    if missing <= 0:
        return
    wanted: list[tuple[str, dict[str, Any]]] = []
    if not trials:
        for origin, strategy in {"advice": advice.strategy, **RECIPES}.items():
            params = as_params(strategy, spec)
            problems = outside(params, spec.search)
            if problems:
                log.warning("%s is not tried: the study's search space leaves out %s", origin, "; ".join(problems))
            else:
                wanted.append((origin, params))
    counted = Counter(_planned_kind(trial) for trial in trials)
    counted.update(params["strategy"] for _, params in wanted[:missing])
    quota = math.ceil(spec.search.minimum_share * spec.budget.trials - 1e-9)
    while len(wanted) < missing:
        kind = min(spec.search.strategies, key=lambda kind: counted[kind])
        if counted[kind] >= quota:
            break
        counted[kind] += 1
        wanted.append(("quota", {"strategy": kind}))
    wanted += [("sampler", {})] * (missing - len(wanted))
    for origin, params in wanted[:missing]:
        study.enqueue_trial(params, user_attrs={"origin": origin})


def suggest(trial: optuna.Trial, spec: StudySpec) -> Strategy:
    """Draw a strategy from the study's space. A parameter is asked for only where it means something: k only for
    ``freeze_first_k``, dropout only behind a hidden layer, pooling only where the last map is larger than one point."""
    space = spec.search
    kind = cast(Kind, trial.suggest_categorical("strategy", space.strategies))
    frozen = {"feature_extraction": N_CONVS}.get(kind, 0)
    if kind == "freeze_first_k":
        frozen = trial.suggest_int("frozen_convs", *space.frozen_convs)
    pooling = space.pooling[0]
    if _pooling_matters(spec):
        pooling = cast(Pooling, trial.suggest_categorical("pooling", space.pooling))
    hidden = trial.suggest_int("hidden_layers", *space.hidden_layers)
    head = tuple(trial.suggest_int(f"width_{i}", *space.head_width, log=True) for i in range(1, hidden + 1))
    dropout = trial.suggest_float("dropout", *space.dropout) if hidden else 0.0
    optimizer = cast(OptimizerName, trial.suggest_categorical("optimizer", space.optimizer))
    rate = trial.suggest_float(f"learning_rate_{kind}", *space.learning_rate[kind], log=True)
    return Strategy(kind, frozen, pooling, head, dropout, optimizer, rate)


def as_params(strategy: Strategy, spec: StudySpec) -> dict[str, Any]:
    """The parameters with which `suggest` gives ``strategy``."""
    params: dict[str, Any] = {"strategy": strategy.kind}
    if strategy.kind == "freeze_first_k":
        params["frozen_convs"] = strategy.frozen_convs
    if _pooling_matters(spec):
        params["pooling"] = strategy.pooling
    params["hidden_layers"] = len(strategy.head)
    params |= {f"width_{i}": width for i, width in enumerate(strategy.head, start=1)}
    if strategy.head:
        params["dropout"] = strategy.dropout
    params["optimizer"] = strategy.optimizer
    params[f"learning_rate_{strategy.kind}"] = strategy.learning_rate
    return params


def outside(params: Mapping[str, Any], space: SearchSpace) -> list[str]:
    """Which of ``params`` the space does not hold, in words. Optuna would take them with a warning, or drop them."""
    problems = []
    for name, value in params.items():
        choices: dict[str, Sequence[Any]] = {
            "strategy": space.strategies, "pooling": space.pooling, "optimizer": space.optimizer,
        }  # fmt: skip
        if name in choices:
            if value not in choices[name]:
                problems.append(f"{name} {value}")
            continue
        if name.startswith("learning_rate_"):
            ranges = [range_ for kind, range_ in space.learning_rate.items() if name == f"learning_rate_{kind}"]
        else:
            ranges = [space.head_width if name.startswith("width_") else getattr(space, name)]
        if not all(low <= value <= high for low, high in ranges):
            problems.append(f"{name} {value}")
    return problems


def _pooling_matters(spec: StudySpec) -> bool:
    return spec.data.image_size >= 64  # below, five halvings leave a single point


def _planned_kind(trial: FrozenTrial) -> Any:
    return trial.params.get("strategy", trial.system_attrs.get("fixed_params", {}).get("strategy"))


def recover(study: optuna.Study, store: Store) -> int:
    """Give trials whose process is gone back to the plan, with their number and parameters; how many there were.

    A trial belongs to the session that claimed it. Where that session's process no longer lives on this machine the
    trial waits again, unless its result had been recorded: then Optuna is told what it had missed.
    """
    alive = set()
    for session in store.open_sessions(study.study_name):
        if session.host != socket.gethostname() or process_started(session.pid) == session.process_started:
            alive.add(session.id)
        else:
            store.end_session(session.id, "killed")
    orphans = [
        trial
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if trial.user_attrs.get("session") not in alive
    ]
    recorded = {row["number"]: row for row in store.trials(study.study_name).to_dict("records")} if orphans else {}
    waiting = 0
    for trial in orphans:
        if trial.number in recorded:
            row = recorded[trial.number]
            _tell(study, trial.number, row["status"], row["val_accuracy"], row["train_flops"])
            continue
        log.warning("trial %d was left by a process that is gone: it is run again", trial.number)
        study._storage.set_trial_user_attr(trial._trial_id, "retries", trial.user_attrs.get("retries", 0) + 1)
        study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
        waiting += 1
    return waiting


def _tell(study: optuna.Study, number: int, status: Status, val_accuracy: float | None, train_flops: float) -> None:
    """Close the trial in Optuna. What was stopped early is PRUNED there, so that it has no values to compare."""
    if status == "complete":
        assert val_accuracy is not None
        study.tell(number, [val_accuracy, train_flops])
    else:
        study.tell(number, state=TrialState.FAIL if status == "failed" else TrialState.PRUNED)


class Worker:
    """Claims waiting trials of one study one after the other, runs and records them."""

    def __init__(
        self, study: optuna.Study, store: Store, problem: Problem, session: int, advance: Callable[[Checkpoint], None]
    ) -> None:
        """``session`` is that of this process in the store; ``advance`` is told of every checkpoint."""
        self._study = study
        self._store = store
        self._problem = problem
        self._session = session
        self._advance = advance
        self._running: optuna.Trial | None = None

    def run(self, on_trial: OnTrial, *, stop: Callable[[], bool]) -> None:
        """Run trials until none waits or ``stop`` says so before a new one.

        When an exception comes through (Ctrl-C, a bug, a storage that fails), the running trial goes back to the plan
        where the storage still answers, and nothing recorded is lost.
        """
        try:
            while not stop():
                trial = self._claim()
                if trial is None:
                    return
                on_trial(trial.number, *self._run(trial))
        except BaseException:
            self._release()
            raise

    def _claim(self) -> optuna.Trial | None:
        """The first waiting trial that no other worker takes before us, None where there is none left."""
        for waiting in self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            if waiting.number >= self._problem.spec.budget.trials:
                break
            storage, trial_id = self._study._storage, waiting._trial_id
            # The owner is written first: were it missing for a moment, another process would take the trial for lost.
            storage.set_trial_user_attr(trial_id, "session", self._session)
            if storage.set_trial_state_values(trial_id, TrialState.RUNNING):
                storage.set_trial_user_attr(trial_id, "session", self._session)
                self._study.sampler = _sampler(self._problem.spec.seed, waiting.number)
                self._running = optuna.Trial(self._study, trial_id)
                return self._running
        return None

    def _run(self, trial: optuna.Trial) -> tuple[Strategy, TrialResult]:
        spec, store, name = self._problem.spec, self._store, self._study.study_name
        strategy = suggest(trial, spec)
        seed = _seed(spec.seed, trial.number)
        cost = self._problem.cost(strategy)
        n_train, epochs = len(self._problem.split.train), spec.budget.epochs
        store.begin_trial(
            name,
            trial.number,
            session=self._session,
            strategy=strategy,
            origin=trial.user_attrs["origin"],
            seed=seed,
            planned_flops=cost.at(n_train, epochs),
        )
        retries = trial.user_attrs.get("retries", 0)
        if retries > MAX_RETRIES:
            reason = f"its process died {retries} times in this trial"
            result = TrialResult("failed", 0.0, cost.at(n_train, epochs), reason=reason)
        else:
            judge = Judge(store, self._problem, trial.number, cost)

            def on_checkpoint(curve: Sequence[Checkpoint]) -> str | None:
                store.record_checkpoint(name, trial.number, curve[-1])
                self._advance(curve[-1])
                return judge.verdict(curve)

            result = run_trial(strategy, self._problem, seed=seed, on_checkpoint=on_checkpoint)
        trial.set_user_attr("status", result.status)
        trial.set_user_attr("strategy", strategy.label())
        if result.reason:
            trial.set_user_attr("reason", result.reason)
        store.end_trial(name, trial.number, result)
        _tell(self._study, trial.number, result.status, result.val_accuracy, result.train_flops)
        self._running = None
        return strategy, result

    def _release(self) -> None:
        if self._running is not None:
            self._study._storage.set_trial_state_values(self._running._trial_id, TrialState.WAITING)
            self._running = None


class Judge:
    """Whether a running trial can still reach the front, from all curves there were when it began."""

    def __init__(self, store: Store, problem: Problem, number: int, cost: Cost) -> None:
        """``cost`` is that of the trial ``number``."""
        spec, name = problem.spec, problem.spec.name
        self._pruning, self._epochs = spec.pruning, spec.budget.epochs
        self._n_classes = problem.split.n_classes
        self._flops = [cost.at(len(problem.split.train), epoch) for epoch in range(1, self._epochs + 1)]
        if not self._pruning.enabled:
            return
        curves = store.checkpoints(name)
        curves = curves[curves["number"] != number]
        best = front(curves["train_flops"].to_numpy(), curves["val_accuracy"].to_numpy())
        self._front = curves.iloc[best]
        trials = store.trials(name)
        complete = set(trials.loc[trials["status"] == "complete", "number"])
        self._history = [
            [Checkpoint(*point) for point in curve[list(Checkpoint.__slots__)].itertuples(index=False)]
            for other, curve in curves.groupby("number")
            if other in complete
        ]

    def verdict(self, curve: Sequence[Checkpoint]) -> str | None:
        """A reason to stop the trial whose curve so far is ``curve``, or None."""
        if not self._pruning.enabled:
            return None
        return should_stop(
            curve,
            self._epochs,
            self._flops[len(curve) :],
            self._front["train_flops"].to_numpy(),
            self._front["val_accuracy"].to_numpy(),
            self._history,
            self._pruning.margin,
            self._n_classes,
        )


def begin_session(store: Store, spec: StudySpec, *, command: str, environment: dict[str, Any]) -> int:
    """Record that this process works on the study ``name``; the session's id."""
    started = process_started(os.getpid())
    assert started is not None
    return store.begin_session(
        spec.name,
        command=command,
        spec=spec.model_dump(mode="json"),
        environment=environment,
        host=socket.gethostname(),
        pid=os.getpid(),
        process_started=started,
    )


_FREE_TO_CHANGE = {
    "name", "description", "budget.trials", "budget.time_limit", "budget.max_trial_cost", "pruning", "baselines",
}  # fmt: skip


def check_same_problem(before: Mapping[str, Any], spec: StudySpec) -> None:
    """Refuse to go on with a study whose results would no longer be comparable. Raises SpecError naming each key."""
    changed = [
        f"{key} was {old!r}, now {new!r}" for key, old, new in _differences(before, spec.model_dump(mode="json"), "")
    ]
    if changed:
        raise SpecError(
            f"study {spec.name!r} was begun with another problem: {'; '.join(changed)}. Its trials cannot be compared: "
            "take the change back, give the new study its own --name, or drop the old results with --fresh"
        )


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str) -> list[tuple[str, Any, Any]]:
    found = []
    for name in sorted(before.keys() | now.keys()):
        key, old, new = prefix + name, before.get(name), now.get(name)
        if key in _FREE_TO_CHANGE:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += _differences(old, new, f"{key}.")
        elif old != new:
            found.append((key, old, new))
    return found


def _sampler(seed: int, number: int) -> optuna.samplers.BaseSampler:
    """TPE, seeded by the trial's number: a fixed seed would repeat its points on resume and in every worker."""
    with _experimental():
        return optuna.samplers.TPESampler(
            seed=_seed(seed, number) ^ 0x5EED, multivariate=True, group=True, constant_liar=True, n_startup_trials=10
        )


@contextmanager
def _experimental() -> Iterator[None]:
    """Optuna warns of what it may change. Its version is locked, and a user can do nothing about it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def _seed(base: int, number: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{base}/{number}".encode()).digest()[:4], "little") >> 1
