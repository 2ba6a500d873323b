"""One call of the main job: open everything, then run the baselines and the trials that are missing."""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from harness.analysis.rows import Rows
from harness.backbones.devices import fast_precision
from harness.backbones.weights import check_all
from harness.core.clock import TimeLimit
from harness.core.errors import SpecError, StorageError
from harness.core.interrupts import between_steps
from harness.core.results import Standing, TrialResult
from harness.core.spec import DatasetSpec, Precision, StudySpec
from harness.core.strategy import Strategy
from harness.data.dataset import Drawn, Split, draw
from harness.guidance.advice import Advice, advise
from harness.guidance.measure import measure_similarity
from harness.guidance.profile import Profile, profile
from harness.statistics.similarity import SAMPLE, Similarity, load_reference
from harness.storage.database import retry_while_unavailable, shown
from harness.storage.heartbeat import Watch
from harness.storage.queries import now
from harness.storage.standing import standing
from harness.storage.store import Store
from harness.storage.studies import StudyRow
from harness.strategy_search.copying import nobody_works_on
from harness.strategy_search.mirror import Mirror
from harness.strategy_search.plan import plan
from harness.strategy_search.resume import check_same_problem, resolve_precision
from harness.workers.children import SPAWN, load_keras
from harness.workers.job import Job
from harness.workers.processes import ProcessPool
from harness.workers.progress import Progress, outcome
from harness.workers.ray_workers import Placement, RayPool
from harness.workers.supervise import follow, supervise
from harness.workers.work import check_same_images, work

log = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Request:
    """What the user asked for. ``log`` is the file that workers log to; ``weights`` are given files by backbone;
    ``fresh`` drops results from before the command was ``started`` and ``must_exist`` refuses to begin a new study;
    with a ``placement`` the workers are Ray's; ``constant`` is what the league begins with; ``command`` is
    recorded."""

    spec: StudySpec
    dataset: DatasetSpec
    storage: str
    log: Path | None = None
    weights: Mapping[str, Path] = field(default_factory=dict)
    workers: int = 1
    placement: Placement | None = None
    fresh: bool = False
    must_exist: bool = False
    constant: Strategy | None = None
    command: str = ""
    started: datetime = field(default_factory=now)


def run_study(request: Request, on_end: Callable[[Store], None] = lambda _: None) -> Rows:
    """Bring the study to the number of trials asked for and return its rows.

    Whatever ends the run, all that was finished is kept, and calling this again continues from there.

    Args:
        request: what the user asked for.
        on_end: callback(store), called once the run has ended, whatever ended it, unless it could not begin.

    Raises:
        HarnessError: a user error, such as other images than the study was begun with.
    """
    drawn = draw(request.dataset, request.spec.data, request.spec.seed)
    split = drawn.load(request.spec.search.image_size[-1])
    store = Store(request.storage, must_exist=request.must_exist)
    spec, advice = _open(request, store, drawn, split)
    request = replace(request, spec=spec)
    Watch(store, spec.name).recover()
    plan(store, spec, advice, constant=request.constant)
    with closing(Mirror(store, spec.name)) as mirror:
        mirror.update()
        try:
            if not _complete(store, spec):
                _work_together(request, store, split, lambda: retry_while_unavailable(mirror.keep_up))
        finally:
            retry_while_unavailable(mirror.update)
            on_end(store)
    return retry_while_unavailable(lambda: Rows.read(store, spec.name))


def _open(request: Request, store: Store, drawn: Drawn, split: Split) -> tuple[StudySpec, Advice]:
    """Record a new study, or check that the one in the store is the one asked for; return its spec and its advice.

    Of equal commands that are started together one records the study and the others join it.
    """

    def fastest() -> Precision:
        return _call_without_keeping_memory(request, fast_precision)

    name = request.spec.name
    before = store.studies.find(name)
    if before is None and request.must_exist:
        raise SpecError(
            f"there is no study {name!r} in {shown(request.storage)} to resume: leave out --resume to begin it"
        )
    fresh = request.fresh and (before is None or before.created_at < request.started)
    if fresh and before is not None:
        # Without weights the old results would be dropped for nothing.
        _call_without_keeping_memory(request, check_all, request.spec.search.backbones, request.weights)
        nobody_works_on(store, name)
    if before is None or fresh:
        spec = resolve_precision(request.spec, None, fastest)
        found = profile(split.train.labels, split.n_classes, request.dataset, _similarity(request, drawn), spec.advice)
        advice = advise(found, spec.advice.large_at, spec.search)
        begin_study(store, spec, request.dataset, drawn, split, found, advice, fresh=fresh, before=before)
    row = store.studies.get(name)
    spec = resolve_precision(request.spec, row, fastest)
    check_same_problem(row.spec, spec)
    check_same_images(row, split)
    store.studies.revise(name, spec.model_dump(mode="json"))
    store.studies.add_to_data(name, declared=request.dataset.model_dump(mode="json"))  # the images may have moved
    return spec, Advice.of(row.advice["scenario"], row.advice["reason"], spec.search)


def begin_study(
    store: Store,
    spec: StudySpec,
    dataset: DatasetSpec,
    drawn: Drawn,
    split: Split,
    found: Profile,
    advice: Advice,
    *,
    fresh: bool = False,
    before: StudyRow | None = None,
    **more: Any,
) -> None:
    """Record a new study: its spec, its data, the advice; ``more`` goes with the data.

    If another process has recorded one of that name since ``before`` was read from the store, that one stays. With
    ``fresh`` the study ``before`` is deleted first, whatever is left of it.

    Raises StorageError where Optuna's tables have a study of that name, which its mirror would replace.
    """
    report = drawn.report()
    for warning in report.warnings():
        log.warning("%s: %s", dataset.name, warning)
    data = {
        "dataset": dataset.name,
        "declared": dataset.model_dump(mode="json"),
        "source": dataset.source,
        "digest": split.train.digest(),
        "classes": split.n_classes,
        "class_names": list(split.class_names),
        "n_train": len(split.train),
        "n_validation": len(split.validation),
        "n_test": len(split.test),
        "majority": split.majority_share(),
        "profile": asdict(found),
        "check": report.as_dict(most=20),
        **more,
    }
    advised = {"scenario": advice.scenario, "strategy": advice.strategy.label(), "reason": advice.reason}
    members = drawn.members()
    with store.one_at_a_time():
        there = store.studies.find(spec.name)
        if there is not None and (before is None or there.created_at != before.created_at):
            return
        if fresh:
            store.delete_study(spec.name)
        if store.is_known_to_optuna(spec.name):
            raise StorageError(
                f"{shown(store.url)} holds an Optuna study {spec.name!r} that is none of the harness's, or is what an "
                "interrupted deletion has left: give yours another --name, or drop that one with --fresh"
            )
        store.studies.create(spec.name, spec=spec.model_dump(mode="json"), data=data, advice=advised, split=members)


def _similarity(request: Request, drawn: Drawn) -> Similarity | None:
    """Measure how similar the training images are to ImageNet; None where the data set declares it."""
    if request.dataset.similar_to_imagenet is not None:
        return None
    some = drawn.some(SAMPLE, load_reference().image_size)
    cache_bytes = request.spec.budget.cache_bytes
    return _call_without_keeping_memory(request, measure_similarity, some, request.weights.get("vgg16"), cache_bytes)


def _call_without_keeping_memory(request: Request, function: Callable[..., Result], *given: Any) -> Result:
    """Call ``function``; in a process of its own if other processes will train and need the memory, also a GPU's."""
    if request.workers == 1 and not request.placement:
        with between_steps():
            return function(*given)
    with ProcessPoolExecutor(1, mp_context=SPAWN, initializer=load_keras) as process:
        return process.submit(function, *given).result()


def _complete(store: Store, spec: StudySpec) -> bool:
    missing_baselines = set(spec.baselines.names) - set(store.baselines.frame(spec.name)["name"])
    return store.tickets.counts(spec.name).finished >= spec.budget.trials and not missing_baselines


def _work_together(request: Request, store: Store, split: Split, on_finished: Callable[[], None]) -> None:
    """Run the baselines and the trials: in this process, or in ``workers`` processes or Ray actors. ``on_finished`` is
    called when trials have finished."""
    spec = request.spec
    job = Job(
        study=spec.name,
        storage=request.storage,
        dataset=request.dataset,
        command=request.command,
        weights=request.weights,
        baselines=True,
        log=request.log,
        limit=TimeLimit.start(spec.budget.time_limit),
    )

    def now_standing() -> Standing:
        return retry_while_unavailable(lambda: standing(store, spec.name))

    progress = Progress(spec.budget.trials, spec.metric, now_standing, job.limit)
    try:
        if request.placement or request.workers > 1:
            pool = RayPool(job, request.placement) if request.placement else ProcessPool(job, request.workers)
            supervise(pool, request.workers, count_finished=follow(store, spec.name, progress, on_finished))
            return

        def on_trial(number: int, strategy: Strategy, result: TrialResult) -> None:
            how = outcome(result.status, spec.metric, result.score(spec.metric), result.seconds.total)
            progress.trial(number, strategy.label(), how)
            on_finished()

        work(job, split, on_trial=on_trial, on_checkpoint=progress.checkpoint, note=progress.note)
    finally:
        progress.close()
