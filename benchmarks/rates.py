"""Does the best learning rate of fine-tuning depend on how similar a set is to ImageNet (Li et al. 2020)?

    python -m benchmarks.rates record SET... [--minutes 60]
    python -m benchmarks.rates figure

EfficientNet-Lite0 with its first five of nine stages frozen is trained at 64 pixels for ten epochs on 100 images of a
set, with Adam at each of `RATES`, one seed. The best rate of a set is the peak of the parabola through the log odds of
the accuracies at the best of them and its neighbours, by the logarithm of the rate. ``figure`` prints its rank
correlation with the kernel distance to ImageNet (benchmarks/league/sets.json), with a bootstrap interval over sets, and
draws both to docs/images/rate-and-similarity.png. Rows are appended to benchmarks/rates.jsonl, and none is recorded
twice.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.additions import append, trained
from benchmarks.league.record import SETS
from benchmarks.record import rows_of
from dashboards.images import write_png
from dashboards.theme import themed_figure
from harness.core.spec import DatasetSpec
from harness.core.strategy import Strategy
from harness.rules.arms import OTHER

ROWS = Path(__file__).parent / "rates.jsonl"
FIGURE = Path(__file__).parent.parent / "docs" / "images" / "rate-and-similarity.png"
RATES = (1e-4, 3e-4, 1e-3, 3e-3)
FROZEN = 5
_RESAMPLES = 2000


def record(datasets: Sequence[DatasetSpec], until: float) -> None:
    """Train what is missing, until a time of `time.monotonic`."""
    done = {(row["dataset"], row["rate"]) for row in rows()}
    for dataset in datasets:
        for rate in RATES:
            if (dataset.name, rate) not in done and time.monotonic() < until:
                strategy = Strategy(
                    "freeze_first_k", FROZEN, "average", (), 0.0, "adam", rate, image_size=64, backbone=OTHER
                )
                append(ROWS, {"rate": rate, **trained(dataset, 0, strategy)})


def rows() -> list[dict[str, Any]]:
    """Return what has been recorded."""
    return rows_of(ROWS)


def best_rates(recorded: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the best rate of each set that has all of `RATES`."""
    by_set: dict[str, dict[float, float]] = defaultdict(dict)
    for row in recorded:
        n = row["n_validation"]
        right = (row["val_accuracy"] or 0.0) * n
        by_set[row["dataset"]][row["rate"]] = float(np.log((right + 0.5) / (n - right + 0.5)))
    places = np.log(RATES)
    found = {}
    for dataset, odds in by_set.items():
        if set(odds) == set(RATES):
            values = [odds[rate] for rate in RATES]
            best = int(np.argmax(values))
            peak = places[best]
            if 0 < best < len(RATES) - 1:  # a parabola through all four would go by where training breaks down
                a, b, _ = np.polyfit(places[best - 1 : best + 2], values[best - 1 : best + 2], 2)
                peak = -b / (2 * a)
            found[dataset] = float(np.exp(peak))
    return found


def correlation(distances: NDArray[np.float64], rates: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return Spearman's rank correlation and its 95 % bootstrap interval over sets."""
    draws = np.random.default_rng(0)
    samples = [draws.integers(0, len(rates), len(rates)) for _ in range(_RESAMPLES)]
    found = [spearmanr(distances[some], rates[some]).statistic for some in samples]
    low, high = np.nanquantile(found, [0.025, 0.975])
    return float(spearmanr(distances, rates).statistic), float(low), float(high)


def draw() -> str:
    """Draw the best rates by distance and return the finding in words."""
    known = json.loads(SETS.read_text(encoding="utf-8"))
    best = best_rates(rows())
    names = sorted(best)
    distances, rates = np.array([known[name]["distance"] for name in names]), np.array([best[name] for name in names])
    figure = themed_figure()
    figure.add_trace(go.Scatter(x=distances, y=rates, mode="markers+text", text=names, textposition="top center"))
    figure.update_xaxes(title="kernel distance to ImageNet")
    ticks = [1e-4, 2e-4, 3e-4, 5e-4, 7e-4]
    figure.update_yaxes(title="best learning rate", type="log", tickvals=ticks, ticktext=[f"{t:.0e}" for t in ticks])
    write_png(figure, "Best learning rate by similarity", FIGURE)
    found, low, high = correlation(distances, rates)
    return f"n = {len(names)} sets: rank correlation {found:+.2f} (95 % {low:+.2f} to {high:+.2f})"


def main(argv: Sequence[str] | None = None) -> None:
    """Record, or draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    recording = parts.add_parser("record")
    recording.add_argument("data", nargs="+", metavar="SET")
    recording.add_argument("--minutes", type=float, default=60, help="begin no training later (default: %(default)s)")
    parts.add_parser("figure")
    asked = parser.parse_args(argv)
    if asked.part == "figure":
        print(draw())
        return
    record([DatasetSpec.load(name, Path.cwd()) for name in asked.data], time.monotonic() + 60 * asked.minutes)


if __name__ == "__main__":
    main()
