"""Results of trials and baselines, as plain values: storage and pages need no machine-learning framework."""

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from harness.core.cost import Spent
from harness.core.predictions import Predictions
from harness.core.strategy import RecipeName, Strategy

Status = Literal["complete", "pruned", "over_budget", "diverged", "out_of_memory", "failed"]
STATUSES: tuple[Status, ...] = get_args(Status)

Origin = Literal["advice", "league", RecipeName, "quota", "sampler"]
"""Where a trial's strategy comes from: the advice, the article's two recipes, the minimum share, or the sampler."""
ORIGINS: tuple[Origin, ...] = get_args(Origin)

BaselineName = Literal["majority", "mlp", "cnn", "linear_probe"]
BASELINES: tuple[BaselineName, ...] = get_args(BaselineName)

Metric = Literal["accuracy", "balanced_accuracy", "macro_f1"]
"""The metric that a study optimizes. Results hold all of them, as ``val_accuracy`` and so on: see
`harness.core.metrics`."""
METRICS: tuple[Metric, ...] = get_args(Metric)
METRIC_NAMES: dict[Metric, str] = {
    "accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Seconds:
    """Wall seconds by kind.

    ``features`` is the time to compute the trial's activations. It is charged in full even if they were in the cache
    already. ``evaluation`` is not training.
    """

    features: float = 0.0
    compile: float = 0.0
    train: float = 0.0
    evaluation: float = 0.0

    @property
    def total(self) -> float:
        """Return the sum of all four."""
        return self.features + self.compile + self.train + self.evaluation


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One point of a learning curve: the validation scores after ``epoch`` epochs (1, 2, …).

    ``train_flops``, ``train_seconds`` (measured) and ``rated_seconds`` (at the study's rates, NaN where it has none)
    are cumulative and include the frozen layers. A score is NaN if it was not recorded when the trial ran.
    """

    epoch: int
    train_flops: float
    train_seconds: float
    train_loss: float
    val_loss: float
    val_accuracy: float
    val_balanced_accuracy: float = math.nan
    val_macro_f1: float = math.nan
    rated_seconds: float = math.nan

    def score(self, metric: Metric) -> float:
        """Return the validation score by ``metric``."""
        value: float = getattr(self, f"val_{metric}")
        return value


@dataclass(frozen=True, slots=True)
class TrialResult:
    """How a trial or a baseline ended.

    Attributes:
        status: Why it ended.
        train_flops: FLOPs that were spent (1 multiply-add = 2 FLOPs).
        planned_flops: FLOPs of the whole budget of epochs.
        rated_seconds: Seconds of training at the study's rates, NaN where it has none: not what was measured.
        planned_seconds: The same of the whole budget of epochs.
        val_accuracy: The last checkpoint's, on the validation set (never the test set), as all ``val_`` figures; None
            without a checkpoint.
        features_cached: Whether the activations were in the cache.
        reason: Why a trial did not complete, in words.
        curve: The checkpoints, first to last.
        val_top5_accuracy: None with ten classes or fewer.
        val_auroc: None with other than two classes.
        predictions: The last checkpoint's for the validation images, in their order, a trial's with a calibration; None
            unless it is complete.
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
    val_top5_accuracy: float | None = None
    val_auroc: float | None = None
    predictions: Predictions | None = field(default=None, repr=False, compare=False)
    rated_seconds: float = math.nan
    planned_seconds: float = math.nan

    @classmethod
    def not_run(cls, status: Status, reason: str, planned: Spent) -> "TrialResult":
        """Return the result of a trial that would have cost what is ``planned`` and did not begin."""
        return cls(
            status,
            train_flops=0.0,
            planned_flops=planned.train_flops,
            reason=reason,
            rated_seconds=0.0 * planned.rated_seconds,  # NaN without rates
            planned_seconds=planned.rated_seconds,
        )

    def score(self, metric: Metric) -> float | None:
        """Return the validation score by ``metric``."""
        value: float | None = getattr(self, f"val_{metric}")
        return value

    @property
    def saved_flops(self) -> float:
        """Return the FLOPs that were not spent because the trial ended early."""
        return max(0.0, self.planned_flops - self.train_flops)


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a confirmation trains again: the ``strategy`` of trial number ``trial``, or the baseline called ``name``.

    ``roles`` say why, and there may be several: ``finalist 1``, ``finalist 2``, …, ``advice``, ``recipe_extractor``,
    ``recipe_partial``, ``baseline``.
    """

    name: str
    roles: tuple[str, ...]
    strategy: Strategy | None = None
    trial: int | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Progress of a study over all its workers.

    Attributes:
        best: The best score so far, by the study's metric.
        work_done: Predicted seconds of the finished trials; their number unless ``predicted``.
        work_left: The same of the other trials whose strategies are known already.
        predicted: Whether there are predictions.
    """

    finished: int
    running: int
    pruned: int
    best: float | None
    work_done: float
    work_left: float
    predicted: bool
