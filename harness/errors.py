"""Show which images a trial gets wrong, and which labels may be wrong: `python -m harness.errors --study NAME`."""

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dashboards.errors_page import render
from dashboards.page import save
from harness import command
from harness.analysis.mistakes import Mistakes
from harness.arguments import Parser
from harness.core.errors import DataError, SpecError, StorageError
from harness.core.framework import loading
from harness.core.paths import page_path
from harness.data.relabelling import KEEP
from harness.review.contents import Contents
from harness.review.study_images import StudyImages
from harness.storage.outputs import check_output
from harness.storage.store import Store

if TYPE_CHECKING:
    from harness.review.suspects import Suspect


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see `harness.command.main`)."""
    return command.main(_parser(), _run, argv)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m harness.errors",
        description="Write a page with the images that a trial gets wrong: confusion matrix to click, most confident "
        "mistakes, hardest images, label suspects, outliers. One HTML file with thumbnails of validation and training "
        "images; the test set stays sealed.",
    )
    parser.add_argument("--study", required=True, metavar="NAME", help="the study's name in the database")
    parser.add_argument(
        "--trial", type=int, metavar="N", help="trial to look at (default: the complete one that validates best)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the page to write (default: results/<study>.errors.html)"
    )
    parser.add_argument(
        "--csv",
        type=Path,
        metavar="FILE",
        help="also list the label suspects there: edit its column decision (keep, drop or a class), then `harness run "
        "--data PATH --name NEW --relabel FILE`",
    )
    parser.add_argument(
        "--heat-maps",
        action="store_true",
        help="also show where the network looks (Grad-CAM) in the most confident mistakes; the trial is trained again",
    )
    parser.add_argument(
        "--test", action="store_true", help="the test images instead, once `harness confirm` has opened them; marked"
    )
    command.add_storage(parser)
    command.add_weights(parser)
    command.add_moved_data(parser)
    return parser


def _run(arguments: argparse.Namespace, _: str) -> None:
    page = arguments.out or page_path(f"{arguments.study}.errors")
    check_output(page, "page", arguments.storage)
    if arguments.csv is not None and arguments.csv.exists():
        raise StorageError(f"--csv {arguments.csv} exists and may hold your decisions: give the name of a new file")
    if arguments.test and arguments.heat_maps:
        raise SpecError("--heat-maps --test: a confirmation trains other networks, give only one of the two")
    store = Store(arguments.storage, must_exist=True)
    dataset = command.dataset_of(store, arguments.study, arguments.data)
    mistakes = Mistakes.read(store, arguments.study, arguments.trial, test=arguments.test)
    with loading():
        from harness.review.heat_maps import heat_maps  # heavy: TensorFlow or JAX is loaded
        from harness.review.searched_images import SearchedImages, best_frozen
        from harness.review.suspects import Judged

    images = StudyImages.find(store, arguments.study, dataset)
    judged, heat, notes = None, {}, []
    try:
        problem, size = best_frozen(store, arguments.study, images, arguments.weights)
    except DataError as error:
        if arguments.csv is not None:
            raise
        notes.append(f"label suspects and outliers are left out: {error}")
    else:
        assert images.drawn is not None
        judged = Judged.of(SearchedImages.of(images.drawn, problem, size), images.drawn.listing)
        if arguments.csv is not None:
            _write_csv(arguments.csv, judged.suspects)
        if arguments.heat_maps and mistakes is not None:
            heat = heat_maps(mistakes, store, problem, arguments.weights, command.say)
    contents = Contents.of(arguments.study, images, mistakes, judged, heat, notes)
    save(render(contents), page)
    for note in contents.notes:
        command.say(note)
    print(f"page: {page}")


def _write_csv(file: Path, suspects: Sequence["Suspect"]) -> None:
    try:
        with file.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(("file", "label", "suggested", "score", "decision"))
            writer.writerows((each.file, each.label, each.suggested, f"{each.score:.6f}", KEEP) for each in suspects)
    except OSError as error:
        raise StorageError(f"--csv {file} cannot be written ({error.strerror}): give another file") from None
    command.say(
        f"{len(suspects):,} label suspects are listed in {file}: change keep to drop or to the right class where it is "
        f"wrong, then `harness run --data PATH --name NEW --relabel {file}`"
    )


if __name__ == "__main__":
    sys.exit(main())
