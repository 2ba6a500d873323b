"""Measure what each addition to plain training is worth, against the same training without it.

    python -m benchmarks.additions record SET... [--seeds 5] [--minutes 60] [--image-size 64]
    python -m benchmarks.additions table

What is added to is the training of EfficientNet-Lite0 for ten epochs on 100 images with Adam: of the last two of its
nine stages, or of all, where an addition needs the images themselves; `ADDITIONS` says what each changes. An addition
that slows the pretrained layers down has the head learn faster instead, since a rate for both is between what each
would have. A third of a set's images, 300 at most, are for validation. Each seed has its own split, order and head.
Rows are appended to benchmarks/additions.jsonl; those that are there are not recorded again. Seeds come one after the
other, so that a recording that was stopped compares all sets. ``table`` prints the mean differences with 95 %
intervals: of a set over its seeds, of all over the sets.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.league.record import drawn_for, problem_for
from benchmarks.record import append_row, rows_of
from harness.backbones import devices
from harness.core import environment
from harness.core.spec import DatasetSpec
from harness.core.strategy import Strategy
from harness.rules.arms import OTHER
from harness.rules.outcomes import Place
from harness.statistics.intervals import Interval
from harness.training.trial import run_trial

ROWS = Path(__file__).parent / "additions.jsonl"
N_TRAIN = 100
RATE = 5e-4
FROZEN = 7

Change = Callable[[Strategy], Strategy]


def _refined(rate: float = 1.0, **values: float) -> Change:
    """Return the change that adds refinements and multiplies the head's learning rate."""
    return lambda base: replace(
        base, learning_rate=base.learning_rate * rate, refinements=replace(base.refinements, **values)
    )


def _head_first(base: Strategy) -> Strategy:
    return replace(base, kind="two_phase", head_epochs=3, learning_rate=1e-2, rate_factor=base.learning_rate / 1e-2)


PARTLY, WHOLE = "plain", "plain, all stages"
"""The trainings that are added to."""
ADDITIONS: Mapping[str, tuple[str, Change]] = {
    PARTLY: (PARTLY, lambda base: base),
    "two_phase, 3 of 10 epochs for the head": (PARTLY, _head_first),
    "body_rate 0.1": (PARTLY, _refined(10, body_rate=0.1)),
    "body_rate 0.01": (PARTLY, _refined(20, body_rate=0.01)),
    "layer_decay 0.75": (PARTLY, _refined(2, layer_decay=0.75)),
    "weight_decay 0.05": (PARTLY, _refined(weight_decay=0.05)),
    "label_smoothing 0.1": (PARTLY, _refined(label_smoothing=0.1)),
    "clip_norm 1": (PARTLY, _refined(clip_norm=1.0)),
    "averaging 0.3": (PARTLY, _refined(averaging=0.3)),
    "5 epochs instead of 10": (PARTLY, lambda base: replace(base, planned_epochs=5)),
    "20 epochs instead of 10": (PARTLY, lambda base: replace(base, planned_epochs=20)),
    WHOLE: (WHOLE, lambda base: base),
    "augmentation 0.5": (WHOLE, _refined(augmentation=0.5)),
    "mixup 0.2": (WHOLE, _refined(mixup=0.2)),
}
"""What each is added to, and how it changes that."""


def record(datasets: Sequence[DatasetSpec], seeds: int, image_size: int, until: float) -> None:
    """Train what is missing, until a time of `time.monotonic`."""
    whole = Strategy("fine_tune_all", 0, "average", (), 0.0, "adam", RATE, image_size=image_size, backbone=OTHER)
    bases = {WHOLE: whole, PARTLY: replace(whole, kind="freeze_first_k", frozen=FROZEN)}
    done = {(row["dataset"], row["seed"], row["image_size"], row["addition"]) for row in rows()}
    for base, seed, dataset in product((PARTLY, WHOLE), range(seeds), datasets):
        for name, (added_to, change) in ADDITIONS.items():
            there = (dataset.name, seed, image_size, name) in done
            if added_to == base and not there and time.monotonic() < until:
                append(ROWS, {"addition": name, **trained(dataset, seed, change(bases[base]))})


def trained(dataset: DatasetSpec, seed: int, strategy: Strategy) -> dict[str, Any]:
    """Train ``strategy`` on `N_TRAIN` images of a set and return what it reached as a row."""
    n_train = min(N_TRAIN, len(drawn_for(dataset, seed).parts.train))
    problem = problem_for(dataset, Place(dataset.name, n_train, seed), strategy)
    result = run_trial(strategy, problem, seed=seed, on_checkpoint=lambda _: None)
    machine = environment.describe(devices.device())
    return {
        "dataset": dataset.name, "seed": seed, "n_train": n_train, "image_size": strategy.image_size,
        "n_validation": len(problem.split.validation), "label": strategy.label(), "status": result.status,
        "val_accuracy": result.val_accuracy, "val_loss": result.val_loss, "train_flops": result.train_flops,
        "seconds": round(result.seconds.train, 2), "device": machine.device, "commit": machine.commit[:7],
    }  # fmt: skip


def append(file: Path, row: dict[str, Any]) -> None:
    """Append ``row`` to a file of rows, and print what it reached."""
    append_row(file, row)
    print(f"{row['dataset']} seed {row['seed']} {row['label']}: {row['val_accuracy']} ({row['seconds']} s)", flush=True)


def rows() -> list[dict[str, Any]]:
    """Return what has been recorded."""
    return rows_of(ROWS)


def differences(recorded: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """Return by addition and set the differences to the plain training of the same seed, in points of accuracy.

    A training that diverged counts as an accuracy of 0.
    """
    reached = {(row["dataset"], row["seed"], row["addition"]): 100 * (row["val_accuracy"] or 0.0) for row in recorded}
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (dataset, seed, addition), accuracy in reached.items():
        base, _ = ADDITIONS[addition]
        if addition != base and (plain := reached.get((dataset, seed, base))) is not None:
            found[addition][dataset].append(accuracy - plain)
    return found


def table(recorded: Sequence[Mapping[str, Any]]) -> str:
    """Return the differences as a Markdown table: addition x set, all sets, and what it costs over plain training."""
    found = differences(recorded)
    datasets = sorted({row["dataset"] for row in recorded})
    flops = {(row["dataset"], row["seed"], row["addition"]): row["train_flops"] for row in recorded}
    head = ["addition", *datasets, "all sets", "FLOPs"]
    written = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for addition, by_set in found.items():
        base, _ = ADDITIONS[addition]
        cells = [_in_words(by_set[dataset]) if dataset in by_set else "" for dataset in datasets]
        both = [place for *place, name in flops if name == addition and (*place, base) in flops]
        costs = [flops[*place, addition] / flops[*place, base] for place in both]
        cells += [_in_words([fmean(values) for values in by_set.values()]), f"× {fmean(costs):.2f}"]
        written.append(f"| {addition} | " + " | ".join(cells) + " |")
    return "\n".join(written)


def _in_words(values: Sequence[float]) -> str:
    found = Interval.of(values)
    return f"{found.mean:+.1f} ({found.low:+.1f} to {found.high:+.1f})" if found.n > 1 else f"{found.mean:+.1f}"


def main(argv: Sequence[str] | None = None) -> None:
    """Record, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    recording = parts.add_parser("record")
    recording.add_argument("data", nargs="+", metavar="SET")
    recording.add_argument("--seeds", type=int, default=5)
    recording.add_argument("--image-size", type=int, default=64)
    recording.add_argument("--minutes", type=float, default=60, help="begin no training later (default: %(default)s)")
    parts.add_parser("table")
    asked = parser.parse_args(argv)
    if asked.part == "table":
        print(table(rows()))
        return
    datasets = [DatasetSpec.load(name, Path.cwd()) for name in asked.data]
    record(datasets, asked.seeds, asked.image_size, time.monotonic() + 60 * asked.minutes)


if __name__ == "__main__":
    main()
