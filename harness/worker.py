"""A worker on any machine: `python -m harness.worker --study NAME --storage URL` joins a study that has been begun."""

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from harness.arguments import Parser, recorded_command
from harness.core.environment import stop_on_sigterm
from harness.core.errors import HarnessError, SpecError
from harness.core.spec import DatasetSpec, shipped
from harness.run import loading
from harness.storage import database
from harness.storage.store import Store


@database.closing()
def main(argv: Sequence[str] | None = None) -> int:
    """Work on the study until none of its trials is left; exit codes as those of `harness.run`."""
    arguments = _parser().parse_args(argv)
    stop_on_sigterm()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        _work(arguments, recorded_command("worker", argv))
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped; the trials begun here wait for another worker.", file=sys.stderr)
        return 130
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="python -m harness.worker",
        description="Run trials of a study that `harness run` has begun, from any machine that reaches its database, "
        "until all are finished. What is searched, on which images and for how much, is the study's.",
    )
    parser.add_argument("--study", required=True, metavar="NAME", help="the study's name in the database")
    parser.add_argument("--storage", required=True, metavar="URL", help="SQLAlchemy URL of the database")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes here (default: 1)")
    parser.add_argument("--weights", type=Path, metavar="PATH", help="VGG16 weights, as for `harness run`")
    parser.add_argument(
        "--dataset", metavar="PATH", help="the data set here, where it lies elsewhere than for `harness run`"
    )
    parser.add_argument("--time-limit", type=float, metavar="SECONDS", help="no trial starts after that many seconds")
    return parser


def _work(arguments: argparse.Namespace, command: str) -> None:
    if arguments.workers < 1:
        raise SpecError(f"--workers {arguments.workers}: give 1 or more")
    store = Store(arguments.storage)
    dataset = dataset_of(store, arguments.study, arguments.dataset)
    with loading():
        from harness.search.optuna_study import open_study, standing  # heavy: TensorFlow or JAX is loaded
        from harness.workers.progress import Progress
        from harness.workers.work import Job, follow, supervise

    job = Job(arguments.study, arguments.storage, dataset, command, arguments.weights)
    if arguments.time_limit is not None:
        job = Job(**{**vars(job), "deadline": time.monotonic() + arguments.time_limit})
    study, row = open_study(store, arguments.study), store.study(arguments.study)
    assert row is not None
    progress = Progress(len(study.get_trials(deepcopy=False)), row.metric, lambda: standing(study))
    try:
        supervise(job, arguments.workers, look=follow(store, study, progress))
    finally:
        progress.close()


def dataset_of(store: Store, study: str, given: str | None) -> DatasetSpec:
    """The data set of a study: ``given`` by name or file, else as the study names it.

    Raises SpecError where there is no such study, or its data set's file is not here.
    """
    row = store.study(study)
    if row is None:
        known = ", ".join(store.study_names()) or "none"
        raise SpecError(f"there is no study {study!r} in that database (there: {known}): begin it with `harness run`")
    if given is not None:
        return DatasetSpec.load(given, Path.cwd())
    name = row.spec["data"]["dataset"]
    if name in shipped("datasets"):
        return DatasetSpec.load(name, Path.cwd())
    declared = DatasetSpec.model_validate(row.data["declared"])
    if declared.file is not None and not declared.file.exists():
        raise SpecError(f"the images {declared.file} of study {study!r} are not here: give them with --dataset")
    return declared


if __name__ == "__main__":
    sys.exit(main())
