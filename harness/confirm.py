"""Evaluate the finalists of a search on the held-out test set: `python -m harness.confirm --study NAME`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from harness import command, main_job
from harness.arguments import Parser
from harness.core.paths import page_path


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see `harness.command.main`)."""
    stopped = "what was measured is kept. Run the same command again to continue."
    return command.main(_parser(), _run, argv, stopped=stopped)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m harness.confirm",
        description="Train the finalists of a search, the advice, the article's recipes and every baseline again, with "
        "fresh seeds and on the training and validation images together, and evaluate them on the held-out test set, "
        "which is opened once for this. Ends with a recommendation in words and as TOML.",
    )
    parser.add_argument("--study", required=True, metavar="NAME", help="the study's name in the database")
    parser.add_argument(
        "--finalists", type=int, default=3, metavar="N", help="most finalists from the front (default: %(default)s)"
    )
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="seeds per candidate (default: %(default)s)")
    parser.add_argument(
        "--reopen", action="store_true", help="open a test set that was opened before; the results are marked"
    )
    command.add_storage(parser)
    parser.add_argument("--out", type=Path, metavar="PAGE", help="the page to write (default: results/<study>.html)")
    command.add_weights(parser)
    command.add_moved_data(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
    return parser


def _run(arguments: argparse.Namespace, recorded: str) -> None:
    from dashboards.terminal import confirmation_as_json, print_confirmation

    page = arguments.out or page_path(arguments.study)
    rows = main_job.confirm(
        arguments.study,
        page,
        storage=arguments.storage,
        recorded=recorded,
        weights=arguments.weights,
        data=arguments.data,
        finalists=arguments.finalists,
        seeds=arguments.seeds,
        reopen=arguments.reopen,
    )
    if arguments.json:
        command.print_json(confirmation_as_json(rows))
    else:
        print_confirmation(rows, page)


if __name__ == "__main__":
    sys.exit(main())
