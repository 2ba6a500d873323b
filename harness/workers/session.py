"""One call of the main job: open everything, then run the baselines and the trials that are missing."""

import logging
import math
import multiprocessing
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import optuna

from harness.analysis.rows import Rows
from harness.backbones.devices import fast_precision
from harness.backbones.weights import load_weights
from harness.core.backbone import BackboneSpec
from harness.core.errors import SpecError
from harness.core.results import TrialResult
from harness.core.spec import DatasetSpec, StudySpec
from harness.core.strategy import Strategy
from harness.data.dataset import Drawn, Split, draw
from harness.guidance.advice import Advice, advise
from harness.guidance.measure import measure_similarity
from harness.guidance.profile import Profile, profile
from harness.search.copying import nobody_works_on
from harness.search.optuna_study import finished, open_study, recover, standing
from harness.search.plan import plan
from harness.search.resume import check_same_problem, resolve_precision
from harness.statistics.similarity import SAMPLE, Similarity, load_reference
from harness.storage.database import retry_while_unavailable, shown
from harness.storage.heartbeat import Watch
from harness.storage.store import Store
from harness.storage.studies import StudyRow
from harness.workers.processes import ProcessPool
from harness.workers.progress import Progress, outcome
from harness.workers.ray_workers import Placement, RayPool
from harness.workers.supervise import follow, supervise
from harness.workers.work import Job, check_same_images, work

log = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Request:
    """What the user asked for. ``log`` is the file that workers log to; ``weights`` are given files by
    backbone; ``fresh`` drops earlier results and ``must_exist`` refuses to begin a new study; with a ``placement`` the
    workers are Ray's; ``command`` is recorded."""

    spec: StudySpec
    dataset: DatasetSpec
    storage: str
    log: Path | None = None
    weights: Mapping[str, Path] = field(default_factory=dict)
    workers: int = 1
    placement: Placement | None = None
    fresh: bool = False
    must_exist: bool = False
    command: str = ""


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
    split = drawn.load()
    store = Store(request.storage)
    before = None if request.fresh else store.studies.find(request.spec.name)
    spec = resolve_precision(request.spec, before, lambda: _call_without_keeping_gpu(request, fast_precision))
    request = replace(request, spec=spec)
    advice = _open(request, store, drawn, split, before)
    study = open_study(store, spec.name)
    recover(study, store, Watch(store, spec.name))
    plan(study, store, spec, advice)
    try:
        if not _complete(store, study, spec):
            _work_together(request, store, study, split)
    finally:
        on_end(store)
    return retry_while_unavailable(lambda: Rows.read(store, spec.name))


def _open(request: Request, store: Store, drawn: Drawn, split: Split, before: StudyRow | None) -> Advice:
    """Profile the data and record a new study, or check that the study there was ``before`` is this one; return its
    advice."""
    spec = request.spec
    if request.fresh:
        load_weights(
            BackboneSpec.load("vgg16"), request.weights.get("vgg16")
        )  # without them the old results would be dropped for nothing
        if store.studies.find(spec.name) is not None:
            nobody_works_on(store, spec.name)
        store.delete_study(spec.name)
    if before is not None:
        check_same_problem(before.spec, spec)
        check_same_images(before, split)
        store.studies.revise(spec.name, spec.model_dump(mode="json"))
        return Advice.of(before.advice["scenario"], before.advice["reason"])
    if request.must_exist:
        raise SpecError(
            f"there is no study {spec.name!r} in {shown(request.storage)} to resume: leave out --resume to begin it"
        )
    found = profile(split, request.dataset, _similarity(request, drawn), spec.advice)
    advice = advise(found, spec.advice.large_at)
    begin_study(store, spec, request.dataset, drawn, split, found, advice)
    return advice


def begin_study(
    store: Store,
    spec: StudySpec,
    dataset: DatasetSpec,
    drawn: Drawn,
    split: Split,
    found: Profile,
    advice: Advice,
    **more: Any,
) -> None:
    """Record a new study: its spec, its data, the advice; ``more`` goes with the data.

    Raises StorageError where the storage has a study of that name, if only in Optuna's tables.
    """
    store.check_unknown_to_optuna(spec.name)
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
        "image_size": spec.data.image_size,
        "majority": split.majority_share(),
        "profile": asdict(found),
        "check": report.as_dict(most=20),
        **more,
    }
    advised = {"scenario": advice.scenario, "strategy": advice.strategy.label(), "reason": advice.reason}
    store.studies.create(spec.name, spec=spec.model_dump(mode="json"), data=data, advice=advised, split=drawn.members())


def _similarity(request: Request, drawn: Drawn) -> Similarity | None:
    """Measure how similar the training images are to ImageNet; None where the data set declares it."""
    if request.dataset.similar_to_imagenet is not None:
        return None
    some = drawn.some(SAMPLE, load_reference().image_size)
    cache_bytes = request.spec.budget.cache_bytes
    return _call_without_keeping_gpu(request, measure_similarity, some, request.weights.get("vgg16"), cache_bytes)


def _call_without_keeping_gpu(request: Request, function: Callable[..., Result], *given: Any) -> Result:
    """Call ``function``; in a process of its own if other workers will need this GPU's memory."""
    if request.workers == 1 and not request.placement:
        return function(*given)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *given).result()


def _complete(store: Store, study: optuna.Study, spec: StudySpec) -> bool:
    missing_baselines = set(spec.baselines.names) - set(store.baselines.frame(spec.name)["name"])
    return finished(study) >= spec.budget.trials and not missing_baselines


def _work_together(request: Request, store: Store, study: optuna.Study, split: Split) -> None:
    """Run the baselines and the trials: in this process, or in ``workers`` processes or Ray actors."""
    spec = request.spec
    limit = spec.budget.time_limit
    job = Job(
        study=spec.name,
        storage=request.storage,
        dataset=request.dataset,
        command=request.command,
        weights=request.weights,
        baselines=True,
        log=request.log,
        deadline=math.inf if limit is None else time.monotonic() + limit,
    )
    progress = Progress(spec.budget.trials, spec.metric, lambda: standing(study))
    try:
        if request.placement or request.workers > 1:
            pool = RayPool(job, request.placement) if request.placement else ProcessPool(job, request.workers)
            supervise(pool, request.workers, count_finished=follow(store, study, progress))
            return

        def on_trial(number: int, strategy: Strategy, result: TrialResult) -> None:
            how = outcome(result.status, spec.metric, result.score(spec.metric), result.seconds.total)
            progress.trial(number, strategy.label(), how)

        work(job, split, on_trial=on_trial, on_checkpoint=progress.checkpoint, note=progress.note)
    finally:
        progress.close()
