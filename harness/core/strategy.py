"""The strategy of a trial: how much of VGG16 is frozen, the head on top of it, and how both are trained."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

Kind = Literal["feature_extraction", "freeze_first_k", "fine_tune_all", "from_scratch", "two_phase"]
Pooling = Literal["average", "max", "flatten"]
OptimizerName = Literal["adam", "sgd"]

KINDS: tuple[Kind, ...] = get_args(Kind)
ARTICLE_KINDS: tuple[Kind, ...] = KINDS[:4]
"""The four kinds of the article's guidance."""
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
OPTIMIZERS: tuple[OptimizerName, ...] = get_args(OptimizerName)

N_CONVS = 13
"""Convolutions in VGG16. The freeze depth k counts these, not Keras layers (pools and the input are layers too)."""

MOST_HIDDEN_LAYERS = 3
"""Hidden layers of a head, as in the article's first recipe."""


def depths(kind: Kind) -> tuple[int, int]:
    """Return the smallest and the largest k of a kind. Only `freeze_first_k` and `two_phase` have a range."""
    chosen = {
        "feature_extraction": (N_CONVS, N_CONVS), "freeze_first_k": (1, N_CONVS - 1), "two_phase": (0, N_CONVS - 1),
    }  # fmt: skip
    return chosen.get(kind, (0, 0))


@dataclass(frozen=True, slots=True)
class Strategy:
    """One point of the search space.

    Attributes:
        kind: How the convolutions are used.
        frozen: freeze depth k: the first k convolutions are frozen. 13 for feature extraction, 1 to 12 for
            ``freeze_first_k``, 0 to 12 for ``two_phase``, 0 for fine-tuning all and from scratch.
        pooling: How the last activations become the head's input.
        head: Widths of the hidden dense layers, first to last.
        dropout: Dropout rate of the head.
        optimizer: Adam, or SGD with Nesterov momentum.
        learning_rate: Peak of the schedule.
        head_epochs: ``two_phase`` only, else 0: epochs of its first phase, which trains the head on the frozen
            network. The second phase also trains the convolutions after k.
        rate_factor: ``two_phase`` only, else 1: the second phase's peak learning rate over the first's.
        image_size: Side in pixels of the square images that the network is given. VGG16 was trained at 224.
    """

    kind: Kind
    frozen: int
    pooling: Pooling
    head: tuple[int, ...]
    dropout: float
    optimizer: OptimizerName
    learning_rate: float
    head_epochs: int = 0
    rate_factor: float = 1.0
    image_size: int = 224

    def __post_init__(self) -> None:
        if len(self.head) > MOST_HIDDEN_LAYERS:
            raise ValueError(f"at most {MOST_HIDDEN_LAYERS} hidden layers, but got {self.head=}")
        low, high = depths(self.kind)
        if not low <= self.frozen <= high:
            raise ValueError(f"{self.kind} needs {low} <= frozen <= {high}, but got {self.frozen=}")
        if (self.head_epochs > 0) != (self.kind == "two_phase") or (self.rate_factor != 1 and not self.head_epochs):
            raise ValueError(f"{self.kind} cannot have {self.head_epochs=} and {self.rate_factor=}")

    @property
    def pretrained(self) -> bool:
        """Return whether the convolutions start from the ImageNet weights."""
        return self.kind != "from_scratch"

    @property
    def phases(self) -> tuple["Strategy", ...]:
        """Return the one-phase strategies to train in turn, each with the head that the one before has trained."""
        if self.kind != "two_phase":
            return (self,)
        first = replace(self, kind="feature_extraction", frozen=N_CONVS, head_epochs=0, rate_factor=1.0)
        kind: Kind = "freeze_first_k" if self.frozen else "fine_tune_all"
        rate = self.learning_rate * self.rate_factor
        return first, replace(first, kind=kind, frozen=self.frozen, learning_rate=rate)

    def needs_memory_of(self, other: "Strategy") -> bool:
        """Return whether training this strategy needs at least the memory of ``other`` in the same study.

        That is certain only if nothing that takes memory is smaller here. Most pairs are not comparable: then the
        answer is no.
        """
        return (
            len(self.phases) >= len(other.phases)
            and self.image_size >= other.image_size
            and self.frozen <= other.frozen
            and (self.pooling == "flatten" or other.pooling != "flatten")
            and (self.optimizer == "adam" or other.optimizer == "sgd")
            and len(self.head) >= len(other.head)
            and all(width >= least for width, least in zip(self.head, other.head, strict=False))
        )

    def label(self) -> str:
        """Return a few words for tables and hovers: ``freeze_first_k k=5 at 64 px, average, 512-256, adam 0.0003``."""
        depth = f" k={self.frozen}" if self.kind in ("freeze_first_k", "two_phase") else ""
        head = "-".join(map(str, self.head)) or "no hidden layer"
        rates = f"{self.learning_rate:.2g}"
        if self.head_epochs:
            epochs = f"{self.head_epochs} epoch{'s' if self.head_epochs > 1 else ''}"
            rates = f"{rates} on the head for {epochs}, then {self.learning_rate * self.rate_factor:.2g}"
        return f"{self.kind}{depth} at {self.image_size} px, {self.pooling}, {head}, {self.optimizer} {rates}"

    def as_row(self) -> dict[str, Any]:
        """Return the columns of a stored result: ``kind`` as ``strategy``, the widths as ``512-256``."""
        fields = {name: getattr(self, name) for name in self.__slots__ if name != "kind"}
        return {"strategy": self.kind, **fields, "head": "-".join(map(str, self.head))}

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> "Strategy":
        """Return the strategy of a stored result. Other columns of ``row`` are ignored."""
        fields = {name: row[name] for name in cls.__slots__ if name not in ("kind", "head")}
        return cls(kind=row["strategy"], head=tuple(int(width) for width in row["head"].split("-") if width), **fields)
