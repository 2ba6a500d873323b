"""The life of a worker process, and of N of them under supervision."""

import logging
import math
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import optuna

from harness.backbones import vgg16
from harness.backbones.weights import Weights, load_weights
from harness.core import environment
from harness.core.errors import DataError, HarnessError, SpecError
from harness.core.paths import user_cache
from harness.core.results import Checkpoint
from harness.core.spec import DatasetSpec, StudySpec
from harness.data.dataset import Split, load_split
from harness.guidance.measure import layer_scores
from harness.search.optuna_study import finished, open_study
from harness.search.resume import begin_session
from harness.search.worker import OnTrial, Worker
from harness.storage.database import closing, patiently
from harness.storage.heartbeat import Heartbeat
from harness.storage.store import Store, StudyRow
from harness.training.baselines import run_baseline
from harness.training.fit import out_of_memory
from harness.training.problem import Problem
from harness.workers.progress import Progress, log_to, outcome

RESTARTS = 10
"""Processes that may die one after the other without a trial finished in between, for each worker."""

_CONTEXT: Any = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
_LOOK = 1.0  # seconds between looks at the processes
_FAREWELL = 60.0  # seconds that processes get to put away their trial when they are stopped

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What a worker must know beside what the storage says. ``deadline`` is on this machine's `time.monotonic`;
    processes that are started for it write to the ``log``."""

    study: str
    storage: str
    dataset: DatasetSpec
    command: str
    weights: Path | None = None
    baselines: bool = False
    deadline: float = math.inf
    log: Path | None = None


def work(
    job: Job,
    split: Split | None = None,
    *,
    on_trial: OnTrial = lambda *_: None,
    on_checkpoint: Callable[[Checkpoint], None] = lambda _: None,
    note: Callable[[str], None] = log.info,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """The life of one worker: the baselines where ``job`` asks for them, then trials until none is left.

    ``split`` is that of the study where the caller has drawn it already. No trial begins after the deadline or once
    ``stop`` says so. Raises HarnessErrors for what the user can mend.
    """
    store = patiently(lambda: Store(job.storage))
    row = patiently(lambda: store.study(job.study))
    if row is None:
        known = ", ".join(store.study_names()) or "none"
        raise SpecError(f"there is no study {job.study!r} in that database (there: {known}): begin it with harness run")
    spec = StudySpec.model_validate(row.spec)
    split = split or load_split(job.dataset, spec.data, spec.seed)
    check_same_images(row, split)
    weights = load_weights(job.weights)
    for reason in weights.notes:
        note(f"weights not taken from {reason}")
    note(f"weights taken from {weights.source}")
    problem = Problem.vgg16(spec, split, weights, user_cache() / "features")
    carry_out(
        problem,
        store,
        job.command,
        baselines=job.baselines,
        on_trial=on_trial,
        on_checkpoint=on_checkpoint,
        note=note,
        stop=lambda: time.monotonic() > job.deadline or stop(),
    )


def carry_out(
    problem: Problem,
    store: Store,
    command: str,
    *,
    baselines: bool,
    on_trial: OnTrial = lambda *_: None,
    on_checkpoint: Callable[[Checkpoint], None] = lambda _: None,
    note: Callable[[str], None] = log.info,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """The part of `work` that needs no more than the problem: layer scores and baselines where asked for, trials."""
    with recorded_session(store, problem.spec, problem.backbone.weights, command) as session:
        if baselines:
            _score_layers(store, problem)
            _run_baselines(store, problem, session, note)
        study = patiently(lambda: open_study(store, problem.spec.name))
        Worker(study, store, problem, session, on_checkpoint).run(on_trial, stop=stop)


def check_same_images(row: StudyRow, split: Split) -> None:
    """Raises DataError where the images drawn here are not those the study was begun with."""
    if row.data["digest"] != split.train.digest():
        raise DataError(
            f"the images of data set {row.data['dataset']!r} here are not those that study {row.name!r} was begun "
            "with: give the same (--data, for a worker --dataset), or a new study its own --name"
        )


@contextmanager
def recorded_session(store: Store, spec: StudySpec, weights: Weights, command: str) -> Iterator[int]:
    """This process's session in the store, alive in the block and then ended with the word for how it went."""
    described = environment.describe(vgg16.device()).as_dict() | {"weights": weights.source}
    session = patiently(lambda: begin_session(store, spec, command=command, environment=described))
    how = "crashed"
    try:
        with Heartbeat(store, session):
            yield session
        how = "done"
    except KeyboardInterrupt:
        how = "interrupted"
        raise
    finally:
        patiently(lambda: store.end_session(session, how))


def follow(store: Store, study: optuna.Study, progress: Progress) -> Callable[[], int]:
    """For `supervise`: shows the trials that have finished since the last look, whoever ran them."""
    name = study.study_name
    seen = set(patiently(lambda: store.trials(name))["number"])
    begun = patiently(lambda: store.study(name))
    assert begun is not None
    metric = begun.metric

    def look() -> int:
        if patiently(lambda: finished(study)) > len(seen):
            rows = patiently(lambda: store.trials(name))
            for row in rows[~rows["number"].isin(seen)].to_dict("records"):
                seen.add(row["number"])
                how = outcome(row["status"], metric, row[f"val_{metric}"], row["seconds_total"])
                progress.trial(row["number"], row["strategy"], how)
        return len(seen)

    return look


def _score_layers(store: Store, problem: Problem) -> None:
    """Score what VGG16's layers give before any training, unless the study has it already."""
    name = problem.spec.name
    row = patiently(lambda: store.study(name))
    if row is not None and "layer_scores" not in row.data:
        try:
            scores = [asdict(score) for score in layer_scores(problem.split.train, problem.backbone)]
        except Exception as error:
            if (reason := out_of_memory(error)) is None:
                raise
            log.warning("layers are not scored: %s", reason)
            return
        patiently(lambda: store.add_to_data(name, layer_scores=scores))


def _run_baselines(store: Store, problem: Problem, session: int, note: Callable[[str], None]) -> None:
    spec = problem.spec
    done = set(patiently(lambda: store.baselines(spec.name))["name"])
    for name in spec.baselines.names:
        if name in done:
            continue
        result = run_baseline(name, problem, seed=spec.seed)

        def record() -> None:
            store.record_baseline(spec.name, session=session, name=name, seed=spec.seed, result=result)  # noqa: B023

        patiently(record)
        how = outcome(result.status, spec.metric, result.score(spec.metric), result.seconds.total)
        note(f"baseline {name}: {how}")


def supervise(job: Job, workers: int, *, look: Callable[[], int]) -> None:
    """Keep ``workers`` processes at work on the study until none has anything left to do.

    The first runs the baselines. One that is killed, by whatever signal, is started again; what it was doing is lost
    and done again. ``look`` is called every second and gives the number of finished trials. When this is interrupted
    or any of them ends with an error, all are told to stop, and put their trials back. Raises RuntimeError where one
    ended with a bug, or they only die; HarnessError where one could not go on for something that the user can mend.
    """
    cores, gpus, given = environment.available_cores(), environment.gpus(), dict(os.environ)
    processes: dict[int, Any] = {}

    def start(index: int) -> None:
        process = _CONTEXT.Process(target=_be_worker, args=(replace(job, baselines=job.baselines and index == 0),))
        # Frameworks read these when they are imported, which the new process does before anything else of ours. It
        # keeps what is blocked: Ctrl-C reaches every process of a terminal, and only this one acts on it.
        os.environ.update(share(index, workers, cores, gpus, given))
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
            processes[index] = process
        finally:
            os.environ.clear()
            os.environ.update(given)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    try:
        for index in range(workers):
            start(index)
        deaths, before = 0, look()
        while processes:
            time.sleep(_LOOK)
            now = look()
            if now > before:
                deaths, before = 0, now
            for index, process in list(processes.items()):
                if process.exitcode is None:
                    continue
                del processes[index]
                if process.exitcode == HarnessError.exit_code:
                    raise HarnessError(f"worker {index + 1} of {workers} could not go on, for the reason given above")
                if process.exitcode > 0:
                    raise RuntimeError(f"worker {index + 1} of {workers} failed with the error above")
                if process.exitcode < 0:
                    deaths += 1
                    how = signal.Signals(-process.exitcode).name
                    if deaths > RESTARTS * workers:
                        raise RuntimeError(f"{deaths} processes died and no trial was finished; the last of {how}")
                    log.warning("worker %d died of %s: it is started again", index + 1, how)
                    start(index)
    finally:
        for process in processes.values():
            process.terminate()
        last = time.monotonic() + _FAREWELL
        for process in processes.values():
            process.join(max(0.0, last - time.monotonic()))
            process.kill()


def share(index: int, workers: int, cores: int, gpus: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Environment variables that give worker ``index`` its part of the machine; those the user has ``given`` stand.

    Cores are split evenly. Workers take turns over the ``gpus``; those on one GPU split its memory: TensorFlow takes
    what it needs as it goes, JAX is told how much.
    """
    threads = str(max(1, cores // workers))
    parts = dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
    if gpus:
        on_one = math.ceil(workers / len(gpus))
        parts |= {
            "CUDA_VISIBLE_DEVICES": gpus[index % len(gpus)],
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",
            "XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 / on_one:.3f}",
        }
    return {name: value for name, value in parts.items() if name == "CUDA_VISIBLE_DEVICES" or name not in given}


def _be_worker(job: Job) -> None:
    signal.signal(signal.SIGTERM, _interrupt)
    if job.log is not None:
        log_to(job.log)
    parent = os.getppid()
    try:
        with closing():
            work(job, stop=lambda: os.getppid() != parent)
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:  # the first process says what there is to say
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)


def _interrupt(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once: the trial is being put away
    raise KeyboardInterrupt
