"""Compare what searches confirm on the test set: today's study of images, and what users had before, in equal time.

    python -m benchmarks.spaces run FOLDER ... --before CHECKOUT [--time-limit 5m] [--seeds 0 1 2]
    python -m benchmarks.spaces table

Each FOLDER is a data set as for `harness.run --data`. For each of them and each seed (of split and search) the study
`images` runs in new processes with an empty cache and database, `SEARCHES` of it: of another checkout of this project,
of this one without `two_phase`, and of this one as it is shipped. --searches chooses some. Each computes on one core:
run the command twice, with the seeds in another order, to use two. Then the best trial by validation accuracy is
trained again with three new seeds on the training and validation images and evaluated on the test images (`harness
confirm --finalists 1 --seeds 3`, without the advice). Of the baselines only the majority class is asked for, so that
the time goes into the search.

Each search is a row of benchmarks/spaces.jsonl; what is there for the same time limit is not repeated.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import append_row, rows_of
from harness.core.clock import seconds_of
from harness.statistics.intervals import Interval

HERE = Path(__file__).parents[1]
ROWS = Path(__file__).parent / "spaces.jsonl"
SEARCHES = ("before", "without two_phase", "shipped")
_ONE_CORE = {
    **dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"), "1"),
    "OPENBLAS_NUM_THREADS": "1",
}
_CONFIRM = (
    "from harness import confirm; from harness.confirmation import finalists; finalists.SPECIAL = (); "
    "raise SystemExit(confirm.main())"
)
"""`harness confirm` of finalist and baselines alone: to train the advice may take longer than the whole search."""


def study_text(checkout: Path, search: str) -> str:
    """Return the file of the study of one of `SEARCHES`."""
    text = (checkout / "studies" / "images.toml").read_text(encoding="utf-8")
    changed = _replaced(text, 'names = ["majority", "mlp", "cnn", "linear_probe"]', 'names = ["majority"]')
    return _replaced(changed, ', "two_phase"]', "]") if search == "without two_phase" else changed


def _replaced(text: str, old: str, new: str) -> str:
    if text.count(old) != 1:
        raise ValueError(f"{old!r} stands {text.count(old)} times in the study, not once")
    return text.replace(old, new)


def run(data: Path, search: str, seed: int, time_limit: str, checkout: Path) -> dict[str, Any]:
    """Search, confirm and return what was found."""
    commit = subprocess.run(
        ["git", "-C", checkout, "rev-parse", "--short=7", "HEAD"], check=True, stdout=subprocess.PIPE, text=True
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        study = folder / "images.toml"
        study.write_text(study_text(checkout, search), encoding="utf-8")
        where = ["--storage", f"sqlite:///{folder}/harness.db", "--out", str(folder / "page.html"), "--json"]
        environment = {**os.environ, **_ONE_CORE, "HARNESS_CACHE": str(folder / "cache"), "PYTHONPATH": str(checkout)}

        def command(module: str, *options: str) -> Any:
            """Run a command of the checkout and return the JSON that it prints."""
            call = [sys.executable, *module.split(maxsplit=1), *options, *where]
            done = subprocess.run(call, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE)
            return json.loads(done.stdout)

        began = time.monotonic()
        found = command(
            "-m harness.run", "--study", str(study), "--data", str(data.resolve()), "--seed", str(seed),
            "--time-limit", time_limit, "--quiet",
        )  # fmt: skip
        seconds = time.monotonic() - began
        confirmed = command(f"-c {_CONFIRM}", "--study", found["study"], "--finalists", "1", "--seeds", "3")[
            "confirmed"
        ]
    pick = confirmed["candidates"][0]
    return {
        "seconds": round(seconds, 1),
        "trials": Counter(trial["status"] for trial in found["trials"]),
        "strategy": found["best"]["label"],
        "validation": pick["val_accuracy"],
        "n_validation": confirmed["n_validation"],
        "test": pick["test"]["mean"],
        "n_test": confirmed["n_test"],
        "device": found["trials"][0]["device"],
        "commit": commit.stdout.strip(),
    }


def differences(runs: Sequence[dict[str, Any]], search: str, other: str) -> dict[str, list[float]]:
    """Return by set, in points for each seed that has both, the test accuracy of a search minus that of another."""
    of = {(one["set"], one["seed"], one["search"]): one["test"] for one in runs}
    found: dict[str, list[float]] = {}
    for name, seed, which in of:
        if which == search and (name, seed, other) in of:
            found.setdefault(name, []).append(100 * (of[name, seed, search] - of[name, seed, other]))
    return found


def table(runs: Sequence[dict[str, Any]]) -> str:
    """Return the mean test accuracy of each search by set, and the differences of the shipped one, in Markdown."""
    asked = [search for search in SEARCHES if any(one["search"] == search for one in runs)]
    lines = [f"| set | {' | '.join(asked)} |", f"|---{'|---' * len(asked)}|"]
    for name in dict.fromkeys(one["set"] for one in runs):
        cells = []
        for search in asked:
            tests = [one["test"] for one in runs if (one["set"], one["search"]) == (name, search)]
            cells.append(f"{np.mean(tests):.3f} ({min(tests):.3f} to {max(tests):.3f}, {len(tests)})" if tests else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for other in asked[:-1]:
        by_set = {name: float(np.mean(of)) for name, of in differences(runs, asked[-1], other).items()}
        over = Interval.of(list(by_set.values()))
        lines.append(
            f"\n{asked[-1]} minus {other}: {over.mean:+.1f} points ({over.low:+.1f} to {over.high:+.1f}) on the mean "
            f"over {len(by_set)} sets: " + ", ".join(f"{name} {value:+.1f}" for name, value in by_set.items())
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    running = parts.add_parser("run")
    running.add_argument("data", nargs="+", type=Path, metavar="FOLDER")
    running.add_argument("--before", type=Path, metavar="CHECKOUT", help="of the project as it was before")
    running.add_argument("--searches", nargs="+", choices=SEARCHES, default=SEARCHES, metavar="NAME")
    running.add_argument("--time-limit", default="5m", help="of each search (default: %(default)s)")
    running.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of split and search (default: 0 1 2)")
    parts.add_parser("table")
    asked = parser.parse_args(argv)
    if asked.part == "table":
        print(table(rows_of(ROWS)))
        return
    if "before" in asked.searches and asked.before is None:
        parser.error("--before: give a checkout of the project as it was before, or --searches without it")
    limit = seconds_of(asked.time_limit)
    for seed, data, search in product(asked.seeds, asked.data, asked.searches):
        key = {"set": data.name, "seed": seed, "search": search, "time_limit": limit}
        if not any(key.items() <= row.items() for row in rows_of(ROWS)):
            checkout = asked.before.resolve() if search == "before" else HERE
            row = key | run(data, search, seed, asked.time_limit, checkout)
            append_row(ROWS, row)
            print(row, flush=True)


if __name__ == "__main__":
    main()
