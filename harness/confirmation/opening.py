"""Confirming what a search found: its finalists are trained again with new seeds and the test set is opened once.

The order keeps it honest. The candidates follow from validation figures alone. They are recorded, with the seeds,
before the test set is read. Each is then trained as in the search, for the whole budget, on the training and validation
images together, and is evaluated on the test set once, when it is trained.
"""

import hashlib
import logging
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from harness.analysis.recommendation import recommend
from harness.analysis.recommended_study import recommended_study
from harness.analysis.rows import Rows
from harness.backbones.weights import Weights, load_all
from harness.confirmation.finalists import candidates
from harness.core.errors import SpecError, StorageError
from harness.core.paths import user_cache
from harness.core.results import BASELINES, Candidate, TrialResult
from harness.core.spec import DatasetSpec, StudySpec, shipped
from harness.core.toml import as_toml
from harness.data.dataset import Split, join, load_split
from harness.storage.confirmations import Confirmation, Opening
from harness.storage.database import retry_while_unavailable
from harness.storage.store import Store
from harness.strategy_search.copying import nobody_works_on
from harness.training.baselines import run_baseline
from harness.training.problem import Problem, on_each_backbone
from harness.training.trial import run_trial
from harness.workers.work import check_same_images, recorded_session, with_rates

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What the user asked for. ``recommendation`` is the file to write. ``dataset_name`` is given where the study's own
    name for its data, read from the folder ``study_folder``, is not valid here. ``reopen`` allows opening the test set
    once more; ``command`` is recorded."""

    study: str
    dataset: DatasetSpec
    storage: str
    recommendation: Path
    dataset_name: str | None = None
    study_folder: Path = Path()
    weights: Mapping[str, Path] = field(default_factory=dict)
    finalists: int = 3
    seeds: int = 5
    reopen: bool = False
    command: str = ""


@dataclass(frozen=True)
class _Opening:
    """One opening of the test set: what is evaluated on it, and which (candidate, seed) is done."""

    number: int
    candidates: Sequence[Candidate]
    seeds: Sequence[int]
    done: frozenset[tuple[str, int]]


def fresh_seeds(study_seed: int, count: int) -> list[int]:
    """Return the first ``count`` seeds of a study's confirmations: bytes of the sha256 of ``<seed>/confirm/<0, 1, …>``.

    Trials draw theirs from ``<seed>/<number>``, so that no head and no order of images is repeated. All candidates get
    the same seeds: they see the images in the same orders.
    """
    texts = (f"{study_seed}/confirm/{i}" for i in range(count))
    return [int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little") >> 1 for text in texts]


def confirm(
    request: Request, note: Callable[[str], None] = log.info, on_end: Callable[[Store], None] = lambda _: None
) -> Rows:
    """Measure the finalists, the advice, the recipes and the baselines on the test set and write the recommendation.

    A confirmation that was interrupted continues: what it had measured stays.

    Args:
        request: what the user asked for.
        note: callback(text) for lines that the user should see.
        on_end: callback(store), called once measuring has ended, whatever ended it.

    Returns:
        The study's rows.

    Raises:
        SpecError: an unknown study, a study with nothing to confirm, or a finished opening without ``reopen``.
        StorageError: somebody works on the study, or the recommendation cannot be written.
    """
    if request.finalists < 1 or request.seeds < 2:
        given = f"--finalists {request.finalists} --seeds {request.seeds}"
        raise SpecError(f"{given}: give 1 finalist and 2 seeds or more, one seed has no spread")
    store = Store(request.storage)
    row = store.studies.get(request.study)
    may_open(store, request.study, request.reopen)
    nobody_works_on(store, request.study)
    spec = StudySpec.model_validate(row.spec)
    split = load_split(request.dataset, spec)
    check_same_images(row, split)
    weights = load_all(spec.search.backbones, request.weights)
    sources = {name: found.source for name, found in weights.items()}
    try:
        with recorded_session(store, spec, sources, request.command) as session:
            nobody_works_on(store, request.study, before=session)
            _measure(request, store, spec, split, weights, session, note)
    finally:
        on_end(store)
    rows = retry_while_unavailable(lambda: Rows.read(store, spec.name))
    _write_recommendation(rows, request)
    return rows


def _measure(
    request: Request,
    store: Store,
    spec: StudySpec,
    split: Split,
    weights: Mapping[str, Weights],
    session: int,
    note: Callable[[str], None],
) -> None:
    opening = _open(request, store, spec, split, session)
    retrained = on_each_backbone(*_retraining(spec, split), weights, user_cache() / "features")
    problems = with_rates(store, retrained)
    first, *_ = problems.values()
    for candidate in opening.candidates:
        for seed in opening.seeds:
            if (candidate.name, seed) in opening.done:
                continue
            strategy = candidate.strategy
            result = _train(candidate, first if strategy is None else problems[strategy.backbone], seed)
            retry_while_unavailable(
                partial(
                    store.confirmations.record,
                    spec.name,
                    opening.number,
                    Confirmation(candidate.name, seed, len(first.split.train), result),
                    session=session,
                )
            )
            measured = "" if result.val_accuracy is None else f", test accuracy {result.val_accuracy:.4f}"
            roles = ", ".join(candidate.roles)
            note(f"{candidate.name} ({roles}), seed {seed}: {result.status}{measured}, {result.seconds.total:.1f} s")
    retry_while_unavailable(lambda: store.confirmations.finish_test_opening(spec.name, opening.number))


def may_open(store: Store, study: str, reopen: bool) -> None:
    """Raise SpecError where the test set was opened before, that opening is complete, and ``reopen`` is not given."""
    openings = store.confirmations.openings(study)
    if len(openings) and not reopen and openings["finished_at"].notna().iloc[-1]:
        raise SpecError(
            f"the test set of study {study!r} was opened on {openings['opened_at'].iloc[-1]:%Y-%m-%d %H:%M} UTC "
            f"(opening {openings['number'].iloc[-1]}): what is chosen after a look at it is no longer measured by it. "
            "Its figures are on the study's page; --reopen opens it again, and that is marked next to them"
        )


def _open(request: Request, store: Store, spec: StudySpec, split: Split, session: int) -> _Opening:
    """Continue the opening that was interrupted, or record a new one. The test set has not been read yet."""
    openings = store.confirmations.openings(spec.name)
    if len(openings) and openings["finished_at"].isna().iloc[-1]:
        last = openings.iloc[-1]
        if (last["finalists"], len(last["seeds"])) != (request.finalists, request.seeds):
            raise SpecError(
                f"--finalists {request.finalists} --seeds {request.seeds}: the opening of "
                f"{last['opened_at']:%Y-%m-%d %H:%M} UTC was interrupted and goes on with --finalists "
                f"{last['finalists']} --seeds {len(last['seeds'])} first: its candidates were fixed before it"
            )
        rows = store.confirmations.frame(spec.name)
        rows = rows[rows["opening"] == last["number"]]
        done = frozenset(zip(rows["candidate"], rows["seed"], strict=True))
        number = int(last["number"])
        return _Opening(number, store.confirmations.candidates(spec.name, number), last["seeds"], done)
    chosen = candidates(
        store.trials.frame(spec.name),
        store.baselines.frame(spec.name),
        spec.metric,
        spec.search.cost_measure,
        len(split.validation),
        request.finalists,
    )
    seeds = fresh_seeds(spec.seed, request.seeds)
    number = store.confirmations.record_test_opening(
        spec.name,
        Opening(
            command=request.command, finalists=request.finalists, seeds=seeds, n_test=len(split.test), candidates=chosen
        ),
        session=session,
    )
    return _Opening(number, chosen, seeds, frozenset())


def _retraining(spec: StudySpec, split: Split) -> tuple[StudySpec, Split]:
    """Return the study and split in which candidates are trained: on training and validation images together, and
    evaluated on the test set, which is read here.

    The limit of a trial's cost grows with the images, so that exactly what the search refused is refused.
    """
    known = join(split.train, split.validation)
    limit = spec.budget.max_trial_cost
    if limit is not None:
        limit *= len(known) / len(split.train)
    budget = spec.budget.model_copy(update={"max_trial_cost": limit})
    return spec.model_copy(update={"budget": budget}), replace(split, train=known, validation=split.test.open())


def _train(candidate: Candidate, problem: Problem, seed: int) -> TrialResult:
    if candidate.strategy is not None:
        last = problem.spec.budget.epochs_of(candidate.strategy)
        return run_trial(candidate.strategy, problem, seed=seed, on_checkpoint=lambda _: None, first_look=last)
    (name,) = (name for name in BASELINES if name == candidate.name)
    return run_baseline(name, problem, seed=seed)


def _write_recommendation(rows: Rows, request: Request) -> None:
    advised, file = recommend(rows), request.recommendation
    assert advised is not None  # it has just been confirmed
    name = request.dataset_name or rows.spec["data"]["dataset"]
    path = request.study_folder / name
    if name not in shipped("datasets") and path.exists():  # it must be found from another folder too
        name = str(path.absolute())
    study = recommended_study(rows, advised)
    study["data"] = study["data"] | {"dataset": name}
    head = (
        f"# What `harness confirm` recommends after the search {rows.name!r}.\n"
        f"# python -m harness.run --study {shlex.quote(str(file))}\n"
    )
    try:
        file.write_text(head + as_toml(study), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{file} cannot be written ({error.strerror}): choose another --out") from None
