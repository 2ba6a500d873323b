"""What one worker does, in whatever process: the baselines, then trials until none is left."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from harness.backbones import devices
from harness.backbones.weights import load_all
from harness.core import environment
from harness.core.clock import NO_LIMIT, TimeLimit
from harness.core.errors import DataError, SpecError
from harness.core.interrupts import between_steps
from harness.core.paths import user_cache
from harness.core.results import Checkpoint
from harness.core.spec import StudySpec
from harness.data.dataset import Split, load_split
from harness.guidance.measure import layer_scores
from harness.storage.database import retry_while_unavailable
from harness.storage.heartbeat import Heartbeat
from harness.storage.store import Store
from harness.storage.studies import StudyRow
from harness.strategy_search.plan import planned_depths
from harness.strategy_search.resume import begin_session
from harness.strategy_search.worker import OnTrial, Worker
from harness.training.baselines import run_baseline
from harness.training.fit import out_of_memory
from harness.training.problem import Problem, on_each_backbone
from harness.training.timing import measure_rates
from harness.workers.job import Job
from harness.workers.progress import outcome

log = logging.getLogger(__name__)


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
        stop: asked before each trial; no trial begins once it returns True, or after the job's time limit.

    Raises:
        HarnessError: a user error, such as an unknown study or other images than it was begun with.
    """
    store = retry_while_unavailable(lambda: Store(job.storage))
    row = retry_while_unavailable(lambda: store.studies.get(job.study))
    spec = StudySpec.model_validate(row.spec)
    split = split or load_split(job.dataset, spec)
    check_same_images(row, split)
    weights = load_all(spec.search.backbones, job.weights)
    for name, found in weights.items():
        for reason in found.notes:
            note(f"weights of {name} not taken from {reason}")
        note(f"weights of {name} taken from {found.source}")
    with between_steps():
        problems = on_each_backbone(spec, split, weights, user_cache() / "features")
    run_study_trials(
        problems,
        store,
        job.command,
        baselines=job.baselines,
        on_trial=on_trial,
        on_checkpoint=on_checkpoint,
        note=note,
        stop=stop,
        limit=job.limit,
    )


def run_study_trials(
    problems: Mapping[str, Problem],
    store: Store,
    command: str,
    *,
    baselines: bool,
    on_trial: OnTrial = lambda *_: None,
    on_checkpoint: Callable[[Checkpoint], None] = lambda _: None,
    note: Callable[[str], None] = log.info,
    stop: Callable[[], bool] = lambda: False,
    limit: TimeLimit = NO_LIMIT,
) -> None:
    """Score layers and run baselines where asked for, then run trials: `work` once everything is loaded.

    ``problems`` are the study on each of its backbones. Layers are scored, and baselines run, on the first one.
    """
    first, *_ = problems.values()
    sources = {name: problem.backbone.weights.source for name, problem in problems.items()}
    with recorded_session(store, first.spec, sources, command) as session:
        problems = with_rates(store, problems, note)
        first, *_ = problems.values()
        for backbone, image_size, frozen in retry_while_unavailable(lambda: list(planned_depths(store, first.spec))):
            problems[backbone].expect(frozen, image_size)
        if baselines:
            _score_layers(store, first)
            _run_baselines(store, first, session, note)
        Worker(store, problems, session, on_checkpoint, limit).run(on_trial, stop=stop)


def with_rates(
    store: Store, problems: Mapping[str, Problem], note: Callable[[str], None] = log.info
) -> Mapping[str, Problem]:
    """Return the study on each backbone with its rates, where it trades accuracy against seconds.

    The first worker measures them, alone: others wait for it. All take what is stored with the study, on whatever
    machine they run, so that their costs can be compared.

    Raises:
        SpecError: Memory runs out.
    """
    spec = next(problem.spec for problem in problems.values())
    if spec.search.cost != "seconds":
        return problems

    def stored() -> dict[str, Any] | None:
        return retry_while_unavailable(lambda: store.studies.get(spec.name)).data.get("rates")

    if (rates := stored()) is None:
        with store.one_at_a_time():
            if (rates := stored()) is None:
                rates = _measured_rates(problems, note)
                store.studies.add_to_data(spec.name, rates=rates)
    return {name: replace(problem, rates=rates["backbones"][name]) for name, problem in problems.items()}


def _measured_rates(problems: Mapping[str, Problem], note: Callable[[str], None]) -> dict[str, Any]:
    spec = next(problem.spec for problem in problems.values())
    begun = time.monotonic()
    try:
        with between_steps():
            rates = {name: measure_rates(problem) for name, problem in problems.items()}
    except Exception as error:
        if (reason := out_of_memory(error)) is None:
            raise
        raise SpecError(
            f"memory ran out while {', '.join(problems)} were timed ({reason}): give a smaller --batch-size, or "
            'search.cost = "flops" in the study, which needs no timing'
        ) from None
    note(f"timed {' and '.join(problems)} in {time.monotonic() - begun:.1f} s: costs are seconds at these rates")
    return {"device": devices.device(), "precision": spec.budget.precision, "backbones": rates}


def check_same_images(row: StudyRow, split: Split) -> None:
    """Raise DataError where the images drawn here are not those the study was begun with."""
    if row.data["digest"] != split.train.digest() or row.data["class_names"] != list(split.class_names):
        raise DataError(
            f"the images of data set {row.data['dataset']!r} here are not those that study {row.name!r} was begun "
            "with: give the same (--data), or a new study its own --name"
        )


@contextmanager
def recorded_session(store: Store, spec: StudySpec, weights: Mapping[str, str], command: str) -> Iterator[int]:
    """Record this process's session in the store while the block runs, with a heartbeat, and how it ended.

    ``weights`` say where those of each backbone came from.
    """
    described = environment.describe(devices.device()).as_dict() | {"weights": dict(weights)}
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
    """Score the output of the backbone's stages before any training, unless the study has the scores already."""
    name = problem.spec.name
    row = retry_while_unavailable(lambda: store.studies.find(name))
    if row is not None and "layer_scores" not in row.data:
        try:
            size = problem.spec.search.baseline_size
            with between_steps():
                scores = [asdict(score) for score in layer_scores(problem.split.train, problem.backbone, size)]
        except Exception as error:
            if (reason := out_of_memory(error)) is None:
                raise
            log.warning("layers are not scored: out of memory (%s)", reason)
            return
        retry_while_unavailable(lambda: store.studies.add_to_data(name, layer_scores=scores))


def _run_baselines(store: Store, problem: Problem, session: int, note: Callable[[str], None]) -> None:
    spec = problem.spec
    for name in spec.baselines.names:
        done = retry_while_unavailable(lambda: store.baselines.frame(spec.name))
        if name in set(done["name"]):  # an equal command that runs too may have run it just now
            continue
        result = run_baseline(name, problem, seed=spec.seed)

        def record() -> None:
            store.baselines.record(spec.name, session=session, name=name, seed=spec.seed, result=result)  # noqa: B023

        retry_while_unavailable(record)
        how = outcome(result.status, spec.metric, result.score(spec.metric), result.seconds.total)
        note(f"baseline {name}: {how}")
