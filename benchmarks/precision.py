"""Compare bfloat16 with float32 on this machine: is it faster, and does it cost accuracy?

    python -m benchmarks.precision [--seeds 3] [--study mnist]

Each strategy is trained in both, alternately, from the same seed and on the same images. Computing activations is not
part of the seconds. Prints the seconds of training, their ratio, and the difference of the validation accuracies with
its 95 % interval over strategies and seeds (Student's t). Writes them to benchmarks/results/precision.json. Needs
VGG16's weights (see docs/usage.md).
"""

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Literal, cast

from benchmarks.plain_loop import strategies
from benchmarks.record import machine, write
from harness.backbones.weights import load_weights
from harness.core.backbone import BackboneSpec
from harness.core.spec import StudySpec
from harness.data.dataset import load_split
from harness.statistics.intervals import Interval
from harness.training.problem import Problem, set_precision
from harness.training.trial import run_trial

VGG16 = BackboneSpec.load("vgg16")

PRECISIONS: tuple[Literal["float32", "bfloat16"], ...] = ("float32", "bfloat16")


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--study", default="mnist")
    arguments = parser.parse_args()
    weights = load_weights(VGG16)
    with tempfile.TemporaryDirectory() as folder:
        problems = {}
        for precision in PRECISIONS:
            spec, dataset = StudySpec.load(arguments.study, {"budget.precision": precision})
            split = load_split(dataset, spec)
            problems[precision] = Problem.of(VGG16, spec, split, weights, Path(folder))
        rows = []
        for seed in range(arguments.seeds):
            for strategy in strategies(width=256):
                for precision, problem in problems.items():
                    set_precision(problem.spec)  # for the network's head, which is built when it is first used
                    result = run_trial(strategy, problem, seed=seed, on_checkpoint=lambda curve: None)
                    name = f"{strategy.kind} k={strategy.frozen}"
                    accuracy = cast(float, result.val_accuracy)
                    rows.append(
                        {
                            "strategy": name,
                            "seed": seed,
                            "precision": precision,
                            "train_seconds": result.seconds.train,
                            "val_accuracy": accuracy,
                        }
                    )
                    print(f"seed {seed}, {name}, {precision}: {result.seconds.train:.1f} s, {accuracy:.3f}", flush=True)

    def of(name: str, precision: str, figure: str) -> list[float]:
        mine = (row for row in rows if row["strategy"] == name and row["precision"] == precision)
        return [cast(float, row[figure]) for row in mine]

    summary = {}
    differences = []
    for name in dict.fromkeys(cast(str, row["strategy"]) for row in rows):
        seconds = zip(*(of(name, precision, "train_seconds") for precision in PRECISIONS), strict=True)
        accuracies = zip(*(of(name, precision, "val_accuracy") for precision in PRECISIONS), strict=True)
        ratios, gains = [full / half for full, half in seconds], [half - full for full, half in accuracies]
        summary[name] = {"ratio": median(ratios), "ratios": ratios, "accuracy_differences": gains}
        differences += gains
        print(f"{name:24} {median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})")
    whole = Interval.of(differences)
    print(f"accuracy {100 * whole.mean:+.2f} points (95 % {100 * whole.low:+.2f} to {100 * whole.high:+.2f})")
    write("precision", {
        "machine": machine(), "study": arguments.study, "seeds": arguments.seeds, "by_strategy": summary,
        "accuracy_difference": asdict(whole), "runs": rows,
    })  # fmt: skip


if __name__ == "__main__":
    main()
