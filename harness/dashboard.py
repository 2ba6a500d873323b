"""The command line of the dashboard: write the page of one or more studies, as files or live."""

import sys
from collections.abc import Sequence
from pathlib import Path

from dashboards.images import write_pdf, write_pngs
from dashboards.page import write_page
from harness.analysis.rows import Rows
from harness.arguments import Parser
from harness.core.environment import stop_on_sigterm
from harness.core.errors import HarnessError, SpecError, StorageError
from harness.core.paths import DEFAULT_STORAGE, page_path
from harness.storage import database
from harness.storage.outputs import check_output
from harness.storage.store import Store


@database.closing()
def main(argv: Sequence[str] | None = None) -> int:
    """Write the page and, with ``--serve``, serve until Ctrl-C, which is how serving ends and therefore exit code 0.

    Exit code 2 for what the user can mend, with one line on stderr that says how.
    """
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
    parser.add_argument(
        "--storage",
        default=DEFAULT_STORAGE,
        metavar="URL",
        help="SQLAlchemy URL of the database (default: %(default)s)",
    )
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
    arguments = parser.parse_args(argv)
    stop_on_sigterm()
    study, *compared = arguments.study
    try:
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

            serve(store, arguments.study, arguments.port)
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 0 if arguments.serve else 130
    return 0


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
