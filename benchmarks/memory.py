"""Measure the resident memory over many trials: does the process grow?

    python -m benchmarks.memory [--trials 200]

Small trials (64 MNIST images, one epoch) of every strategy, freeze depth, kind of head and optimizer, the widths new
each time, in the precision that the study has on this machine: the worst case. Prints and keeps the curve
(benchmarks/results/memory.json).
"""

import argparse
import gc
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.record import machine, write
from harness.backbones.devices import fast_precision
from harness.backbones.weights import load_weights
from harness.core.backbone import BackboneSpec
from harness.core.spec import StudySpec
from harness.core.strategy import ARTICLE_KINDS, MOST_HIDDEN_LAYERS, OPTIMIZERS, POOLINGS, Strategy, depths
from harness.data.dataset import load_split
from harness.strategy_search.resume import resolve_precision
from harness.training.problem import Problem, set_precision
from harness.training.trial import run_trial

VGG16 = BackboneSpec.load("vgg16")


def resident(problem: Problem, trials: int) -> Iterator[float]:
    """Run ``trials`` trials of ``problem`` and yield the resident megabytes of this process after each."""
    for number in range(1, trials + 1):
        kind = ARTICLE_KINDS[number % len(ARTICLE_KINDS)]  # two_phase builds no network that these do not
        turn = number // len(ARTICLE_KINDS)
        least, most = depths(kind)
        frozen = least + turn % (most - least + 1)
        head = (64 + number, 64, 32)[: turn % (MOST_HIDDEN_LAYERS + 1)]
        optimizer = OPTIMIZERS[turn // 2 % 2]
        strategy = Strategy(kind, frozen, POOLINGS[turn % 3], head, 0.1, optimizer, 1e-4, image_size=32)
        run_trial(strategy, problem, seed=number, on_checkpoint=lambda curve: None)
        gc.collect()
        yield psutil.Process().memory_info().rss / 2**20


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    arguments = parser.parse_args()
    spec, dataset = StudySpec.load(
        "mnist", {"data.train_size": 64, "data.validation_size": 32, "budget.epochs": 1, "budget.batch_size": 32}
    )
    spec = resolve_precision(spec, None, fast_precision)
    set_precision(spec)
    curve = []
    with tempfile.TemporaryDirectory() as folder:
        problem = Problem.of(VGG16, spec, load_split(dataset, spec), load_weights(VGG16), Path(folder))
        for number, megabytes in enumerate(resident(problem, arguments.trials), start=1):
            curve.append(megabytes)
            if number % 10 == 0:
                print(f"trial {number}: {megabytes:.0f} MB", flush=True)
    growth = curve[-1] - curve[9]
    print(f"from trial 10 to trial {len(curve)}: {growth:+.0f} MB")
    write(
        "memory",
        {
            "machine": machine(),
            "precision": spec.budget.precision,
            "megabytes": [round(value, 1) for value in curve],
            "growth": growth,
        },
    )


if __name__ == "__main__":
    main()
