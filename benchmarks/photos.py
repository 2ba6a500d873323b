"""Compare a search of thumbnails by one network with a search of sizes and backbones, in the same time, on photos.

    python -m benchmarks.photos FOLDER ... [--time-limit 15m] [--seeds 1]

Each FOLDER is a data set as for `harness.run --data`. For each of them and each seed (of the split and of the search)
the study `images` runs twice, each in new processes with empty cache and database: as it is shipped, and with VGG16
at 64 pixels alone, which was the default before. Both run at the same time, so that whatever else the machine does
slows down both, and each has half of it. It writes the best validation score of each, what it was and the processor
time to benchmarks/results/photos.json, after each pair, and skips pairs that this file already has for the same time
limit. Of the shipped study it writes how much of the front each backbone holds, too.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.hypervolume import hypervolume
from benchmarks.record import RESULTS, machine, write
from harness.analysis.rows import Rows
from harness.core.clock import seconds_of
from harness.core.toml_files import shipped
from harness.statistics.pareto import front
from harness.storage.store import Store

STUDY = "images"
SEARCHES = {"thumbnails": ("--image-size", "64"), "sizes and backbones": ()}


def study_file(search: str, folder: Path) -> Path:
    """Write the study of one of `SEARCHES` to a file in ``folder`` and return it."""
    text = shipped("studies")[STUDY].read_text(encoding="utf-8")
    if search == "thumbnails":
        lines = text.splitlines(keepends=True)
        text = "".join('backbones = ["vgg16"]\n' if line.startswith("backbones =") else line for line in lines)
    file = folder / f"{STUDY}.toml"
    file.write_text(text, encoding="utf-8")
    return file


def run(data: str, search: str, time_limit: str, seed: int) -> dict[str, Any]:
    """Run a search from empty cache and database; return what it found."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        storage = f"sqlite:///{folder}/harness.db"
        command = [sys.executable, "-m", "harness.run", "--study", str(study_file(search, folder)), "--data", data,
                   *SEARCHES[search], "--seed", str(seed), "--time-limit", time_limit,
                   "--storage", storage, "--out", str(folder / "page.html")]  # fmt: skip
        start = time.monotonic()
        process = subprocess.Popen(command, env={**os.environ, "HARNESS_CACHE": str(folder / "cache")})
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if code := process.returncode:
            raise subprocess.CalledProcessError(code, command)
        seconds = time.monotonic() - start
        store = Store(storage, must_exist=True)
        (study,) = store.studies.names()
        rows = Rows.read(store, study)
        store.engine.dispose()
    used = {
        "seconds": seconds,
        "processor_seconds": usage.ru_utime + usage.ru_stime,
        "megabytes": usage.ru_maxrss / 1024,
    }
    return {"search": search, "seed": seed, **used, **found(rows)}


def found(rows: Rows) -> dict[str, Any]:
    """Return the best score of a study, what it was, how the trials ended, and each backbone's share of the front."""
    best = rows.best()
    if best is None:
        raise RuntimeError(f"no trial of {rows.name} has a score")
    return {
        "images": {name: rows.data[name] for name in ("classes", "n_train", "n_validation")},
        "best": float(best[rows.score]),
        "strategy": best["label"],
        "statuses": {str(name): int(count) for name, count in rows.trials["status"].value_counts().items()},
        "tflop": float(rows.trials["train_flops"].sum()) / 1e12,
        "advice": None if (advice := rows.trial_of("advice")) is None else advice[rows.score],
        "front": shares(rows),
    }


def shares(rows: Rows) -> dict[str, dict[str, float]]:
    """Return of each backbone: its best score, its points on the common front, and the hypervolume that its own front
    reaches as a share of that of all."""
    points = rows.checkpoints.merge(rows.trials[["number", "backbone"]], on="number").dropna(subset=rows.score)
    costs, scores = points[rows.cost.spent].to_numpy(), points[rows.score].to_numpy()
    on_front = points.iloc[front(costs, scores)]
    most = float(costs.max())
    whole = hypervolume(costs, scores, most)
    of = {}
    for backbone, own in points.groupby("backbone"):
        own_costs, own_scores = own[rows.cost.spent].to_numpy(), own[rows.score].to_numpy()
        of[str(backbone)] = {
            "best": float(own_scores.max()),
            "points": int((on_front["backbone"] == backbone).sum()),
            "of_points": len(on_front),
            "hypervolume": hypervolume(own_costs, own_scores, most) / whole if whole else 0.0,
        }
    return of


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", metavar="FOLDER")
    parser.add_argument("--time-limit", default="15m", help="of each search (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=1, help="of split and search (default: %(default)s)")
    asked = parser.parse_args(argv)
    limit = seconds_of(asked.time_limit)
    runs: list[dict[str, Any]] = []
    if (RESULTS / "photos.json").exists():
        before = json.loads((RESULTS / "photos.json").read_text(encoding="utf-8"))
        runs = before["runs"] if before["time_limit"] == limit else []
    for seed in range(asked.seeds):
        for data in asked.data:
            key = {"set": Path(data).name, "seed": seed}
            if any(key.items() <= done.items() for done in runs):
                continue
            with ThreadPoolExecutor(len(SEARCHES)) as pool:
                pair = list(pool.map(lambda search: run(data, search, asked.time_limit, seed), SEARCHES))  # noqa: B023
            runs += [key | one for one in pair]
            for one in pair:
                print({**key, **{name: one[name] for name in ("search", "best", "strategy", "statuses")}}, flush=True)
            names = " ".join(Path(data).name for data in asked.data)  # where they lie is nobody's business
            command = f"python -m benchmarks.photos {names} --time-limit {asked.time_limit} --seeds {asked.seeds}"
            write("photos", {"machine": machine() | {"command": command}, "time_limit": limit, "runs": runs})


if __name__ == "__main__":
    main()
