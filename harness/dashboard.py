"""The command line of the dashboard: write the page of one or more studies, as files or live."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dashboards.images import write_pdf, write_pngs
from dashboards.page import write_page
from harness import command
from harness.analysis.rows import Rows
from harness.arguments import Parser
from harness.core.errors import SpecError, StorageError
from harness.core.paths import page_path
from harness.storage import database
from harness.storage.outputs import check_output
from harness.storage.store import Store


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see `harness.command.main`); Ctrl-C is how serving ends: 0."""
    return command.main(_parser(), _run, argv)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m harness.dashboard",
        description="Write a study's page: what to use, accuracy versus compute, frozen layers, where the time went, "
        "every trial, all in one HTML file that needs no network.",
    )
    parser.add_argument(
        "--study",
        required=True,
        action="append",
        metavar="NAME",
        help="the study's name, as its file gives it; again for each study to compare it with",
    )
    command.add_storage(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write it (default: results/<study>.html)")
    parser.add_argument(
        "--serve",
        action="store_true",
        help="also show it live while a run goes on, with optuna-dashboard beside it, on this machine only",
    )
    parser.add_argument(
        "--port", type=int, default=8080, help="where to serve; 0 takes a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--png", type=Path, metavar="DIR", help="also write each figure as a PNG there (needs Chromium or Chrome)"
    )
    parser.add_argument("--pdf", type=Path, metavar="FILE", help="also write the page as a PDF (the same)")
    return parser


def _run(arguments: argparse.Namespace, _: str) -> None:
    study, *compared = arguments.study
    if study in compared or len(set(compared)) < len(compared):
        raise SpecError(f"--study {' --study '.join(arguments.study)} names a study twice: give each once")
    _refuse_missing_file(arguments.storage)
    page = arguments.out or page_path(" against ".join(arguments.study))
    check_output(page, "page", arguments.storage)
    if arguments.pdf:
        check_output(arguments.pdf, "PDF", arguments.storage, "--pdf")
    store = Store(arguments.storage)
    write_page(store, study, page, *compared)
    print(f"page: {page}", flush=True)
    if arguments.png or arguments.pdf:
        studies = [Rows.read(store, name) for name in arguments.study]
        for file in write_pngs(studies, arguments.png) if arguments.png else ():
            print(f"figure: {file}", flush=True)
        if arguments.pdf:
            write_pdf(studies, arguments.pdf)
            print(f"pdf: {arguments.pdf}", flush=True)
    if arguments.serve:
        from dashboards.live import serve  # optuna-dashboard takes seconds to import

        with suppress(KeyboardInterrupt):
            serve(store, arguments.study, arguments.port)


def _refuse_missing_file(storage: str) -> None:
    """To look at results must not create an empty database. What else may be wrong with the URL, ``Store`` says."""
    files = database.files_of(storage)
    if files and not files[0].is_file():
        raise StorageError(
            f"there is no database {str(files[0])!r}: run a study first (python -m harness.run --study …), or give "
            f"the URL of another with --storage"
        )


if __name__ == "__main__":
    sys.exit(main())
