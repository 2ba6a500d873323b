"""What the article's table is worth at two image sizes: the verdicts of the atlas on the rows of the league.

    python -m benchmarks.league.verdicts [--large-at 100000] [--similar-below 0.15] [--write]

Prints tables in Markdown, or writes them to docs/guidance.md, computed from the recorded rows alone. For each scenario:
by how many points the advised strategy of VGG16 leads the best other one of the article's four, mean over sets and
numbers of images, with a 95 % interval over the sets. For each of the four: how often it is the best and how far behind
the best it is. Only places count that have all four at both sizes.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from benchmarks.league.record import ROWS, SETS, rows
from benchmarks.table import placed
from harness.analysis.verdicts import Found, Verdict, places, verdicts
from harness.core.spec import AdviceSpec
from harness.core.strategy import ARTICLE_KINDS, VGG16, Strategy
from harness.guidance.advice import ADVISED
from harness.rules.arms import EPOCHS, TRAINED_SIZES
from harness.rules.telling import in_points
from harness.statistics.intervals import Interval

PAGE = Path(__file__).parent.parent.parent / "docs" / "guidance.md"
BEGIN = "<!-- made by python -m benchmarks.league.verdicts -->"
Key = tuple[str, int, int]
"""Data set, number of training images, seed."""


def results(image_size: int) -> list[Found]:
    """Return the results of the article's four strategies of VGG16 at ``image_size``, where all four are recorded."""
    sets = json.loads(SETS.read_text(encoding="utf-8"))
    found: dict[Key, list[Found]] = defaultdict(list)
    for name in sorted(file.stem for file in ROWS.glob("*.jsonl")):
        for row in rows(name):
            arm = Strategy.from_row(row["strategy"])
            article = arm.kind in ARTICLE_KINDS and arm.frozen == ADVISED[arm.kind].frozen
            if arm.backbone == VGG16 and arm.image_size == image_size and article and row["curve"]:
                found[name, row["n_train"], row["seed"]].append(
                    Found(
                        name, row["n_train"], row["seed"], sets[name]["distance"], sets[name]["error"], arm.kind,
                        arm.frozen, arm.learning_rate, row["curve"][-1][2], row["planned_flops"], EPOCHS,
                        row["n_validation"],
                    )
                )  # fmt: skip
    return [one for of in found.values() if len(of) == len(ARTICLE_KINDS) for one in of]


def at_all_sizes() -> dict[int, list[Found]]:
    """Return the results by image size, of the places that are recorded at all of them."""
    by_size = {size: results(size) for size in TRAINED_SIZES}
    common = set.intersection(*({_key(one) for one in found} for found in by_size.values()))
    return {size: [one for one in found if _key(one) in common] for size, found in by_size.items()}


def report(boundaries: AdviceSpec) -> str:
    """Return all tables in Markdown, and what they are of."""
    by_size = at_all_sizes()
    some = next(iter(by_size.values()))
    sets, counts = sorted({one.dataset for one in some}), sorted({one.size for one in some})
    seeds = len({one.seed for one in some})
    told = (
        f"{len(sets)} sets ({', '.join(sets)}), {', '.join(map(str, counts))} training images, {seeds} "
        f"seed{'s' * (seeds > 1)}, {EPOCHS} epochs, the last one counts:"
    )
    all_large = "If any number of images counted as large:"
    tables = [table(boundaries), all_large, table(boundaries.model_copy(update={"large_at": 1}))]
    return "\n\n".join([told, *tables, *(regrets(size, found) for size, found in by_size.items())])


def table(boundaries: AdviceSpec) -> str:
    """Return the verdicts at both sizes as a table in Markdown."""
    by_size = {size: verdicts(places(found, boundaries)) for size, found in at_all_sizes().items()}
    lines = [
        "| scenario, advice | " + " | ".join(f"{size} px" for size in by_size) + " | places, sets |",
        "|---" * (len(by_size) + 2) + "|",
    ]
    for at_sizes in zip(*by_size.values(), strict=True):
        first = at_sizes[0]
        n_sets = len({place.dataset for place in first.places})
        cells = [_lead(verdict) for verdict in at_sizes]
        lines.append(f"| {first.scenario} `{first.advised}` | {' | '.join(cells)} | {len(first.places)}, {n_sets} |")
    return "\n".join(lines)


def regrets(image_size: int, found: Sequence[Found]) -> str:
    """Return how far behind the best of the four each strategy is at one size, as a table in Markdown."""
    by_place: dict[Key, dict[str, Found]] = defaultdict(dict)
    for one in found:
        by_place[_key(one)][one.kind] = one
    best = {place: max(tried.values(), key=lambda one: one.accuracy) for place, tried in by_place.items()}
    lines = [f"| at {image_size} px | best of the four | points behind the best (95 %) |", "|---|---|---|"]
    for kind in ARTICLE_KINDS:
        behind: dict[str, list[float]] = defaultdict(list)
        for place, tried in by_place.items():
            behind[place[0]].append(best[place].accuracy - tried[kind].accuracy)
        interval = Interval.of([fmean(of_set) for of_set in behind.values()])
        wins = sum(one.kind == kind for one in best.values())
        lines.append(f"| `{kind}` | {wins} of {len(best)} | {in_points(interval)} |")
    return "\n".join(lines)


def _key(one: Found) -> Key:
    return one.dataset, one.size, one.seed


def _lead(verdict: Verdict) -> str:
    return "no place" if verdict.across is None else in_points(verdict.across, sign="+")


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables."""
    boundaries = AdviceSpec()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large-at", type=int, default=boundaries.large_at)
    parser.add_argument("--similar-below", type=float, default=boundaries.similar_below)
    parser.add_argument("--write", action="store_true", help="write the tables to docs/guidance.md")
    asked = parser.parse_args(argv)
    made = report(AdviceSpec(large_at=asked.large_at, similar_below=asked.similar_below))
    if asked.write:
        PAGE.write_text(placed(PAGE.read_text(encoding="utf-8"), made, BEGIN), encoding="utf-8")
    else:
        print(made)


if __name__ == "__main__":
    main()
