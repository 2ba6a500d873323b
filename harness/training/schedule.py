"""How long and how fast a network is trained, and with which additions."""

import math
from dataclasses import dataclass

from harness.core.refinements import PLAIN, Refinements
from harness.core.strategy import OptimizerName

WARM_UP_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast to train. ``learning_rate`` is the peak between a linear warm-up and a cosine to zero."""

    epochs: int
    batch_size: int
    optimizer: OptimizerName
    learning_rate: float
    refinements: Refinements = PLAIN

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of step 0 <= ``step`` < ``steps``.

        It decays, since at this size a constant rate swings by two points of accuracy between epochs.
        """
        warm_up = max(1, round(WARM_UP_SHARE * steps))
        if step < warm_up:
            return self.learning_rate * (step + 1) / warm_up
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))

    @property
    def averaged(self) -> int:
        """Return how many epochs, the last ones, have their weights averaged."""
        return math.ceil(self.refinements.averaging * self.epochs - 1e-9)
