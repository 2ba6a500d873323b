"""What a study trades its score against: training FLOPs, or training seconds at rates that were measured once."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from harness.core.quantities import seconds_of_training, tflop

CostName = Literal["flops", "seconds"]


class Spent(NamedTuple):
    """The compute of a training: analytic FLOPs, and seconds at the study's rates, NaN where it has none."""

    train_flops: float
    rated_seconds: float = math.nan


@dataclass(frozen=True, slots=True)
class CostMeasure:
    """A measure of compute.

    Attributes:
        name: As ``search.cost`` has it.
        unit: Of figures.
        spent: The column of trials, checkpoints, baselines and confirmations that holds it.
        planned: The column of trials and baselines with that of the whole budget of epochs.
        saved: The column of ``trial_summary`` with what was not spent.
        in_words: Formats a value of these columns with its unit.
    """

    name: CostName
    unit: Literal["TFLOP", "seconds"]
    spent: str
    planned: str
    saved: str
    in_words: Callable[[float], str]

    def of(self, found: Any) -> float:
        """Return the cost of something that has both as attributes: a `Spent`, a checkpoint, a result."""
        value: float = getattr(found, self.spent)
        return value


FLOPS = CostMeasure("flops", "TFLOP", "train_flops", "planned_flops", "saved_flops", tflop)
SECONDS = CostMeasure("seconds", "seconds", "rated_seconds", "planned_seconds", "saved_seconds", seconds_of_training)
COSTS: dict[CostName, CostMeasure] = {measure.name: measure for measure in (FLOPS, SECONDS)}
