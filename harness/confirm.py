"""Confirm what a search found: `python -m harness.confirm --study NAME` opens the sealed test part, once."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from dashboards.terminal import confirmation_as_json, print_confirmation
from harness.arguments import Parser, recorded_command
from harness.core.environment import stop_on_sigterm
from harness.core.errors import HarnessError
from harness.core.paths import DEFAULT_STORAGE, page_path, recommendation_path
from harness.run import loading, prepare_output
from harness.storage import database
from harness.storage.store import Store
from harness.worker import dataset_of
from harness.workers.progress import log_to


@database.closing()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code, as those of `harness.run`."""
    arguments = _parser().parse_args(argv)
    stop_on_sigterm()
    try:
        _confirm(arguments, recorded_command("confirm", argv))
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped; what was measured is kept. Run the same command again to go on.", file=sys.stderr)
        return 130
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="python -m harness.confirm",
        description="Train the finalists of a search, the advice, the article's recipes and every baseline anew, on "
        "fresh seeds and on train and validation together, and measure them on the sealed test part, which is opened "
        "for this once. Ends with a recommendation in words and as TOML.",
    )
    parser.add_argument("--study", required=True, metavar="NAME", help="the study's name in the database")
    parser.add_argument(
        "--finalists", type=int, default=3, metavar="N", help="from the front, at most (default: %(default)s)"
    )
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="of each candidate (default: %(default)s)")
    parser.add_argument(
        "--reopen", action="store_true", help="open a test part that has been opened; the results are marked with it"
    )
    parser.add_argument(
        "--storage", default=DEFAULT_STORAGE, metavar="URL", help="SQLAlchemy URL (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, metavar="PAGE", help="the page to write (default: results/<study>.html)")
    parser.add_argument("--weights", type=Path, metavar="PATH", help="VGG16 weights, as for `harness run`")
    parser.add_argument(
        "--dataset", metavar="PATH", help="the data set here, where it lies elsewhere than for `harness run`"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
    return parser


def _confirm(arguments: argparse.Namespace, command: str) -> None:
    dataset = dataset_of(Store(arguments.storage), arguments.study, arguments.dataset)
    with loading():
        from harness.confirmation.test_opening import Request, confirm  # heavy: TensorFlow or JAX is loaded

    request = Request(
        study=arguments.study,
        dataset=dataset,
        dataset_name=arguments.dataset,
        storage=arguments.storage,
        page=arguments.out or page_path(arguments.study),
        weights=arguments.weights,
        finalists=arguments.finalists,
        seeds=arguments.seeds,
        reopen=arguments.reopen,
        command=command,
    )
    log, recommendation = request.page.with_suffix(".log"), recommendation_path(request.page)
    prepare_output(request.page, request.storage, {log: "log", recommendation: "recommendation"})
    log_to(log)
    rows = confirm(request, lambda text: print(text, file=sys.stderr, flush=True))
    if arguments.json:
        print(json.dumps(confirmation_as_json(rows), indent=2))
    else:
        print_confirmation(rows, request.page)


if __name__ == "__main__":
    sys.exit(main())
