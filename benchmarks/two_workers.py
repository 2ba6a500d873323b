"""Compare two workers with one on two cores: the same trials, really trained.

    python -m benchmarks.two_workers [--trials 10] [--train-size 1000] [--rounds 3]

Runs `harness run --study mnist` alternately with one worker and with two, each time on a new database, without pruning
and baselines, with activations that a first run (not counted) has stored. Up to ten trials are drawn independently of
earlier ones, so that all runs train the same list; this is checked. The wall time is that of the whole command,
including the start of its processes. One worker is measured twice: kept to one core, as a machine to which a second one
of its kind is added, and on both cores, which its convolutions use alone.
"""

import argparse
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import record

WAYS = {"one worker, one core": (1, 1), "one worker, two cores": (1, 2), "two workers": (2, 2)}
"""Way: (workers, cores)."""


def run(
    folder: Path, name: str, workers: int, cores: int, study: Path, sizes: Sequence[str]
) -> tuple[float, list[tuple[object]]]:
    """Return the seconds of one run, and what it trained."""
    file = folder / f"{name}.db"
    cpus = ",".join(map(str, sorted(os.sched_getaffinity(0))[:cores]))
    command = ["taskset", "--cpu-list", cpus, sys.executable, "-m", "harness.run", "--study", str(study)]
    command += ["--no-pruning", "--workers", str(workers)]
    command += ["--storage", f"sqlite:///{file}", "--out", str(folder / f"{name}.html"), *sizes]
    start = time.monotonic()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "HARNESS_CACHE": str(folder / "cache")})
    seconds = time.monotonic() - start
    query = "select number, strategy, frozen, head, optimizer, learning_rate from trial_summary order by number"
    return seconds, sqlite3.connect(file).execute(query).fetchall()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10, choices=range(1, 11), metavar="1..10")
    parser.add_argument("--train-size", type=int, default=1000, help="training images (default: 1000)")
    parser.add_argument("--rounds", type=int, default=3, help="runs with one and with two workers (default: 3)")
    asked = parser.parse_args(argv)
    sizes = ["--trials", str(asked.trials), "--train-size", str(asked.train_size)]
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        study = folder / "mnist.toml"
        declared = (Path(__file__).parent.parent / "studies" / "mnist.toml").read_text(encoding="utf-8")
        study.write_text(declared.replace('names = ["majority", "mlp", "cnn", "linear_probe"]', "names = []"))
        _, listed = run(folder, "first", 1, 2, study, sizes)
        for round_ in range(asked.rounds):
            for way, (workers, cores) in sorted(WAYS.items(), reverse=round_ % 2 == 1):
                took, trained = run(folder, f"{round_}-{workers}-{cores}", workers, cores, study, sizes)
                assert trained == listed, "the runs trained different trials"
                seconds[way].append(took)
                print(f"round {round_ + 1}, {way}: {took:.1f} s", flush=True)
    *alone, together = WAYS
    ratios = {way: [two / one for one, two in zip(seconds[way], seconds[together], strict=True)] for way in alone}
    for way, found in ratios.items():
        spread = f"{min(found):.2f} to {max(found):.2f}, n {len(found)}"
        print(f"two workers take {statistics.median(found):.2f} of the time of {way} ({spread})")
    record.write("two_workers", {**record.machine(), **vars(asked), "seconds": seconds, "ratios": ratios})


if __name__ == "__main__":
    main()
