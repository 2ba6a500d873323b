"""Record whole learning curves of random configurations of the study `mnist`, for `benchmarks.replay`.

    python -m benchmarks.curves [--configurations 200] [--data NAME|PATH]... [--train-size 400] [--validation-size 300]

Every data set gets the same configurations, the article's four strategies in turn. None is stopped early. Images are
32x32, 5 epochs, batch size 64, bfloat16. The curves go to benchmarks/curves/SET.jsonl. Its first line holds the setting
and the machine, each other line one configuration with its curve. The file is written after every trial, one
configuration on all sets after another. An interrupted recording therefore continues where it stopped, and a part of
one can be used. The seconds depend on what else the machine did; the training FLOPs are calculated and do not. Needs
VGG16's weights (see docs/usage.md).
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from benchmarks.record import machine
from harness.backbones.backbone import Backbone
from harness.backbones.weights import load_weights
from harness.core.backbone import BackboneSpec
from harness.core.paths import user_cache
from harness.core.results import Checkpoint, TrialResult
from harness.core.spec import StudySpec
from harness.core.strategy import Strategy
from harness.data.dataset import load_split
from harness.strategy_search.space import suggest
from harness.training.problem import Problem, set_precision
from harness.training.trial import run_trial

VGG16 = BackboneSpec.load("vgg16")

FOLDER = Path(__file__).parent / "curves"
POINT = ("train_flops", "train_seconds", "val_accuracy", "val_loss", "train_loss")
"""The recorded fields of a checkpoint, in this order. FLOPs and seconds are cumulative."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One configuration trained to its end.

    The curve is empty if it diverged or ran out of memory in its first epoch. ``planned_flops`` are those of all
    epochs, ``seconds`` is the wall time.
    """

    strategy: Strategy
    status: str
    planned_flops: float
    seconds: float
    curve: tuple[Checkpoint, ...]

    @classmethod
    def of(cls, row: dict[str, Any], image_size: int) -> "Recorded":
        """Read what `as_row` has written. Recordings of one size and VGG16 alone do not name these."""
        strategy = {"image_size": image_size, "backbone": VGG16.name, **row["strategy"]}
        points = (Checkpoint(epoch, **dict(zip(POINT, p, strict=True))) for epoch, p in enumerate(row["curve"], 1))
        return cls(Strategy.from_row(strategy), row["status"], row["planned_flops"], row["seconds"], tuple(points))


def as_row(strategy: Strategy, result: TrialResult, seconds: float) -> dict[str, Any]:
    """Return the result as one line of the file holds it, with six significant digits."""
    curve = [[_short(getattr(point, name)) for name in POINT] for point in result.curve]
    fields = {name: _short(value) for name, value in strategy.as_row().items()}
    return {
        "strategy": fields, "status": result.status, "planned_flops": _short(result.planned_flops),
        "seconds": _short(seconds), "curve": curve,
    }  # fmt: skip


def _short(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def load(dataset: str) -> tuple[dict[str, Any], list[Recorded]]:
    """Return the setting of a recording and its configurations in the order in which they were drawn."""
    setting, *rows = map(json.loads, _file(dataset).read_text(encoding="utf-8").splitlines())
    return setting, [Recorded.of(row, setting["image_size"]) for row in rows]


def recorded_sets() -> list[str]:
    """Return the names of the data sets with a recording."""
    return sorted(path.stem for path in FOLDER.glob("*.jsonl"))


def _file(dataset: str) -> Path:
    return FOLDER / f"{dataset}.jsonl"


def draw(spec: StudySpec, count: int) -> list[Strategy]:
    """Return the first ``count`` of an endless list of random configurations of the study, its strategies in turn."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=spec.seed))
    found = []
    for number in range(count):
        kind = spec.search.strategies[number % len(spec.search.strategies)]
        study.enqueue_trial({"strategy": kind})
        found.append(suggest(study.ask(), spec))
    return [Strategy.from_row({name: _short(value) for name, value in s.as_row().items()}) for s in found]


class Recording:
    """The file of one data set, and the problem that its configurations are trained on."""

    def __init__(self, spec: StudySpec, problem: Problem, name: str) -> None:
        """Start the file, or continue one of the same setting.

        Raises:
            SystemExit: the file has another setting.
        """
        self._problem, self._path = problem, _file(name)
        (self._image_size,) = spec.search.image_size
        train, validation = len(problem.split.train), len(problem.split.validation)
        setting = {
            "dataset": name, "classes": problem.split.n_classes, "train": train, "validation": validation,
            "image_size": self._image_size, "epochs": spec.budget.epochs, "batch_size": spec.budget.batch_size,
            "precision": spec.budget.precision, "seed": spec.seed, "point": list(POINT),
        }  # fmt: skip
        if not self._path.exists():
            found = {key: value for key, value in machine().items() if key != "command"}  # it may hold paths
            self._lines = [json.dumps(setting | {"machine": found})]
            return
        self._lines = self._path.read_text(encoding="utf-8").splitlines()
        before = {key: value for key, value in json.loads(self._lines[0]).items() if key != "machine"}
        if before != setting:
            raise SystemExit(f"{self._path.name} was recorded with {before}, not {setting}: move it away to start over")

    def record(self, number: int, strategy: Strategy) -> None:
        """Train configuration ``number`` and write its curve, unless it is recorded already."""
        if number + 1 < len(self._lines):
            recorded = Recorded.of(json.loads(self._lines[number + 1]), self._image_size)
            assert recorded.strategy == strategy, "another space or Optuna"
            return
        begin = time.perf_counter()
        result = run_trial(strategy, self._problem, seed=number, on_checkpoint=lambda _: None)
        seconds = time.perf_counter() - begin
        self._lines.append(json.dumps(as_row(strategy, result, seconds), separators=(",", ":")))
        new = self._path.with_suffix(".new")
        new.write_text("\n".join(self._lines) + "\n", encoding="utf-8")
        new.replace(self._path)
        reached = f"{result.val_accuracy:.3f}" if result.val_accuracy is not None else result.reason
        print(f"{number:3d} {self._path.stem:10} {strategy.label()}: {reached} ({seconds:.1f} s)", flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Record the missing configurations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configurations", type=int, default=200)
    parser.add_argument("--data", action="append", metavar="NAME|PATH", help="may be given several times")
    parser.add_argument("--train-size", type=int, default=400)
    parser.add_argument("--validation-size", type=int, default=300)
    arguments = parser.parse_args(argv)
    FOLDER.mkdir(exist_ok=True)
    network: Backbone | None = None
    recordings = []
    for data in arguments.data or ["mnist"]:
        spec, dataset = StudySpec.load("mnist", {
            "data.dataset": data, "data.train_size": arguments.train_size, "data.test_size": None,
            "data.validation_size": arguments.validation_size, "budget.precision": "bfloat16",
        })  # fmt: skip
        if network is None:
            set_precision(spec)
            network = Backbone.of(VGG16, load_weights(VGG16))
        split = load_split(dataset, spec)
        problem = Problem.on(network, spec, split, user_cache() / "features")
        recordings.append(Recording(spec, problem, dataset.name))
    for number, strategy in enumerate(draw(spec, arguments.configurations)):
        for recording in recordings:
            recording.record(number, strategy)


if __name__ == "__main__":
    main()
