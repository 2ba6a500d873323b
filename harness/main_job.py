"""The main job, from the study that the user asked for to its page: what `harness run` and `harness.search` share.

`harness confirm` and `Study.confirm` share the second half, `harness run` and `harness.search` what is written for
MLflow and TensorBoard.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness import command
from harness.core.errors import HarnessError, SpecError
from harness.core.framework import loading
from harness.core.paths import RECOMMENDATION, recommendation_path
from harness.core.spec import ANY_IMAGES, DatasetSpec, StudySpec, shipped
from harness.storage.database import retry_while_unavailable
from harness.storage.store import Store
from harness.workers.progress import log_to

if TYPE_CHECKING:
    from harness.analysis.rows import Rows
    from harness.workers.session import Request

_LOG = ".log"
_FLAGS = {"pruning.enabled": "--no-pruning"}


def flag(key: str) -> str:
    """Return the option of `harness run` that overrides ``key`` of a study: ``--train-size`` for data.train_size."""
    return _FLAGS.get(key, f"--{key.rpartition('.')[2].replace('_', '-')}")


@contextmanager
def naming_options(keys: Iterable[str]) -> Iterator[None]:
    """Let user errors in the block name overridden ``keys`` of a study by the options that gave their values."""
    try:
        yield
    except HarnessError as error:
        raise type(error)(_as_typed(str(error), keys)) from None


def _as_typed(message: str, keys: Iterable[str]) -> str:
    for key in keys:
        message = message.replace(f"{key} = ", f"{flag(key)} ").replace(f"{key} was ", f"{flag(key)} was ")
        if "." in key:  # others, such as "name", are words too
            message = message.replace(key, flag(key))
    return re.sub(r"^\S+\.toml: (?=--)", "", message)  # the value is not in that file


def resolve(
    study: str | None, data: str | None, overrides: Mapping[str, object], relabel: Path | None = None
) -> tuple[StudySpec, DatasetSpec]:
    """Return the study that was asked for and its data set, before anything is read of its images but their list.

    Args:
        study: a shipped study or the path of a TOML file. By default the study of any images.
        data: images to use instead of the study's. The study is then named after them.
        overrides: values by key, such as ``budget.trials``.
        relabel: a table of decisions on labels, which become a part of the study.

    Raises:
        HarnessError: neither is given, or the study or the table cannot be used.
    """
    if data is not None:
        where = command.data_given(data)
        dataset = DatasetSpec.load(where, Path.cwd())
        own = dataset.name if study is None else f"{dataset.name}_{Path(study).stem}"
        spec, dataset = StudySpec.load(
            ANY_IMAGES if study is None else study, {"name": own, **overrides, "data.dataset": where}
        )
    elif study is not None:
        spec, dataset = StudySpec.load(study, overrides)
    else:
        raise SpecError(
            f"no study given: add --study NAME, one of {', '.join(shipped('studies'))}, or a path; or your images with "
            "--data PATH"
        )
    return (spec if relabel is None else _relabelled(spec, dataset, relabel)), dataset


def _relabelled(spec: StudySpec, dataset: DatasetSpec, table: Path) -> StudySpec:
    """Return the study with the decisions on labels that ``table`` holds, which become a part of it."""
    from harness.data.relabelling import count, in_words, read_decisions
    from harness.data.sources import read_listing

    decisions = read_decisions(table, read_listing(dataset))
    command.say(f"{table}: {in_words(*count(decisions))}")
    return spec.model_copy(update={"data": spec.data.model_copy(update={"relabel": decisions})})


def search(request: "Request", page: Path, *, then_confirm: bool = False, quiet: bool = False) -> "Rows":
    """Bring the study to the number of trials asked for, write its page and its figures for optuna-dashboard.

    Args:
        request: what the user asked for. The log is written next to the page.
        page: the page to write. It is written whatever ends the search, unless that could not begin.
        then_confirm: check the recommendation's file, too, before anything is computed.
        quiet: show no progress.

    Returns:
        The study's rows.

    Raises:
        HarnessError: a user error, such as other images than the study was begun with.
    """
    with loading():
        from dashboards.optuna import attach
        from harness.rules.outcomes import recorded
        from harness.workers.session import run_study

    name, log = request.spec.name, _prepare(page, request.storage, recommendation=then_confirm)
    with _progress(quiet):
        rows = run_study(replace(request, log=log, constant=recorded().constant), _writing(name, page))
    attach(Store(request.storage), name)
    return rows


def confirm(
    study: str,
    page: Path,
    *,
    storage: str,
    recorded: str,
    weights: Mapping[str, Path],
    data: str | None = None,
    study_folder: Path = Path(),
    finalists: int = 3,
    seeds: int = 5,
    reopen: bool = False,
    quiet: bool = False,
) -> "Rows":
    """Confirm the finalists of a study on the test set, and write the recommendation and the page.

    Args:
        study: the study's name in the database.
        page: the page to write. The recommendation and the log are written next to it.
        storage: the database's URL.
        recorded: the command to record.
        weights: given files by backbone.
        data: the study's images, if they have moved since the search.
        study_folder: what the study's own name for its data is relative to.
        finalists: most finalists from the front.
        seeds: seeds per candidate.
        reopen: allow opening the test set once more.
        quiet: show no progress.

    Returns:
        The study's rows.

    Raises:
        HarnessError: a user error, such as a test set that was opened before without ``reopen``.
    """
    dataset = command.dataset_of(Store(storage, must_exist=True), study, data)
    with loading():
        from dashboards.optuna import attach
        from harness.confirmation import opening
        from harness.strategy_search.mirror import mirror

    _prepare(page, storage, recommendation=True)
    request = opening.Request(
        study=study,
        dataset=dataset,
        dataset_name=data,
        study_folder=study_folder,
        storage=storage,
        recommendation=recommendation_path(page),
        weights=weights,
        finalists=finalists,
        seeds=seeds,
        reopen=reopen,
        command=recorded,
    )
    with _progress(quiet):
        rows = opening.confirm(request, command.say, _writing(study, page))
    store = Store(storage)
    mirror(store, study)
    attach(store, study)
    return rows


@contextmanager
def tracking(study: str, storage: str, mlflow: str | None, tensorboard: Path | None) -> Iterator[None]:
    """Write the study to an MLflow store and for TensorBoard, where they are given, once the block has ended without an
    error.

    Args:
        study: the study's name in the database.
        storage: the database's URL.
        mlflow: the URI of the MLflow store.
        tensorboard: the folder of `tensorboard --logdir`.

    Raises:
        HarnessError: one of them cannot be used. What can be known before is known before the block begins.
    """
    if mlflow is not None:
        from dashboards.mlflow_runs import check_mlflow, write_mlflow

        check_mlflow(mlflow)
    if tensorboard is not None:
        from dashboards.tensorboard_runs import check_tensorboard, write_tensorboard

        check_tensorboard(tensorboard)
    yield
    if mlflow is not None:
        write_mlflow(Store(storage), study, mlflow)
    if tensorboard is not None:
        write_tensorboard(Store(storage), study, tensorboard)


def _prepare(page: Path, storage: str, *, recommendation: bool) -> Path:
    """Check what will be written and begin to log next to the page; return the log."""
    others = {_LOG: "log"} | ({RECOMMENDATION: "recommendation"} if recommendation else {})
    command.prepare_output(page, storage, others)
    log = page.with_suffix(_LOG)
    log_to(log)
    return log


def _writing(study: str, page: Path) -> Callable[[Store], None]:
    from dashboards.page import write_page

    return lambda store: retry_while_unavailable(lambda: write_page(store, study, page))


@contextmanager
def _progress(quiet: bool) -> Iterator[None]:
    """Drop what the block writes to standard error, where ``quiet``. Warnings go through handlers that are there
    already, and errors come after the block."""
    if not quiet:
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stderr(nowhere):  # noqa: PTH123
        yield
