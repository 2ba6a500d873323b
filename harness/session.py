"""One call of the main job: open everything, run the baselines and the trials that are missing, write the page."""

import logging
import math
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import optuna
from optuna.trial import TrialState

import dashboards.optuna
from dashboards.page import write_page
from dashboards.rows import Rows
from harness import backbone, environment
from harness.advice import Advice, advise
from harness.baselines import run_baseline
from harness.data import Split, load_split
from harness.errors import SpecError
from harness.problem import Problem
from harness.profile import Profile, profile
from harness.progress import Progress, Standing, outcome
from harness.search import Worker, begin_session, check_same_problem, open_study, plan, recover
from harness.spec import DatasetSpec, StudySpec
from harness.store import Store
from harness.weights import load_weights, user_cache

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What the user asked for. ``weights`` is an explicit path or None; ``fresh`` drops earlier results and
    ``must_exist`` refuses to begin a new study; ``command`` is recorded."""

    spec: StudySpec
    dataset: DatasetSpec
    storage: str
    page: Path
    weights: Path | None = None
    workers: int = 1
    fresh: bool = False
    must_exist: bool = False
    command: str = ""


def run_study(request: Request) -> Rows:
    """Bring the study to the number of trials asked for and write its page; gives the study's rows.

    Raises HarnessErrors for what the user can mend. Whatever ends it, all that was finished is kept, and calling it
    again goes on from there.
    """
    spec = request.spec
    split = load_split(request.dataset, spec.data, spec.seed)
    store = Store(request.storage)
    found = profile(split, request.dataset)
    advice = advise(found, spec.advice.large_at)
    _open(request, store, split, found, advice)
    study = open_study(store, spec.name)
    recover(study, store)
    plan(study, spec, advice)
    try:
        if not _complete(store, study, spec):
            _work_together(request, store, study, split)
    finally:
        write_page(store, spec.name, request.page)
    dashboards.optuna.attach(store, spec.name)
    return Rows.read(store, spec.name)


def _open(request: Request, store: Store, split: Split, found: Profile, advice: Advice) -> None:
    """Create the study's row, or check that the study there is this one."""
    spec = request.spec
    if request.fresh:
        load_weights(request.weights)  # without them the old results would be dropped for nothing
        store.delete_study(spec.name)
    before = store.study(spec.name)
    if before is not None:
        check_same_problem(before.spec, spec)
        return
    if request.must_exist:
        raise SpecError(
            f"there is no study {spec.name!r} in {request.storage} to resume: leave out --resume to begin it"
        )
    data = {
        "dataset": request.dataset.name,
        "source": request.dataset.source,
        "digest": split.train.digest(),
        "classes": split.n_classes,
        "class_names": list(split.class_names),
        "n_train": len(split.train),
        "n_validation": len(split.validation),
        "n_test": len(split.test),
        "image_size": spec.data.image_size,
        "majority": split.majority_share(),
        "profile": asdict(found),
    }
    words = {"scenario": advice.scenario, "strategy": advice.strategy.label(), "reason": advice.reason}
    store.create_study(spec.name, spec=spec.model_dump(mode="json"), data=data, advice=words)


def _complete(store: Store, study: optuna.Study, spec: StudySpec) -> bool:
    finished = sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
    missing_baselines = set(spec.baselines.names) - set(store.baselines(spec.name)["name"])
    return finished >= spec.budget.trials and not missing_baselines


def _work_together(request: Request, store: Store, study: optuna.Study, split: Split) -> None:
    """Run the baselines, then the trials, in this process and ``workers - 1`` others."""
    progress = Progress(request.spec.budget.trials, lambda: _standing(study))
    others = _Others(request)
    try:
        with _session(request, store, split) as (problem, session):
            weights = problem.backbone.weights
            for reason in weights.notes:
                progress.note(f"weights not taken from {reason}")
            progress.note(f"weights taken from {weights.source}")
            _run_baselines(store, problem, session, progress)
            worker = Worker(study, store, problem, session, progress.checkpoint)
            others.start()
            progress.begin()
            worker.run(progress.trial, stop=others.out_of_time)
            others.join()
            while recover(study, store):  # one of the others died and left its trial: it is done here
                worker.run(progress.trial, stop=others.out_of_time)
    finally:
        progress.close()
        others.join()


class _Others:
    """The worker processes beside this one, and the moment after which nobody starts a trial."""

    def __init__(self, request: Request) -> None:
        limit = request.spec.budget.time_limit
        self._deadline = math.inf if limit is None else time.time() + limit
        spawn = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
        arguments = (request, self._deadline)
        self._processes = [spawn.Process(target=_be_worker, args=arguments) for _ in range(request.workers - 1)]

    def start(self) -> None:
        """Start them, each with its share of the cores."""
        share = max(1, environment.available_cores() // (len(self._processes) + 1))
        if self._processes:
            os.environ["TF_NUM_INTRAOP_THREADS"] = str(share)
        for process in self._processes:
            process.start()

    def join(self) -> None:
        """Wait for those that were started."""
        for process in self._processes:
            if process.pid is not None:
                process.join()

    def out_of_time(self) -> bool:
        """Whether the study's time limit has passed."""
        return time.time() > self._deadline


def _be_worker(request: Request, deadline: float) -> None:
    """The life of one of the other processes: like the first, without baselines, progress and page."""
    parent = os.getppid()
    store = Store(request.storage)
    try:
        with _session(request, store) as (problem, session):
            worker = Worker(open_study(store, request.spec.name), store, problem, session, lambda _: None)
            worker.run(lambda *_: None, stop=lambda: time.time() > deadline or os.getppid() != parent)
    except KeyboardInterrupt:
        sys.exit(130)  # the first process says what there is to say


@contextmanager
def _session(request: Request, store: Store, split: Split | None = None) -> Iterator[tuple[Problem, int]]:
    """This process's problem and its session in the store; the session is ended with the word for how it went."""
    spec = request.spec
    weights = load_weights(request.weights)
    problem = Problem.vgg16(
        spec, split or load_split(request.dataset, spec.data, spec.seed), weights, user_cache() / "features"
    )
    described = environment.describe(backbone.device()).as_dict() | {"weights": weights.source}
    session = begin_session(store, spec, command=request.command, environment=described)
    outcome = "crashed"
    try:
        yield problem, session
        outcome = "done"
    except KeyboardInterrupt:
        outcome = "interrupted"
        raise
    finally:
        store.end_session(session, outcome)


def _run_baselines(store: Store, problem: Problem, session: int, progress: Progress) -> None:
    spec = problem.spec
    done = set(store.baselines(spec.name)["name"])
    for name in spec.baselines.names:
        if name in done:
            continue
        result = run_baseline(name, problem, seed=spec.seed)
        store.record_baseline(spec.name, session=session, name=name, seed=spec.seed, result=result)
        progress.note(f"baseline {name}: {outcome(result)}")


def _standing(study: optuna.Study) -> Standing:
    trials = study.get_trials(deepcopy=False)
    states = Counter(trial.state for trial in trials)
    return Standing(
        finished=sum(trial.state.is_finished() for trial in trials),
        running=states[TrialState.RUNNING],
        pruned=states[TrialState.PRUNED],
        best=max((trial.values[0] for trial in trials if trial.state == TrialState.COMPLETE), default=None),
    )
