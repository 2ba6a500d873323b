"""Write the page of one or more studies as files, or serve it live: `python -m harness.dashboard --study NAME`."""

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
from harness.core.errors import SpecError
from harness.core.paths import page_path
from harness.storage.outputs import check_output
from harness.storage.sqlite_files import refuse_missing_file
from harness.storage.store import Store


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see `harness.command.main`). Ctrl-C ends serving with code 0."""
    return command.main(_parser(), _run, argv)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m harness.dashboard",
        description="Write a study's page with the recommendation, accuracy versus compute, freeze depth, time and all "
        "trials: one HTML file that needs no network.",
    )
    parser.add_argument(
        "--study",
        required=True,
        action="append",
        metavar="NAME",
        help="the study's name in the database; repeat for each study to compare it with",
    )
    command.add_storage(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page to write (default: results/<study>.html)")
    parser.add_argument(
        "--serve",
        action="store_true",
        help="also serve the page, live during a run, together with optuna-dashboard, on this machine only",
    )
    parser.add_argument(
        "--port", type=int, default=8080, help="port of the server; 0 for a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--png", type=Path, metavar="DIR", help="also write each figure as a PNG there (needs Chromium or Chrome)"
    )
    parser.add_argument("--pdf", type=Path, metavar="FILE", help="also write the page as a PDF (needs the same)")
    return parser


def _run(arguments: argparse.Namespace, _: str) -> None:
    study, *compared = arguments.study
    if study in compared or len(set(compared)) < len(compared):
        raise SpecError(f"--study {' --study '.join(arguments.study)} names a study twice: give each once")
    refuse_missing_file(arguments.storage)
    page = arguments.out or page_path(" against ".join(arguments.study))
    check_output(page, "page", arguments.storage)
    if arguments.pdf:
        check_output(arguments.pdf, "PDF", arguments.storage, "--pdf")
    store = Store(arguments.storage, must_exist=True)
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
        from harness.strategy_search.mirror import Mirror

        mirrors = [Mirror(store, name) for name in arguments.study]

        def update() -> None:
            for mirror in mirrors:
                mirror.update()

        with suppress(KeyboardInterrupt):
            serve(store, arguments.study, arguments.port, update)


if __name__ == "__main__":
    sys.exit(main())
