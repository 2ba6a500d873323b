"""From the reports of searches to what each had found at what time, all measured alike."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.hypervolume import hypervolume
from harness.backbones.described import architecture_of
from harness.core.backbone import BackboneSpec
from harness.core.strategy import Strategy
from harness.training.flops import trial_cost

VGG16 = BackboneSpec.load("vgg16")
ARCHITECTURE = architecture_of(VGG16)

SHARE = 0.99
"""The share of the best final hypervolume that a search must have found."""


@dataclass(frozen=True, slots=True)
class Report:
    """One epoch of a trial: ``epoch`` epochs of ``strategy`` were trained ``seconds`` after the search began."""

    seconds: float
    trial: str
    epoch: int
    strategy: Strategy
    val_accuracy: float


@dataclass(frozen=True, slots=True)
class Ruler:
    """The cost of training, the same for all searches: FLOPs as `harness.training.flops` counts them.

    ``epochs`` are those of a whole trial; ``cache_bytes`` is the size that activations may have.
    """

    n_train: int
    n_validation: int
    n_classes: int
    image_size: int
    epochs: int
    cache_bytes: int

    def flops(self, strategy: Strategy, epoch: int) -> float:
        """Return the FLOPs of ``epoch`` epochs of ``strategy``."""
        images = self.n_train + self.n_validation
        cost = trial_cost(ARCHITECTURE, strategy, self.n_classes, images, self.cache_bytes)
        return cost.at(self.n_train, epoch)

    def most_expensive(self, layers: int, width: int) -> float:
        """Return the FLOPs of a whole trial of all convolutions with the largest head, where hypervolumes end."""
        head = (width,) * layers
        return self.flops(Strategy("fine_tune_all", 0, "average", head, 0.0, "adam", 1e-4, image_size=32), self.epochs)


@dataclass(frozen=True, slots=True)
class Standing:
    """What a search had found after ``seconds``: its best accuracy and the hypervolume of all its epochs.

    The hypervolume is in accuracy times decades of compute.
    """

    seconds: float
    best: float
    hypervolume: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """When each search had `SHARE` of the best final hypervolume (``target``), None if it never had.

    ``ratio`` is the seconds of the harness divided by those of the first rival. It is an upper bound if no rival got
    there, with the budget in place of a rival's seconds, and None if the harness did not. ``overtaken`` is when the
    harness had as much as any rival had at its end, None if it never had.
    """

    target: float
    seconds: Mapping[str, float | None]
    ratio: float | None
    is_bound: bool
    overtaken: float | None


def as_line(report: Report) -> str:
    """Return the line of JSON that `read_reports` reads."""
    fields = {name: getattr(report, name) for name in ("seconds", "trial", "epoch", "val_accuracy")}
    return json.dumps({**fields, **report.strategy.as_row()}) + "\n"


def read_reports(file: Path, budget: float) -> list[Report]:
    """Return what was reported within ``budget`` seconds, first to last.

    A search that was stopped may have left half a line, which is ignored. A search without an epoch has no file.
    """
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("\n")]
    reports = [
        Report(row["seconds"], row["trial"], row["epoch"], Strategy.from_row(row), row["val_accuracy"]) for row in rows
    ]
    return sorted((report for report in reports if report.seconds <= budget), key=lambda report: report.seconds)


def standings(reports: Iterable[Report], ruler: Ruler, reference_flops: float) -> list[Standing]:
    """Return how a search stood after each report that improved it."""
    found: list[Standing] = []
    costs: list[float] = []
    accuracies: list[float] = []
    for report in reports:
        costs.append(ruler.flops(report.strategy, report.epoch))
        accuracies.append(report.val_accuracy)
        now = Standing(report.seconds, max(accuracies), hypervolume(costs, accuracies, reference_flops))
        if not found or (now.best, now.hypervolume) != (found[-1].best, found[-1].hypervolume):
            found.append(now)
    return found


def seconds_to(target: float, found: Sequence[Standing]) -> float | None:
    """Return when a search had found a hypervolume of ``target``, None if it never had."""
    return next((standing.seconds for standing in found if standing.hypervolume >= target), None)


def judge(found: Mapping[str, Sequence[Standing]], budget: float) -> Verdict:
    """Compare the ``harness`` among ``found`` with the others, which had ``budget`` seconds each."""
    final = {name: standings[-1].hypervolume if standings else 0.0 for name, standings in found.items()}
    target = SHARE * max(final.values())
    seconds = {name: seconds_to(target, standings) for name, standings in found.items()}
    ours = seconds["harness"]
    theirs = [value for name, value in seconds.items() if name != "harness" and value is not None]
    return Verdict(
        target,
        seconds,
        ratio=None if ours is None else ours / min(theirs, default=budget),
        is_bound=not theirs,
        overtaken=seconds_to(max(final[name] for name in final if name != "harness"), found["harness"]),
    )
