"""What one worker does, in whatever process: the baselines, then trials until none is left."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from harness.backbones import devices
from harness.backbones.weights import Weights, load_weights
from harness.core import environment
from harness.core.backbone import BackboneSpec
from harness.core.errors import DataError
from harness.core.paths import user_cache
from harness.core.results import Checkpoint
from harness.core.spec import DatasetSpec, StudySpec
from harness.data.dataset import Split, load_split
from harness.guidance.measure import layer_scores
from harness.search.optuna_study import open_study
from harness.search.resume import begin_session
from harness.search.worker import OnTrial, Worker
from harness.storage.database import retry_while_unavailable
from harness.storage.heartbeat import Heartbeat
from harness.storage.store import Store
from harness.storage.studies import StudyRow
from harness.training.baselines import run_baseline
from harness.training.fit import out_of_memory
from harness.training.problem import Problem
from harness.workers.progress import outcome

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What a worker needs to know that the storage does not say. ``weights`` are given files by backbone; ``deadline``
    is on this machine's `time.monotonic`; processes that are started for it write to the ``log``."""

    study: str
    storage: str
    dataset: DatasetSpec
    command: str
    weights: Mapping[str, Path] = field(default_factory=dict)
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
    """Run the baselines where ``job`` asks for them, then trials until none is left.

    Args:
        job: the study and where it is.
        split: the study's images, where the caller has loaded them already.
        on_trial: callback(number, strategy, result), called after each trial.
        on_checkpoint: callback(checkpoint), called after each epoch of a trial.
        note: callback(text) for lines that the user should see.
        stop: asked before each trial; no trial begins once it returns True, or after the job's deadline.

    Raises:
        HarnessError: a user error, such as an unknown study or other images than it was begun with.
    """
    store = retry_while_unavailable(lambda: Store(job.storage))
    row = retry_while_unavailable(lambda: store.studies.get(job.study))
    spec = StudySpec.model_validate(row.spec)
    split = split or load_split(job.dataset, spec.data, spec.seed)
    check_same_images(row, split)
    weights = load_weights(BackboneSpec.load("vgg16"), job.weights.get("vgg16"))
    for reason in weights.notes:
        note(f"weights not taken from {reason}")
    note(f"weights taken from {weights.source}")
    problem = Problem.vgg16(spec, split, weights, user_cache() / "features")
    run_study_trials(
        problem,
        store,
        job.command,
        baselines=job.baselines,
        on_trial=on_trial,
        on_checkpoint=on_checkpoint,
        note=note,
        stop=lambda: time.monotonic() > job.deadline or stop(),
    )


def run_study_trials(
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
    """Score layers and run baselines where asked for, then run trials: `work` once everything is loaded."""
    with recorded_session(store, problem.spec, problem.backbone.weights, command) as session:
        if baselines:
            _score_layers(store, problem)
            _run_baselines(store, problem, session, note)
        study = retry_while_unavailable(lambda: open_study(store, problem.spec.name))
        Worker(study, store, problem, session, on_checkpoint).run(on_trial, stop=stop)


def check_same_images(row: StudyRow, split: Split) -> None:
    """Raise DataError where the images drawn here are not those the study was begun with."""
    if row.data["digest"] != split.train.digest():
        raise DataError(
            f"the images of data set {row.data['dataset']!r} here are not those that study {row.name!r} was begun "
            "with: give the same (--data), or a new study its own --name"
        )


@contextmanager
def recorded_session(store: Store, spec: StudySpec, weights: Weights, command: str) -> Iterator[int]:
    """Record this process's session in the store while the block runs, with a heartbeat, and how it ended."""
    described = environment.describe(devices.device()).as_dict() | {"weights": weights.source}
    session = retry_while_unavailable(lambda: begin_session(store, spec, command=command, environment=described))
    how = "crashed"
    try:
        with Heartbeat(store, session):
            yield session
        how = "done"
    except KeyboardInterrupt:
        how = "interrupted"
        raise
    finally:
        retry_while_unavailable(lambda: store.sessions.end(session, how))


def _score_layers(store: Store, problem: Problem) -> None:
    """Score the output of VGG16's layers before any training, unless the study has the scores already."""
    name = problem.spec.name
    row = retry_while_unavailable(lambda: store.studies.find(name))
    if row is not None and "layer_scores" not in row.data:
        try:
            scores = [asdict(score) for score in layer_scores(problem.split.train, problem.backbone)]
        except Exception as error:
            if (reason := out_of_memory(error)) is None:
                raise
            log.warning("layers are not scored: out of memory (%s)", reason)
            return
        retry_while_unavailable(lambda: store.studies.add_to_data(name, layer_scores=scores))


def _run_baselines(store: Store, problem: Problem, session: int, note: Callable[[str], None]) -> None:
    spec = problem.spec
    done = set(retry_while_unavailable(lambda: store.baselines.frame(spec.name))["name"])
    for name in spec.baselines.names:
        if name in done:
            continue
        result = run_baseline(name, problem, seed=spec.seed)

        def record() -> None:
            store.baselines.record(spec.name, session=session, name=name, seed=spec.seed, result=result)  # noqa: B023

        retry_while_unavailable(record)
        how = outcome(result.status, spec.metric, result.score(spec.metric), result.seconds.total)
        note(f"baseline {name}: {how}")
