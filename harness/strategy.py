"""What one trial tries: how much of VGG16 is kept, the head put on it and how both are trained."""

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["feature_extraction", "freeze_first_k", "fine_tune_all", "from_scratch"]
Pooling = Literal["average", "max", "flatten"]
OptimizerName = Literal["adam", "sgd"]

KINDS: tuple[Kind, ...] = get_args(Kind)
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
OPTIMIZERS: tuple[OptimizerName, ...] = get_args(OptimizerName)

N_CONVS = 13
"""Convolutions in VGG16. ``k`` counts these, never Keras layers (pools and the input are layers too)."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """One point of the search space.

    ``frozen_convs`` is k, the number of leading convolutions that do not move: 13 for feature extraction, 1 to 12 for
    ``freeze_first_k``, 0 for the other two. ``head`` holds the widths of the hidden dense layers, first to last.
    ``learning_rate`` is the peak of the schedule. The four kinds are those of the article's guidance.
    """

    kind: Kind
    frozen_convs: int
    pooling: Pooling
    head: tuple[int, ...]
    dropout: float
    optimizer: OptimizerName
    learning_rate: float

    def __post_init__(self) -> None:
        expected = {"feature_extraction": (N_CONVS, N_CONVS), "freeze_first_k": (1, N_CONVS - 1)}
        low, high = expected.get(self.kind, (0, 0))
        if not low <= self.frozen_convs <= high:
            raise ValueError(f"{self.kind} wants {low} <= frozen_convs <= {high}, but got {self.frozen_convs=}")

    @property
    def pretrained(self) -> bool:
        """Whether the convolutions start from ImageNet."""
        return self.kind != "from_scratch"

    def needs_memory_of(self, other: "Strategy") -> bool:
        """Whether training this certainly takes no less memory than ``other`` in the same study: nothing that costs
        memory is smaller here. Most pairs are not comparable; then the answer is no."""
        return (
            self.frozen_convs <= other.frozen_convs
            and (self.pooling == "flatten" or other.pooling != "flatten")
            and (self.optimizer == "adam" or other.optimizer == "sgd")
            and len(self.head) >= len(other.head)
            and all(width >= least for width, least in zip(self.head, other.head, strict=False))
        )

    def label(self) -> str:
        """A few words for tables and hovers: ``freeze_first_k k=5, average, 512-256, adam 0.0003``."""
        depth = f" k={self.frozen_convs}" if self.kind == "freeze_first_k" else ""
        head = "-".join(map(str, self.head)) or "no hidden layer"
        return f"{self.kind}{depth}, {self.pooling}, {head}, {self.optimizer} {self.learning_rate:.2g}"
