"""Compare the accuracy that advice expects with what a search then finds, on data sets kept out of all that it knows.

    python -m benchmarks.league.kept_out FOLDER ... [--storage sqlite:///results/kept_out.db] [--write]

Each FOLDER, named like its set in the league, is searched by the study `images` as it is shipped. A search that the
database has already is not repeated. The advice learns from the recorded outcomes on all sets but these. Of each set it
reports the best score of the search next to the highest expected accuracy; and for every way of the league that the
search tried, the score of its first complete trial, next to what was expected of that way. A search trains for half as
many epochs as the league and draws other heads and rates. --write: to benchmarks/results/kept_out.json.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import harness
from benchmarks.record import machine, write
from harness import main_job
from harness.core.spec import ANY_IMAGES
from harness.core.strategy import Strategy
from harness.data.dataset import draw
from harness.rules.advised import Option
from harness.rules.advising import advise
from harness.rules.outcomes import Outcomes, recorded


def compared(folder: str, storage: str, past: Outcomes) -> dict[str, Any]:
    """Search a data set, ask for advice that knows ``past``, and return both."""
    study = harness.search(folder, storage=storage, quiet=True)
    complete = study.trials[study.trials["status"] == "complete"]
    reached: dict[str, float] = {}
    for trial in complete.sort_values("number").to_dict("records"):
        reached.setdefault(Strategy.from_row(trial).place(), float(trial["val_accuracy"]))
    spec, dataset = main_job.resolve(ANY_IMAGES, folder, {})
    advised = advise(spec, dataset, draw(dataset, spec.data, spec.seed), past, {})
    found = float(complete["val_accuracy"].max())
    return {
        "set": dataset.name,
        "n_train": advised.probed.n_train,
        "n_validation": advised.n_validation,
        "choice": _beside(advised.choice, reached.get(advised.choice.arm.place())),
        "search": _beside(advised.options[0], found),
        "trials": {"complete": len(complete), "all": len(study.trials)},
        "ways": [_beside(one, reached[one.arm.place()]) for one in advised.options if one.arm.place() in reached],
    }


def _beside(option: Option, found: float | None) -> dict[str, Any]:
    figures = {"expected": option.accuracy, "low": option.low, "high": option.high}
    return {"way": option.arm.place(), **{name: round(value, 4) for name, value in figures.items()}, "found": found}


def table(sets: Sequence[dict[str, Any]]) -> str:
    """Return the comparison in Markdown, and in words how right the expectations were."""
    lines = [
        "| set (training, validation images) | expected, in 90 % of cases | the search found "
        "| what the rule to follow chooses: expected | found |",
        "|---|---|---|---|---|",
    ]
    for one in sets:
        best, choice = one["search"], one["choice"]
        lines.append(
            f"| {one['set']} ({one['n_train']:,}, {one['n_validation']}) "
            f"| {best['expected']:.3f}, {best['low']:.2f} to {best['high']:.2f} | {best['found']:.3f} "
            f"| {choice['expected']:.3f}, {choice['low']:.2f} to {choice['high']:.2f} "
            f"| {'not complete' if choice['found'] is None else format(choice['found'], '.3f')} |"
        )
    ways = [way for one in sets for way in one["ways"]]
    return "\n".join(
        [
            *lines,
            "",
            f"- The best of the search and the highest expectation: {inside([one['search'] for one in sets])}.",
            f"- Each frozen network that the search completed: {inside([way for way in ways if _frozen(way)])}.",
            f"- Each trained one: {inside([way for way in ways if not _frozen(way)])}.",
        ]
    )


def _frozen(way: dict[str, Any]) -> bool:
    return str(way["way"]).startswith("feature_extraction")


def inside(rows: Sequence[dict[str, Any]]) -> str:
    """Return in words how far off the expected accuracies are and how many intervals hold."""
    away = np.array([row["found"] - row["expected"] for row in rows])
    held = sum(row["low"] <= row["found"] <= row["high"] for row in rows)
    return (
        f"{held} of {len(rows)} intervals hold; found minus expected {100 * away.mean():+.1f} points on the mean, "
        f"{100 * np.abs(away).mean():.1f} without the sign"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Search, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", metavar="FOLDER")
    parser.add_argument("--storage", default="sqlite:///results/kept_out.db", help="(default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/kept_out.json")
    asked = parser.parse_args(argv)
    past = recorded().without(*(Path(folder).name for folder in asked.data))
    rows = []
    for folder in asked.data:
        rows.append(row := compared(folder, asked.storage, past))
        print(row["set"], row["search"], row["choice"], sep="\n  ", flush=True)
    print(table(rows))
    if asked.write:
        write("kept_out", {"machine": machine(), "sets": rows})


if __name__ == "__main__":
    main()
