"""Search data sets as they are planned, and once more without the frozen networks that a plan begins with.

    python -m benchmarks.league.started FOLDER ... [--storage sqlite:///results/kept_out.db] [--write]

Both search each FOLDER by the study `images`, seed 0. The second, named ``<set>-cold``, begins with the article's
advice and what each strategy lacks of its minimum share, frozen networks of any size among it. A search that the
database has already is not repeated. Reported is the compute at which each reached 99 % of the larger of the two
final hypervolumes (accuracy above chance times decades of compute), the FLOPs of all trials until then; null where it
never did. --write: to benchmarks/results/started.json.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import harness
from benchmarks.hypervolume import hypervolume
from benchmarks.league.warm_start import SHARE
from benchmarks.record import machine, write
from harness.analysis.rows import Rows
from harness.storage.store import Store
from harness.strategy_search import plan


def searched(folder: str, storage: str) -> dict[str, Rows]:
    """Return the rows of both searches of a data set."""
    name = Path(folder).name
    harness.search(folder, name=name, storage=storage, quiet=True)
    with mock.patch.object(plan, "_of_the_league", return_value=[]):
        harness.search(folder, name=f"{name}-cold", storage=storage, quiet=True)
    store = Store(storage)
    found = {"planned": Rows.read(store, name), "without": Rows.read(store, f"{name}-cold")}
    store.engine.dispose()
    return found


def compared(found: dict[str, Rows]) -> dict[str, Any]:
    """Return how far each search came, and by when."""
    points = {how: rows.checkpoints for how, rows in found.items()}
    most = 1.01 * max(float(frame["train_flops"].max()) for frame in points.values())
    floor = max(found["planned"].data["profile"]["class_sizes"]) / found["planned"].data["n_train"]
    whole = {how: _volume(frame, most, floor) for how, frame in points.items()}
    result: dict[str, Any] = {}
    for how, rows in found.items():
        spent, until = 0.0, None
        for trial in rows.trials.sort_values("number").to_dict("records"):
            spent += trial["train_flops"] / 1e12
            so_far = points[how][points[how]["number"] <= trial["number"]]
            if _volume(so_far, most, floor) >= SHARE * max(whole.values()):
                until = round(spent, 2)
                break
        best = rows.best()
        result[how] = {
            "hypervolume": round(whole[how], 4),
            "tflop_until": until,
            "tflop": round(float(rows.trials["train_flops"].sum()) / 1e12, 2),
            "best": None if best is None else best["val_accuracy"],
        }
    return result


def _volume(points: Any, most: float, floor: float) -> float:
    return hypervolume(points["train_flops"], points["val_accuracy"], most, floor)


def table(sets: dict[str, dict[str, Any]]) -> str:
    """Return the comparison in Markdown."""
    lines = [
        "| set | as planned: TFLOP until 99 %, in all | best | without: TFLOP until 99 %, in all | best |",
        "|---|---|---|---|---|",
    ]
    for name, both in sets.items():
        cells = [
            f"{'never' if one['tflop_until'] is None else format(one['tflop_until'], ',.1f')}, {one['tflop']:,.1f} "
            f"| {one['best']:.3f}"
            for one in (both["planned"], both["without"])
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Search, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", metavar="FOLDER")
    parser.add_argument("--storage", default="sqlite:///results/kept_out.db", help="(default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/started.json")
    asked = parser.parse_args(argv)
    sets = {}
    for folder in asked.data:
        sets[Path(folder).name] = compared(searched(folder, asked.storage))
        print(Path(folder).name, sets[Path(folder).name], flush=True)
    print(table(sets))
    if asked.write:
        write("started", {"machine": machine(), "sets": sets})


if __name__ == "__main__":
    main()
