"""The search: which strategies are tried, in which order, and what becomes of each. Optuna is used here only."""

import hashlib
import logging
import math
import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from statistics import fmean
from typing import Any, cast

import optuna
from optuna.trial import FrozenTrial, TrialState

from harness.core.environment import host, process_started
from harness.core.errors import SpecError, StorageError
from harness.core.results import Checkpoint, Standing, Status, TrialResult
from harness.core.spec import Precision, StudySpec
from harness.core.strategy import Kind, OptimizerName, Pooling, Strategy, depths
from harness.guidance.advice import ADVISED, RECIPES, Advice
from harness.search.planned import PlannedStorage
from harness.search.pruning import leads, should_stop
from harness.search.runtime import RECENT, Forecast, Setting
from harness.statistics.pareto import front
from harness.storage.database import patiently
from harness.storage.heartbeat import Watch
from harness.storage.store import Origin, Store, StudyRow, Ticket, TicketLost
from harness.training.fit import OUT_OF_MEMORY
from harness.training.problem import Problem
from harness.training.trial import run_trial

log = logging.getLogger(__name__)

optuna.logging.set_verbosity(optuna.logging.WARNING)  # progress is ours to show

MAX_RETRIES = 2
"""How often a trial whose process died is begun again before it counts as failed."""

_IDLE = 1.0  # seconds between looks of a worker that waits for the trials of others

OnTrial = Callable[[int, Strategy, TrialResult], None]
"""Told the number, the strategy and the result of every trial this process has finished."""


def open_study(store: Store, name: str) -> optuna.Study:
    """The Optuna study of that name, made if there is none: the study's metric up, training FLOPs down."""
    row = store.study(name)
    assert row is not None, f"no study {name!r} has been created"
    study = optuna.create_study(
        storage=PlannedStorage(store, name), study_name=name, directions=["maximize", "minimize"], load_if_exists=True
    )
    with _experimental():
        study.set_metric_names([f"val_{row.metric}", "train_flops"])
    return study


def plan(
    study: optuna.Study,
    store: Store,
    spec: StudySpec,
    advice: Advice,
    others: Sequence[tuple[Origin, Strategy]] = tuple(RECIPES.items()),
) -> None:
    """Put a waiting trial into the storage for each that ``spec.budget.trials`` still lacks.

    Trial 0 is the advice, after what the study itself recommends; then come the ``others``: the article's recipes, 1
    and 2, or an atlas's own; then what each strategy lacks of its minimum share, the cheapest first: they cost next to
    nothing and give the front against which the dear ones are judged. The rest are the sampler's. Waiting trials are
    claimed one by one, by whichever worker is free, so that exactly the number asked for is run. A study that has been
    planned for as many already is left as it is. Two runs that plan at once do so one after the other.
    """
    with store.one_at_a_time():
        recommended: list[tuple[Origin, Strategy]] = []
        if spec.recommendation is not None:  # counts towards its strategy's minimum share
            recommended.append(("quota", spec.recommendation.strategy))
        _plan(study, spec, [*recommended, ("advice", advice.strategy), *others])
        store.add_tickets(spec.name, (trial.number for trial in study.get_trials(deepcopy=False)))


def _plan(study: optuna.Study, spec: StudySpec, fixed: Sequence[tuple[Origin, Strategy]]) -> None:
    trials = study.get_trials(deepcopy=False)
    missing = spec.budget.trials - len(trials)
    if missing <= 0:
        return
    wanted: list[tuple[Origin, dict[str, Any]]] = []
    planned = Counter(trial.user_attrs["origin"] for trial in trials)
    for origin, strategy in fixed:
        planned[origin] -= 1
        if planned[origin] >= 0:
            continue
        params = as_params(strategy, spec)
        problems = outside(params, spec)
        if problems:
            log.warning("%s is not tried: the study's search space leaves out %s", origin, "; ".join(problems))
        else:
            wanted.append((origin, params))
    counted = Counter(_planned_kind(trial) for trial in trials)
    counted.update(params["strategy"] for _, params in wanted[:missing])
    quota = math.ceil(spec.search.minimum_share * spec.budget.trials - 1e-9)
    lacking: Counter[Kind] = Counter()
    while len(wanted) + lacking.total() < missing:
        kind = min(spec.search.strategies, key=lambda kind: counted[kind])
        if counted[kind] >= quota:
            break
        counted[kind] += 1
        lacking[kind] += 1
    wanted += [("quota", params) for params in _cheapest_first(lacking, counted, spec)]
    wanted += [("sampler", {})] * (missing - len(wanted))
    for origin, params in wanted[:missing]:
        study.enqueue_trial(params, user_attrs={"origin": origin})


def _cheapest_first(lacking: Mapping[Kind, int], counted: Mapping[Kind, int], spec: StudySpec) -> list[dict[str, Any]]:
    """So many trials of each strategy. The first of a strategy that has none is the one the article would advise for
    its scenario. Of the others only what decides their cost is given, and the sampler draws the rest: k in the middles
    of equal parts of its range, so that all depths are seen early. Of equal cost, in turn."""
    low, high = spec.search.frozen_convs
    trials: list[tuple[tuple[int, int], dict[str, Any]]] = []
    for kind, count in lacking.items():
        if counted[kind] == count and kind in ADVISED and not outside(advised := as_params(ADVISED[kind], spec), spec):
            trials.append(((-ADVISED[kind].frozen_convs, 0), advised))
            count -= 1
        for turn in range(count):
            params: dict[str, Any] = {"strategy": kind}
            frozen, _ = depths(kind)
            if kind == "freeze_first_k":
                frozen = params["frozen_convs"] = round(high - (turn + 0.5) / count * (high - low))
            trials.append(((-frozen, turn + 1), params))
    return [params for _, params in sorted(trials, key=itemgetter(0))]


def suggest(trial: optuna.Trial, spec: StudySpec) -> Strategy:
    """Draw a strategy from the study's space. A parameter is asked for only where it means something: k only for
    ``freeze_first_k`` and ``two_phase``, dropout only behind a hidden layer, pooling only where the last map is larger
    than one point."""
    space = spec.search
    kind = cast(Kind, trial.suggest_categorical("strategy", space.strategies))
    frozen, _ = depths(kind)
    if kind == "freeze_first_k":
        frozen = trial.suggest_int("frozen_convs", *space.frozen_convs)
    if kind == "two_phase":
        frozen = trial.suggest_int("frozen_convs_two_phase", 0, space.frozen_convs[1])
    pooling = space.pooling[0]
    if _pooling_matters(spec):
        pooling = cast(Pooling, trial.suggest_categorical("pooling", space.pooling))
    hidden = trial.suggest_int("hidden_layers", *space.hidden_layers)
    head = tuple(trial.suggest_int(f"width_{i}", *space.head_width, log=True) for i in range(1, hidden + 1))
    dropout = trial.suggest_float("dropout", *space.dropout) if hidden else 0.0
    optimizer = cast(OptimizerName, trial.suggest_categorical("optimizer", space.optimizer))
    rate = trial.suggest_float(f"learning_rate_{kind}", *space.learning_rate[kind], log=True)
    if kind != "two_phase":
        return Strategy(kind, frozen, pooling, head, dropout, optimizer, rate)
    epochs = trial.suggest_int("head_epochs", *spec.head_epochs)
    factor = trial.suggest_float("rate_factor", *space.rate_factor, log=True)
    return Strategy(kind, frozen, pooling, head, dropout, optimizer, rate, epochs, factor)


def as_params(strategy: Strategy, spec: StudySpec) -> dict[str, Any]:
    """The parameters with which `suggest` gives ``strategy``."""
    params: dict[str, Any] = {"strategy": strategy.kind}
    if strategy.kind == "freeze_first_k":
        params["frozen_convs"] = strategy.frozen_convs
    if strategy.kind == "two_phase":
        params["frozen_convs_two_phase"] = strategy.frozen_convs
        params |= {"head_epochs": strategy.head_epochs, "rate_factor": strategy.rate_factor}
    if _pooling_matters(spec):
        params["pooling"] = strategy.pooling
    params["hidden_layers"] = len(strategy.head)
    params |= {f"width_{i}": width for i, width in enumerate(strategy.head, start=1)}
    if strategy.head:
        params["dropout"] = strategy.dropout
    params["optimizer"] = strategy.optimizer
    params[f"learning_rate_{strategy.kind}"] = strategy.learning_rate
    return params


def outside(params: Mapping[str, Any], spec: StudySpec) -> list[str]:
    """Which of ``params`` the study's space does not hold, in words. Optuna would take them with a warning, or drop
    them."""
    space, problems = spec.search, []
    choices: dict[str, Sequence[Any]] = {
        "strategy": space.strategies, "pooling": space.pooling, "optimizer": space.optimizer,
    }  # fmt: skip
    ranges: dict[str, tuple[float, float]] = {
        "frozen_convs": space.frozen_convs, "frozen_convs_two_phase": (0, space.frozen_convs[1]),
        "hidden_layers": space.hidden_layers, **{f"width_{i}": space.head_width for i in (1, 2, 3)},
        "dropout": space.dropout, "head_epochs": spec.head_epochs, "rate_factor": space.rate_factor,
        **{f"learning_rate_{kind}": range_ for kind, range_ in space.learning_rate.items()},
    }  # fmt: skip
    for name, value in params.items():
        if name in choices:
            if value not in choices[name]:
                problems.append(f"{name} {value}")
            continue
        low, high = ranges.get(name, (value, value))  # a strategy that is left out may have no range of rates
        if not low <= value <= high:
            problems.append(f"{name} {value}")
    return problems


def _pooling_matters(spec: StudySpec) -> bool:
    return spec.data.image_size >= 64  # below, five halvings leave a single point


def _planned_kind(trial: FrozenTrial) -> Any:
    return trial.params.get("strategy", trial.system_attrs.get("fixed_params", {}).get("strategy"))


def recover(study: optuna.Study, store: Store, watch: Watch) -> int:
    """Give trials whose process is gone back to the plan, with their number and parameters; how many there were.

    The tickets say who has which trial; Optuna's states follow them, also where a process was lost between the two.
    """
    name = study.study_name
    taken = [number for session in watch.dead() for number in store.withdraw(name, session)]
    for number in taken:
        log.warning("trial %d was left by a process that is gone: it is run again", number)
    # Read in this order: a trial that is claimed in between is no longer free. What was taken may have been claimed and
    # lost between two looks of this process, and was never seen running.
    unfinished = study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING))
    running = {trial.number for trial in unfinished if trial.state == TrialState.RUNNING}
    for number in running.union(taken) & store.free_numbers(name):
        _set_state(study, number, TrialState.WAITING)
    if unfinished and (begun := store.study(name)) is not None:
        rows: dict[int, dict[Hashable, Any]] = {row["number"]: row for row in store.trials(name).to_dict("records")}
        for trial in unfinished:
            if (row := rows.get(trial.number)) is not None:
                score = row[f"val_{begun.metric}"]
                _tell(study, trial.number, row["status"], row["reason"], score, row["train_flops"])
    return len(taken)


def _set_state(study: optuna.Study, number: int, state: TrialState) -> int:
    """Bring a trial to that state in Optuna; its id there. One that has finished stays so."""
    storage = study._storage
    trial_id = storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
    with suppress(optuna.exceptions.UpdateFinishedTrialError):
        storage.set_trial_state_values(trial_id, state)
    return trial_id


def _tell(
    study: optuna.Study, number: int, status: Status, reason: str, score: float | None, train_flops: float
) -> None:
    """Close the trial in Optuna. What was stopped early is PRUNED there, so that it has no values to compare.

    What is told comes from our own record, so that it is the same whoever tells it, and however often.
    """
    trial_id = _set_state(study, number, TrialState.RUNNING)
    with suppress(optuna.exceptions.UpdateFinishedTrialError):
        study._storage.set_trial_user_attr(trial_id, "status", status)
        if reason:
            study._storage.set_trial_user_attr(trial_id, "reason", reason)
        if status == "complete":
            assert score is not None
            study.tell(number, [score, train_flops], skip_if_finished=True)
        else:
            state = TrialState.FAIL if status == "failed" else TrialState.PRUNED
            study.tell(number, state=state, skip_if_finished=True)


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
        self._watch = Watch(store, study.study_name)
        self._running: int | None = None

    @cached_property
    def _device(self) -> str:
        """What this process computes on."""
        sessions = self._store.sessions(self._study.study_name)
        return str(sessions.loc[sessions["id"] == self._session, "device"].iloc[0])

    def run(self, on_trial: OnTrial, *, stop: Callable[[], bool]) -> None:
        """Run trials until all that were asked for are finished, or ``stop`` says so before a new one.

        With none left to claim it waits for those that others run: what a lost process leaves is done here.

        When an exception comes through (Ctrl-C, a bug, a storage that fails), the running trial goes back to the plan
        where the storage still answers, and nothing recorded is lost.
        """
        try:
            patiently(lambda: recover(self._study, self._store, self._watch))
            while not stop():
                ticket = patiently(self._claim)
                if ticket is None:
                    if patiently(self._all_finished):
                        return
                    time.sleep(_IDLE)
                    continue
                try:
                    on_trial(ticket.number, *self._run(ticket))
                except TicketLost as lost:
                    log.warning("%s: this process was taken for dead and its result is dropped", lost)
                    patiently(lambda: self._store.beat(self._session))
                self._running = None
        except BaseException:
            self._release()
            raise

    def _claim(self) -> Ticket | None:
        ticket = self._store.claim(self._study.study_name, self._session, self._problem.spec.budget.trials)
        self._running = None if ticket is None else ticket.number
        return ticket

    def _all_finished(self) -> bool:
        recover(self._study, self._store, self._watch)
        return finished(self._study) >= self._problem.spec.budget.trials

    def _run(self, ticket: Ticket) -> tuple[Strategy, TrialResult]:
        store, name, number = self._store, self._study.study_name, ticket.number
        seed = _seed(self._problem.spec.seed, number)
        strategy = patiently(lambda: self._begin(number, seed))
        planned = self._problem.cost(strategy).at(len(self._problem.split.train), self._problem.spec.budget.epochs)
        if ticket.retries > MAX_RETRIES:
            died = f"its process died {ticket.retries} times in this trial"
            result = TrialResult("failed", 0.0, planned, reason=died)
        elif too_large := patiently(lambda: self._too_large(strategy)):
            result = TrialResult("over_budget", 0.0, planned, reason=too_large)
        else:
            judge = patiently(lambda: Judge(store, self._problem, number, strategy))

            def on_checkpoint(curve: Sequence[Checkpoint]) -> str | None:
                patiently(lambda: store.record_checkpoint(name, number, curve[-1], session=self._session))
                self._advance(curve[-1])
                return judge.verdict(curve)

            result = run_trial(strategy, self._problem, seed=seed, on_checkpoint=on_checkpoint)

        def end() -> None:
            store.end_trial(name, number, result, session=self._session)
            score = result.score(self._problem.spec.metric)
            _tell(self._study, number, result.status, result.reason, score, result.train_flops)

        patiently(end)
        return strategy, result

    def _begin(self, number: int, seed: int) -> Strategy:
        """Draw the trial's strategy and record that it starts. Parameters drawn in an earlier attempt are kept."""
        spec = self._problem.spec
        trial_id = _set_state(self._study, number, TrialState.RUNNING)
        self._study.sampler = _sampler(spec.seed, number)
        storage = self._study._storage
        assert isinstance(storage, PlannedStorage)
        with storage.read_once(self._study._study_id):
            trial = optuna.Trial(self._study, trial_id)
            strategy = suggest(trial, spec)
        trial.set_user_attr("strategy", strategy.label())
        predicted = self._predicted(strategy)
        if predicted is not None:
            trial.set_user_attr("predicted_seconds", predicted)
        self._store.begin_trial(
            self._study.study_name,
            number,
            session=self._session,
            strategy=strategy,
            origin=trial.user_attrs["origin"],
            seed=seed,
            planned_flops=self._problem.cost(strategy).at(len(self._problem.split.train), spec.budget.epochs),
            predicted_seconds=predicted,
        )
        return strategy

    def _predicted(self, strategy: Strategy) -> float | None:
        """Seconds that a whole trial will take here, from what trials and baselines on such a device took."""
        store, name, spec, split = self._store, self._study.study_name, self._problem.spec, self._problem.split
        sizes = {"classes": split.n_classes, "n_train": len(split.train), "n_validation": len(split.validation)}
        setting = Setting.of(spec, sizes, self._problem.backbone.architecture)
        forecast = Forecast.fit(setting, *store.measured_on(self._device, name, RECENT))
        return None if forecast is None else forecast.seconds(strategy, spec.budget.epochs)

    def _too_large(self, strategy: Strategy) -> str:
        """A reason not to begin, or nothing: a trial that needed no more memory had run out of it on such a device."""
        for number, smaller in self._store.failed(self._study.study_name, OUT_OF_MEMORY, self._device):
            if strategy.needs_memory_of(smaller):
                return f"needs at least the memory of trial {number}, which ran out of it"
        return ""

    def _release(self) -> None:
        if self._running is None:
            return
        try:
            self._store.give_back(self._study.study_name, self._running, session=self._session)
            _set_state(self._study, self._running, TrialState.WAITING)
        except StorageError as error:  # what brought us here says more; the ticket is taken back from a dead session
            log.warning("trial %d could not be given back: %s", self._running, error)
        self._running = None


def standing(study: optuna.Study) -> Standing:
    """Where the study stands now, over all workers."""
    trials = patiently(lambda: study.get_trials(deepcopy=False))
    states = Counter(trial.state for trial in trials)
    known = {t.number: t.user_attrs["predicted_seconds"] for t in trials if "predicted_seconds" in t.user_attrs}
    of_kind: dict[Any, list[float]] = {}
    for trial in trials:
        if trial.number in known:
            of_kind.setdefault(_planned_kind(trial), []).append(known[trial.number])
    usual = fmean(known.values()) if known else 1.0
    means = {kind: fmean(seconds) for kind, seconds in of_kind.items()}
    work = [known.get(trial.number, means.get(_planned_kind(trial), usual)) for trial in trials]
    done = sum(seconds for trial, seconds in zip(trials, work, strict=True) if trial.state.is_finished())
    return Standing(
        finished=sum(trial.state.is_finished() for trial in trials),
        running=states[TrialState.RUNNING],
        pruned=states[TrialState.PRUNED],
        best=max((trial.values[0] for trial in trials if trial.state == TrialState.COMPLETE), default=None),
        work_done=done,
        work_left=sum(work) - done,
        predicted=bool(known),
    )


def finished(study: optuna.Study) -> int:
    """How many trials of the study have ended, in whatever way."""
    return sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))


class Judge:
    """Whether a running trial can still reach the front, from all curves there were when it began.

    The first of two phases is left alone: how good a head on the frozen network is says little about what follows. The
    second is judged by itself, against those of trials with as long a first one. What the article would advise for its
    scenarios is trained on whatever its curve says: by these trials the strategies are always compared. So is a trial
    for as long as it leads those that are about as dear.
    """

    def __init__(self, store: Store, problem: Problem, number: int, strategy: Strategy) -> None:
        """``strategy`` is that of the trial ``number``."""
        spec, name, cost = problem.spec, problem.spec.name, problem.cost(strategy)
        self._head_epochs = strategy.head_epochs
        self._pruning, self._epochs, self._metric = spec.pruning, spec.budget.epochs, spec.metric
        self._spared = not self._pruning.enabled or strategy in ADVISED.values()
        self._n_classes = problem.split.n_classes
        self._flops = [cost.at(len(problem.split.train), epoch) for epoch in range(1, self._epochs + 1)]
        if self._spared:
            return
        curves = store.checkpoints(name)
        curves = curves[curves["number"] != number]
        costs, scores = curves["train_flops"].to_numpy(), curves[f"val_{spec.metric}"].to_numpy()
        best = front(costs, scores)
        self._front = costs[best], scores[best]
        self._others = curves["epoch"].to_numpy(), costs, scores
        ended = store.ended(name, strategy.head_epochs)
        points = map(Checkpoint, *(curves[name].tolist() for name in Checkpoint.__slots__))
        by_trial = groupby(zip(curves["number"].tolist(), points, strict=True), key=itemgetter(0))
        known = ([point for _, point in curve] for other, curve in by_trial if other in ended)
        self._history = [curve[self._head_epochs :] for curve in known]

    def verdict(self, curve: Sequence[Checkpoint]) -> str | None:
        """A reason to stop the trial whose curve so far is ``curve``, or None."""
        if self._spared or len(curve) <= self._head_epochs:
            return None
        if leads(curve, *self._others, self._n_classes, self._metric):
            return None
        return should_stop(
            curve[self._head_epochs :],
            self._epochs - self._head_epochs,
            self._flops[len(curve) :],
            *self._front,
            self._history,
            self._pruning.margin,
            self._n_classes,
            self._metric,
        )


def begin_session(store: Store, spec: StudySpec, *, command: str, environment: dict[str, Any]) -> int:
    """Record that this process works on the study ``spec``; the session's id."""
    started = process_started(os.getpid())
    assert started is not None
    return store.begin_session(
        spec.name,
        command=command,
        spec=spec.model_dump(mode="json"),
        environment=environment,
        host=host(),
        pid=os.getpid(),
        process_started=started,
    )


_FREE_TO_CHANGE = {
    "name", "description", "budget.trials", "budget.time_limit", "budget.max_trial_cost", "pruning", "baselines",
    "recommendation",
}  # fmt: skip


def settled(spec: StudySpec, before: StudyRow | None, fastest: Callable[[], Precision]) -> StudySpec:
    """``spec`` with a precision where it says auto: that of the study as it was begun, ``before``, and for a new one
    the ``fastest`` here. So all trials of a study compute alike, on whichever machines."""
    if spec.budget.precision != "auto":
        return spec
    precision = StudySpec.model_validate(before.spec).budget.precision if before else fastest()
    return spec.model_copy(update={"budget": spec.budget.model_copy(update={"precision": precision})})


def check_same_problem(before: Mapping[str, Any], spec: StudySpec) -> None:
    """Refuse to go on with a study whose results would no longer be comparable. Raises SpecError naming each key.

    What a study did not say yet when it was begun, ``before``, was then what is now the default.
    """
    then = StudySpec.model_validate(before).model_dump(mode="json")
    changed = [
        f"{key} was {old!r}, now {new!r}" for key, old, new in _differences(then, spec.model_dump(mode="json"), "")
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
