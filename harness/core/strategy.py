"""The strategy of a trial: which backbone, how much of it is frozen, the head on top, and how both are trained."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from harness.core.backbone import BackboneSpec
from harness.core.refinements import NAMES, PLAIN, Refinements

Kind = Literal["feature_extraction", "freeze_first_k", "fine_tune_all", "from_scratch", "two_phase"]
Pooling = Literal["average", "max", "flatten"]
OptimizerName = Literal["adam", "sgd"]
RecipeName = Literal["recipe_extractor", "recipe_partial", "recipe_keras", "recipe_fastai"]
"""Recipes of others, as strategies (`harness.guidance.advice.RECIPES`)."""

KINDS: tuple[Kind, ...] = get_args(Kind)
ARTICLE_KINDS: tuple[Kind, ...] = KINDS[:4]
"""The four kinds of the article's guidance."""
TRAINING_PRETRAINED: tuple[Kind, ...] = ("freeze_first_k", "fine_tune_all", "two_phase")
"""The kinds that train pretrained stages further."""
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
OPTIMIZERS: tuple[OptimizerName, ...] = get_args(OptimizerName)
RECIPE_NAMES: tuple[RecipeName, ...] = get_args(RecipeName)

VGG16 = "vgg16"
"""The article's backbone, by name."""
N_CONVS = 13
"""Stages of VGG16: its convolutions. The freeze depth k counts these, not Keras layers (pools and the input are layers
too)."""

MOST_HIDDEN_LAYERS = 3
"""Hidden layers of a head, as in the article's first recipe."""


def depths(kind: Kind, n_stages: int = N_CONVS) -> tuple[int, int]:
    """Return the smallest and the largest k of a kind. Only `freeze_first_k` and `two_phase` have a range."""
    chosen = {
        "feature_extraction": (n_stages, n_stages), "freeze_first_k": (1, n_stages - 1), "two_phase": (0, n_stages - 1),
    }  # fmt: skip
    return chosen.get(kind, (0, 0))


@dataclass(frozen=True, slots=True)
class Strategy:
    """One point of the search space.

    Attributes:
        kind: How the backbone is used.
        frozen: freeze depth k: the first k stages of the backbone are frozen. All for feature extraction (VGG16: 13),
            1 to 12 for ``freeze_first_k``, 0 to 12 for ``two_phase``, 0 for fine-tuning all and from scratch.
        pooling: How the last activations become the head's input.
        head: Widths of the hidden dense layers, first to last.
        dropout: Dropout rate of the head.
        optimizer: Adam, or SGD with Nesterov momentum.
        learning_rate: Peak of the schedule.
        head_epochs: ``two_phase`` only, else 0: epochs of its first phase, which trains the head on the frozen
            network. The second phase also trains the convolutions after k.
        rate_factor: ``two_phase`` only, else 1: the second phase's peak learning rate over the first's.
        image_size: Side in pixels of the square images that the network is given. VGG16 was trained at 224.
        backbone: The name of the pretrained network.
        planned_epochs: Epochs of a whole training, both phases together; 0 for as many as the study's budget has.
        refinements: What is added to plain training.
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
    backbone: str = VGG16
    planned_epochs: int = 0
    refinements: Refinements = PLAIN

    def __post_init__(self) -> None:
        if len(self.head) > MOST_HIDDEN_LAYERS:
            raise ValueError(f"at most {MOST_HIDDEN_LAYERS} hidden layers, but got {self.head=}")
        # How many stages another backbone has is known where it is declared.
        low, high = depths(self.kind, N_CONVS if self.backbone == VGG16 else max(self.frozen + 1, 2))
        if self.kind == "feature_extraction" and self.backbone != VGG16:
            low, high = 1, self.frozen
        if not low <= self.frozen <= high:
            raise ValueError(f"{self.kind} needs {low} <= frozen <= {high}, but got {self.frozen=}")
        if (self.head_epochs > 0) != (self.kind == "two_phase") or (self.rate_factor != 1 and not self.head_epochs):
            raise ValueError(f"{self.kind} cannot have {self.head_epochs=} and {self.rate_factor=}")
        if self.planned_epochs and self.planned_epochs <= self.head_epochs:
            raise ValueError(f"{self.planned_epochs=} leave none after {self.head_epochs=}")
        if self.refinements.by_layer and not self.trains_pretrained:
            raise ValueError(f"{self.kind} has no pretrained layers that train, for {self.refinements.label()}")
        if self.refinements.of_images and self.frozen:
            raise ValueError(f"{self.refinements.label()} needs frozen=0, but got {self.frozen=}")

    @property
    def pretrained(self) -> bool:
        """Return whether the convolutions start from the ImageNet weights."""
        return self.kind != "from_scratch"

    @property
    def trains_pretrained(self) -> bool:
        """Return whether pretrained stages are trained further."""
        return self.kind in TRAINING_PRETRAINED

    def phases(self, n_stages: int) -> tuple["Strategy", ...]:
        """Return the one-phase strategies to train in turn, each with the head that the one before has trained.

        ``n_stages`` are those of the backbone.
        """
        if self.kind != "two_phase":
            return (self,)
        kind: Kind = "freeze_first_k" if self.frozen else "fine_tune_all"
        rate = self.learning_rate * self.rate_factor
        second = replace(self, kind=kind, learning_rate=rate, head_epochs=0, rate_factor=1.0, planned_epochs=0)
        first = replace(
            second,
            kind="feature_extraction",
            frozen=n_stages,
            learning_rate=self.learning_rate,
            refinements=self.refinements.of_frozen(),
        )
        return first, second

    def on(self, backbone: BackboneSpec, image_size: int) -> "Strategy":
        """Return this strategy of VGG16 on another ``backbone`` and at another size: as large a share is frozen, and
        rates fall by as much from the last stage to the first."""
        n_stages = len(backbone.stages)
        low, high = depths(self.kind, n_stages)
        frozen = min(max(low, round(self.frozen / N_CONVS * n_stages)), high)
        refinements = self.refinements
        if refinements.layer_decay != 1:
            decay = refinements.layer_decay ** ((N_CONVS - 1) / (n_stages - 1))
            refinements = replace(refinements, layer_decay=decay)
        return replace(self, frozen=frozen, backbone=backbone.name, image_size=image_size, refinements=refinements)

    def needs_memory_of(self, other: "Strategy") -> bool:
        """Return whether training this strategy needs at least the memory of ``other`` in the same study.

        That is certain only if nothing that takes memory is smaller here. Most pairs are not comparable: then the
        answer is no.
        """
        return (
            self.backbone == other.backbone
            and (self.kind == "two_phase" or other.kind != "two_phase")
            and self.image_size >= other.image_size
            and self.frozen <= other.frozen
            and (self.pooling == "flatten" or other.pooling != "flatten")
            and (self.optimizer == "adam" or other.optimizer == "sgd")
            and self.refinements == other.refinements
            and len(self.head) >= len(other.head)
            and all(width >= least for width, least in zip(self.head, other.head, strict=False))
        )

    def place(self) -> str:
        """Return what decides the cost of the convolutions in a few words: ``freeze_first_k k=5 at 64 px``."""
        depth = f" k={self.frozen}" if self.kind in ("freeze_first_k", "two_phase") else ""
        network = "" if self.backbone == VGG16 else f" of {self.backbone}"
        return f"{self.kind}{depth}{network} at {self.image_size} px"

    def label(self) -> str:
        """Return a few words for tables and hovers: ``freeze_first_k k=5 at 64 px, average, 512-256, adam 0.0003``."""
        head = "-".join(map(str, self.head)) or "no hidden layer"
        rates = f"{self.learning_rate:.2g}"
        if self.head_epochs:
            epochs = f"{self.head_epochs} epoch{'s' if self.head_epochs > 1 else ''}"
            rates = f"{rates} on the head for {epochs}, then {self.learning_rate * self.rate_factor:.2g}"
        more = self.refinements.label()
        return f"{self.place()}, {self.pooling}, {head}, {self.optimizer} {rates}{', ' if more else ''}{more}"

    def as_row(self) -> dict[str, Any]:
        """Return the columns of a stored result: ``kind`` as ``strategy``, the widths as ``512-256``."""
        fields = {name: getattr(self, name) for name in self.__slots__ if name not in ("kind", "refinements")}
        refinements = {name: getattr(self.refinements, name) for name in NAMES}
        return {"strategy": self.kind, **fields, "head": "-".join(map(str, self.head)), **refinements}

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> "Strategy":
        """Return the strategy of a stored result. Other columns of ``row`` are ignored, and a recording from before
        there were refinements may lack theirs."""
        fields = {name: row[name] for name in cls.__slots__ if name in row and name not in ("kind", "head")}
        head = tuple(int(width) for width in row["head"].split("-") if width)
        refinements = Refinements(**{name: row[name] for name in NAMES if name in row})
        return cls(kind=row["strategy"], head=head, refinements=refinements, **fields)
