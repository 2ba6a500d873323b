"""What a trial or a baseline leaves behind. Plain values, so that storage and pages need no machine learning."""

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from harness.core.strategy import Strategy

Status = Literal["complete", "pruned", "over_budget", "diverged", "failed"]
STATUSES: tuple[Status, ...] = get_args(Status)

BaselineName = Literal["majority", "mlp", "cnn", "linear_probe"]
BASELINES: tuple[BaselineName, ...] = get_args(BaselineName)

Metric = Literal["accuracy", "balanced_accuracy", "macro_f1"]
"""What a study is judged by; its results hold all of them, as ``val_accuracy`` and so on: see
`harness.core.metrics`."""
METRICS: tuple[Metric, ...] = get_args(Metric)
METRIC_NAMES: dict[Metric, str] = {
    "accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Seconds:
    """Wall seconds by kind. ``features`` is what computing this trial's activations costs on its own, charged in full
    even when another trial had already left them in the cache; ``evaluation`` is not training."""

    features: float = 0.0
    compile: float = 0.0
    train: float = 0.0
    evaluation: float = 0.0

    @property
    def total(self) -> float:
        """All four together."""
        return self.features + self.compile + self.train + self.evaluation


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One point of a learning curve: validation figures after ``epoch`` epochs (1, 2, …).

    ``train_flops`` and ``train_seconds`` are cumulative and include the frozen prefix. NaN where a figure was not
    recorded yet when the trial ran.
    """

    epoch: int
    train_flops: float
    train_seconds: float
    train_loss: float
    val_loss: float
    val_accuracy: float
    val_balanced_accuracy: float = math.nan
    val_macro_f1: float = math.nan

    def score(self, metric: Metric) -> float:
        """The figure that a study judged by ``metric`` compares."""
        value: float = getattr(self, f"val_{metric}")
        return value


@dataclass(frozen=True, slots=True)
class TrialResult:
    """How a trial or a baseline ended.

    ``val_accuracy`` and the other ``val_`` figures are those of the last checkpoint, on the validation part (never the
    test part), None where there is no checkpoint. ``train_flops`` is what was spent and ``planned_flops`` what the
    whole budget would have cost (1 multiply-add = 2 FLOPs); their difference is what stopping early saved. ``reason``
    says in words why a trial did not complete. ``features_cached`` tells whether the activations were found in the
    cache. ``correct`` says of each validation image, in their order, whether the last checkpoint recognises it; empty
    where there is none.
    """

    status: Status
    train_flops: float
    planned_flops: float
    val_accuracy: float | None = None
    val_loss: float | None = None
    train_loss: float | None = None
    seconds: Seconds = field(default_factory=Seconds)
    features_cached: bool = False
    reason: str = ""
    curve: tuple[Checkpoint, ...] = ()
    val_balanced_accuracy: float | None = None
    val_macro_f1: float | None = None
    correct: tuple[bool, ...] = field(default=(), repr=False)

    def score(self, metric: Metric) -> float | None:
        """The figure that a study judged by ``metric`` compares."""
        value: float | None = getattr(self, f"val_{metric}")
        return value

    @property
    def saved_flops(self) -> float:
        """FLOPs not spent because the trial ended early."""
        return max(0.0, self.planned_flops - self.train_flops)


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a confirmation trains anew: the ``strategy`` of trial ``trial``, or the baseline that ``name`` names.

    ``roles`` say why: ``finalist 1``, ``finalist 2``, …, ``advice``, ``recipe_extractor``, ``recipe_partial``,
    ``baseline``; one may have several.
    """

    name: str
    roles: tuple[str, ...]
    strategy: Strategy | None = None
    trial: int | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a study stands, over all its workers; ``best`` by the study's metric.

    ``work_done`` is what the finished trials were predicted to take and ``work_left`` what the others are, as far as
    their strategies are known: in seconds where ``predicted``, else a trial counts one.
    """

    finished: int
    running: int
    pruned: int
    best: float | None
    work_done: float
    work_left: float
    predicted: bool
