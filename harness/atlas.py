"""Audit the article's table: `python -m harness.atlas --data mnist --data my.npz --sizes 100,300,1000`.

Run the same small search on nested subsets of several data sets. The page shows, by size and similarity to ImageNet,
which strategy wins, by how much, for which compute, and where the table is right.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from dashboards.atlas import write_atlas
from harness import command
from harness.analysis.rows import atlas_trials
from harness.analysis.verdicts import Found, places
from harness.arguments import Parser
from harness.core.errors import SpecError
from harness.core.framework import loading
from harness.core.paths import RESULTS, expand
from harness.core.search_space import IMAGE_SIZES
from harness.core.spec import AdviceSpec, DatasetSpec
from harness.core.strict_json import dumps
from harness.storage.store import Store


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see `harness.command.main`)."""
    stopped = "everything finished is kept. Run the same command again to continue."
    return command.main(_parser(), _run, argv, stopped=stopped)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m harness.atlas",
        description="Run the same small search on nested subsets of several data sets and show, by size and similarity "
        "to ImageNet, which strategy wins, by how much, for which compute, and where the article's table is right. "
        "Running the same command again continues where it stopped.",
    )
    parser.add_argument(
        "--data",
        type=expand,
        action="append",
        default=[],
        metavar="SET",
        help="a data set as for `harness run`: a name, or the path of a folder, .csv, .npz or .toml; repeat for each",
    )
    parser.add_argument(
        "--sizes", type=_numbers, default=(100, 300, 1000), metavar="N,N,…", help="numbers of training images"
    )
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="repetitions (default: %(default)s)")
    parser.add_argument(
        "--validation-size", type=int, default=200, metavar="N", help="validation images (default: %(default)s)"
    )
    parser.add_argument(
        "--image-size", type=int, default=32, metavar="PIXELS", help="side of the square (default: %(default)s)"
    )
    parser.add_argument("--name", default="atlas", help="prefix of the studies' names (default: %(default)s)")
    command.add_storage(parser)
    command.add_weights(parser)
    parser.add_argument(
        "--out",
        type=Path,
        default=RESULTS / "atlas.html",
        metavar="PAGE",
        help="the page to write; the rows are written next to it as .json (default: %(default)s)",
    )
    parser.add_argument("--rows", type=Path, metavar="JSON", help="run nothing; draw the page from these rows")
    boundaries = AdviceSpec()
    parser.add_argument(
        "--large-at",
        type=int,
        default=boundaries.large_at,
        metavar="N",
        help="training images from which a set counts as large (default: %(default)s)",
    )
    parser.add_argument(
        "--similar-below",
        type=float,
        default=boundaries.similar_below,
        metavar="D",
        help="kernel distance to ImageNet under which a set counts as similar (default: %(default)s)",
    )
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(sorted({int(part) for part in text.split(",")}))


def _run(arguments: argparse.Namespace, recorded: str) -> None:
    try:
        boundaries = AdviceSpec(large_at=arguments.large_at, similar_below=arguments.similar_below)
    except ValueError:
        raise SpecError(
            f"--large-at {arguments.large_at} --similar-below {arguments.similar_below}: give numbers over 0"
        ) from None
    if arguments.rows is not None:
        write_atlas(read_rows(arguments.rows), boundaries, arguments.out)
        print(f"page: {arguments.out}")
        return
    datasets = _datasets(arguments)
    command.prepare_output(arguments.out, arguments.storage, {".json": "table of rows"})
    rows = arguments.out.with_suffix(".json")
    with loading():
        from harness.workers.atlas_cells import Atlas, run_atlas  # heavy: TensorFlow or JAX is loaded

    atlas = Atlas(
        arguments.name,
        datasets,
        arguments.sizes,
        arguments.seeds,
        arguments.validation_size,
        arguments.image_size,
    )
    try:
        run_atlas(atlas, arguments.storage, arguments.weights, recorded)
    finally:
        found = atlas_trials(Store(arguments.storage), atlas.name)
        if places(found, boundaries):
            rows.write_text(dumps([asdict(trial) for trial in found], indent=0) + "\n", encoding="utf-8")
            write_atlas(found, boundaries, arguments.out)
            print(f"rows: {rows}\npage: {arguments.out}")


def _datasets(arguments: argparse.Namespace) -> tuple[DatasetSpec, ...]:
    if not arguments.data:
        raise SpecError("no data set given: add --data SET for each, or --rows JSON")
    for flag, least in (("sizes", 3), ("seeds", 1), ("validation_size", 1), ("image_size", IMAGE_SIZES[0])):
        given = getattr(arguments, flag)
        if min(given if flag == "sizes" else (given,)) < least:
            shown = ",".join(map(str, given)) if flag == "sizes" else given
            raise SpecError(f"--{flag.replace('_', '-')} {shown}: give {least} or more")
    datasets = tuple(DatasetSpec.load(command.data_given(name), Path.cwd()) for name in arguments.data)
    names = [dataset.name for dataset in datasets]
    if len(set(names)) < len(names):
        raise SpecError(f"--data {' --data '.join(names)}: two sets have the same name, give each its own")
    return datasets


def read_rows(file: Path) -> list[Found]:
    """Read the rows that an atlas has written. Raises SpecError if the file does not hold any."""
    try:
        return [Found(**row) for row in json.loads(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise SpecError(f"--rows {file} cannot be read as the rows of an atlas ({error})") from None


if __name__ == "__main__":
    sys.exit(main())
