"""Run trials of an existing study on any machine: `python -m harness.worker --study NAME --storage URL`."""

import argparse
import logging
import sys
from collections.abc import Sequence

from harness import command
from harness.arguments import Parser
from harness.core.clock import TimeLimit
from harness.core.errors import SpecError
from harness.core.framework import loading
from harness.core.results import Standing
from harness.storage.database import retry_while_unavailable
from harness.storage.sqlite_files import expand_home
from harness.storage.store import Store
from harness.workers.children import check_main_guard
from harness.workers.job import Job


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see `harness.command.main`)."""
    return command.main(_parser(), _run, argv, stopped="the trials that ran here wait for another worker.")


def _parser() -> Parser:
    parser = Parser(
        prog="python -m harness.worker",
        description="Run trials of a study that `harness run` has started, on any machine that reaches its database, "
        "until all are finished. Search space, images and budget are those of the study.",
    )
    parser.add_argument("--study", required=True, metavar="NAME", help="the study's name in the database")
    parser.add_argument(
        "--storage",
        type=expand_home,
        required=True,
        metavar="URL",
        help="SQLAlchemy URL of the database",
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="worker processes here (default: 1)")
    command.add_weights(parser)
    command.add_moved_data(parser)
    parser.add_argument(
        "--time-limit", type=command.duration, metavar="TIME", help="plan for this much time: 900, 15m or 2h"
    )
    return parser


def _run(arguments: argparse.Namespace, recorded: str) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    if arguments.workers < 1:
        raise SpecError(f"--workers {arguments.workers}: give 1 or more")
    check_main_guard(f"--workers {arguments.workers}")
    store = Store(arguments.storage, must_exist=True)
    dataset = command.dataset_of(store, arguments.study, arguments.data)
    with loading():
        from harness.storage.standing import standing
        from harness.strategy_search.mirror import mirror
        from harness.workers.processes import ProcessPool
        from harness.workers.progress import Progress
        from harness.workers.supervise import follow, supervise

    limit = TimeLimit.start(arguments.time_limit)
    job = Job(arguments.study, arguments.storage, dataset, recorded, arguments.weights, limit=limit)
    name, row = arguments.study, store.studies.get(arguments.study)

    def now_standing() -> Standing:
        return retry_while_unavailable(lambda: standing(store, name))

    progress = Progress(store.tickets.counts(name).planned, row.metric, now_standing, limit)
    try:
        pool = ProcessPool(job, arguments.workers)
        supervise(pool, arguments.workers, count_finished=follow(store, name, progress))
    finally:
        progress.close()
        retry_while_unavailable(lambda: mirror(store, name))


if __name__ == "__main__":
    sys.exit(main())
