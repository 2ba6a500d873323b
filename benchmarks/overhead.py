"""What of a search is neither features nor training nor evaluation.

    python -m benchmarks.overhead [--trials 50] [--runs 1]

`harness.run --study mnist` in a process of its own, from an empty cache and database, baselines and page included. Wall
seconds are taken from the start of the process to its end; those of each kind where they are spent: activations when
they are computed and layers when they are scored, not when they are charged; steps; passes over the validation part.
The rest is overhead: imports, building and compiling, sampler, database, page. Prints and keeps the seconds
(benchmarks/results/overhead.json). Needs VGG16's weights (see README.md); nothing else should run.
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
    """The search with its seconds counted by kind."""
    from harness import run  # TensorFlow is imported where its seconds count
    from harness.backbones import activation_cache  # TensorFlow is imported where its seconds count
    from harness.core import clock  # TensorFlow is imported where its seconds count
    from harness.workers import work  # TensorFlow is imported where its seconds count

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
    """Seconds of one search by kind, and ``wall``."""
    os.environ["HARNESS_CACHE"] = str(folder / "cache")
    storage, page = f"sqlite:///{folder / 'search.db'}", folder / "page.html"
    given = ["--study", "mnist", "--trials", str(trials), "--storage", storage, "--out", str(page)]
    wall, seconds = timed(_search, given)
    return {**seconds, "wall": wall}


def overhead(seconds: dict[str, float]) -> float:
    """The share of the wall seconds that is none of `KINDS`."""
    return 1 - sum(seconds[kind] for kind in KINDS) / seconds["wall"]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and record."""
    from benchmarks.record import machine, write  # loads TensorFlow, which the search shall do in its own time

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
