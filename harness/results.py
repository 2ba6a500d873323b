"""What a trial or a baseline leaves behind. Plain values, so that storage and pages need no machine learning."""

from dataclasses import dataclass, field
from typing import Literal, get_args

Status = Literal["complete", "pruned", "over_budget", "diverged", "failed"]
STATUSES: tuple[Status, ...] = get_args(Status)

BaselineName = Literal["majority", "mlp", "cnn", "linear_probe"]
BASELINES: tuple[BaselineName, ...] = get_args(BaselineName)


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

    ``train_flops`` and ``train_seconds`` are cumulative and include the frozen prefix.
    """

    epoch: int
    train_flops: float
    train_seconds: float
    train_loss: float
    val_loss: float
    val_accuracy: float


@dataclass(frozen=True, slots=True)
class TrialResult:
    """How a trial or a baseline ended.

    ``val_accuracy`` is that of the last checkpoint, on the validation part (never the test part), None where there is
    no checkpoint. ``train_flops`` is what was spent and ``planned_flops`` what the whole budget would have cost
    (1 multiply-add = 2 FLOPs); their difference is what stopping early saved. ``reason`` says in words why a trial did
    not complete. ``features_cached`` tells whether the activations were found in the cache.
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

    @property
    def saved_flops(self) -> float:
        """FLOPs not spent because the trial ended early."""
        return max(0.0, self.planned_flops - self.train_flops)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a study stands, over all its workers."""

    finished: int
    running: int
    pruned: int
    best: float | None
