"""Check a data set before a study is run on it: `python -m harness.data check PATH`."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from harness import command
from harness.arguments import Parser
from harness.core.errors import DataError
from harness.core.framework import loading
from harness.core.paths import expand
from harness.core.spec import ANY_IMAGES, DatasetSpec, StudySpec
from harness.core.strategy import VGG16
from harness.data.checks import check, print_check
from harness.data.dataset import draw, draw_listed
from harness.data.inspection import look
from harness.data.sources import read_listing


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see `harness.command.main`). Data that a study would refuse: 2."""
    return command.main(_parser(), _run, argv)


def _parser() -> Parser:
    parser = Parser(prog="python -m harness.data", description="Check a data set before a study is run on it.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    summary = "counts, sizes, unreadable files, duplicates, conflicting labels, imbalance, constant images"
    checked = commands.add_parser(
        "check",
        help=summary,
        description=f"Report {summary}. If `harness run --data PATH` would refuse the data, end with the same error "
        "and exit code 2.",
    )
    checked.add_argument(
        "path", type=expand, metavar="PATH", help="folder, manifest, .npz, .toml, or the name of a data set"
    )
    checked.add_argument(
        "--flip",
        action="store_true",
        help="also say whether mirrored images keep their class, by features of VGG16: whether to set data.flip",
    )
    command.add_weights(checked)
    checked.add_argument("--strict", action="store_true", help="exit with code 2 if a file cannot be read")
    checked.add_argument("--json", action="store_true", help="print the whole report as JSON, with every file")
    return parser


def _run(arguments: argparse.Namespace, _: str) -> None:
    spec, dataset = StudySpec.load(ANY_IMAGES, {"data.dataset": command.data_given(arguments.path)})
    listing = read_listing(dataset)
    report = check(listing, look(listing), listing.parts)
    refusal = None
    try:
        more = draw_listed(listing, spec.data, spec.seed).parts.notes(listing)
    except DataError as error:
        refusal, more = error, [f"a study of this data set is refused: {error}"]
    if arguments.flip and refusal is None:
        more = [*more, _mirroring(spec, dataset, arguments.weights)]
    report = replace(report, notes=[*report.notes, *more])
    if arguments.json:
        command.print_json(report.as_dict())
    else:
        print_check(report)
    if arguments.strict:
        report.refuse_unreadable()
    if refusal is not None:
        raise refusal


def _mirroring(spec: StudySpec, dataset: DatasetSpec, weights: Mapping[str, Path]) -> str:
    with loading():
        from harness.guidance.mirroring import IMAGE_SIZE, SAMPLE, measure_mirroring  # heavy: TensorFlow or JAX

    sample = draw(dataset, spec.data, spec.seed).some(SAMPLE, IMAGE_SIZE)
    return measure_mirroring(sample, weights.get(VGG16)).sentence()


if __name__ == "__main__":
    sys.exit(main())
