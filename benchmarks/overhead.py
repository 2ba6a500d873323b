"""Measure the share of a search that is neither features nor training nor evaluation.

    python -m benchmarks.overhead [--trials 50] [--runs 1]

Runs `harness.run --study mnist` in a new process, from an empty cache and database, baselines and page included. The
wall time is from the start of the process to its end. The seconds of each kind are counted where they are spent:
activations when they are computed and layers when they are scored, not when a trial is charged for them; training
steps; evaluation on the validation set. The rest is overhead: imports, building and compiling, sampler, database, page.
Writes the seconds to benchmarks/results/overhead.json. Needs VGG16's weights (see docs/usage.md). Nothing
else should run.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.apart import timed

KINDS = ("features", "train", "evaluation")


def _search(arguments: list[str], send: Any) -> None:
    """Run the search and send its seconds by kind."""
    # Imported here, so that the import of TensorFlow counts.
    from harness import run
    from harness.backbones import activation_cache
    from harness.core import clock
    from harness.workers import work

    seconds: Counter[str] = Counter()

    @contextmanager
    def counted(kind: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds[kind] += time.perf_counter() - start

    as_it_is = clock.Clock.__call__

    @contextmanager
    def block(self: clock.Clock, kind: clock.SecondsKind) -> Iterator[None]:
        with counted(kind), as_it_is(self, kind):
            yield

    clock.Clock.__call__ = block  # type: ignore[method-assign]
    activation_cache.FeatureCache.get = counted("features")(activation_cache.FeatureCache.get)  # type: ignore[method-assign]
    work.layer_scores = counted("features")(work.layer_scores)
    if run.main(arguments) != 0:
        sys.exit(1)
    send.send(seconds)


def measure(trials: int, folder: Path) -> dict[str, float]:
    """Run one search and return its seconds by kind, and ``wall``."""
    os.environ["HARNESS_CACHE"] = str(folder / "cache")
    storage, page = f"sqlite:///{folder / 'search.db'}", folder / "page.html"
    given = ["--study", "mnist", "--trials", str(trials), "--storage", storage, "--out", str(page)]
    wall, seconds = timed(_search, given)
    return {**seconds, "wall": wall}


def overhead(seconds: dict[str, float]) -> float:
    """Return the share of the wall time that is none of `KINDS`."""
    return 1 - sum(seconds[kind] for kind in KINDS) / seconds["wall"]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write the results."""
    from benchmarks.record import machine, write  # loads TensorFlow, which must count for the search

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--runs", type=int, default=1)
    asked = parser.parse_args(argv)
    runs = []
    for _ in range(asked.runs):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(measure(asked.trials, Path(folder)))
        print({kind: round(seconds, 1) for kind, seconds in runs[-1].items()}, f"overhead {overhead(runs[-1]):.1%}")
    print(f"overhead: {statistics.median(map(overhead, runs)):.1%} of the wall time")
    write("overhead", {"machine": machine(), "trials": asked.trials, "runs": runs})


if __name__ == "__main__":
    main()
