"""The search space of a study as declared: backbones, image sizes, strategies, heads and rates."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_serializer, field_validator, model_validator

from harness.core.backbone import BackboneSpec, Declared
from harness.core.cost import COSTS, CostMeasure, CostName
from harness.core.refinements import LIMITS, RATES
from harness.core.strategy import (
    ARTICLE_KINDS,
    MOST_HIDDEN_LAYERS,
    N_CONVS,
    VGG16,
    Kind,
    OptimizerName,
    Pooling,
    RecipeName,
)
from harness.core.toml_files import shipped

Range = tuple[float, float]
Choices = Annotated[tuple[float, ...], Field(min_length=1)]
SamplerName = Literal[
    "optuna.samplers.TPESampler", "optuna.samplers.NSGAIISampler", "optuna.samplers.NSGAIIISampler",
    "optuna.samplers.RandomSampler",
]  # fmt: skip
IMAGE_SIZES = (32, 512)
"""The smallest and the largest side of an image in pixels. VGG16 halves it five times."""
ADVICE_SIZE = 224
"""Side of the images that VGG16 was trained on, in pixels."""
_BASELINE_SIZE = 64


def _default_cost(declared: dict[str, Any]) -> CostName:
    return "seconds" if len(declared.get("backbones", ())) > 1 else "flops"


class RefinementSpace(Declared):
    """Which of `harness.core.refinements.Refinements` are searched: rates from a range, on a log scale, others from a
    list of values. Of one value there is nothing to search; by default that is the one that is off."""

    body_rate: Range = (1.0, 1.0)
    layer_decay: Range = (1.0, 1.0)
    weight_decay: Choices = (0.0,)
    label_smoothing: Choices = (0.0,)
    clip_norm: Choices = (0.0,)
    augmentation: Choices = (0.0,)
    mixup: Choices = (0.0,)
    averaging: Choices = (0.0,)

    @model_validator(mode="before")
    @classmethod
    def _one_is_a_list(cls, declared: Any) -> Any:
        if not isinstance(declared, dict):
            return declared
        number = int | float
        return {
            name: [value] * (2 if name in RATES else 1) if isinstance(value, number) else value
            for name, value in declared.items()
        }

    @model_validator(mode="after")
    def _within_limits(self) -> Self:
        for name, (least, most) in LIMITS.items():
            values: tuple[float, ...] = getattr(self, name)
            if list(values) != sorted(values) or not least <= values[0] <= values[-1] <= most:
                raise ValueError(f"{name} must hold {least:g} to {most:g} in ascending order, but got {list(values)}")
            if name not in RATES and len(set(values)) < len(values):
                raise ValueError(f"{name}: give each value once, but got {list(values)}")
        return self

    def searched(self, name: str) -> bool:
        """Return whether that refinement has several values."""
        values: tuple[float, ...] = getattr(self, name)
        return values[0] < values[-1]


class SearchSpace(Declared):
    """What the sampler may choose. Ranges include both ends.

    Attributes:
        backbones: The pretrained networks, by name or by the path of a TOML file.
        image_size: Sides in pixels of the square images that the network is given, ascending; also above the images'
            own size. One number is a list of one.
        cost: What accuracy is traded against: ``flops`` of training, the default with one backbone, or ``seconds`` of
            training at rates that are measured when the study begins, the default with several. FLOPs do not compare
            different networks.
        sampler: What draws them, of Optuna's samplers for two objectives that learn from the trials alone.
        strategies: ``two_phase`` is searched only if it is listed; its k starts at 0.
        recipes: Recipes that are tried, after the advice. Where the study searches a refinement, a recipe has the
            nearest of its values.
        minimum_share: Share of all trials that each strategy gets before the sampler is free.
        learning_rate: The range for each strategy.
        head_share: ``two_phase`` only: share of the epochs in which the head alone trains.
        rate_factor: ``two_phase`` only: factor on the learning rate after that.
        epochs: Lengths of a whole training that are tried next to the budget's, which is the longest.
        refinements: What may be added to plain training.
    """

    backbones: Annotated[tuple[BackboneSpec, ...], Field(min_length=1)] = (BackboneSpec.load(VGG16),)
    image_size: Annotated[tuple[int, ...], Field(min_length=1)] = (ADVICE_SIZE,)
    cost: CostName = Field(default_factory=_default_cost)
    sampler: SamplerName = "optuna.samplers.TPESampler"
    strategies: Annotated[tuple[Kind, ...], Field(min_length=1)] = ARTICLE_KINDS
    recipes: tuple[RecipeName, ...] = ("recipe_extractor", "recipe_partial")
    minimum_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    frozen: tuple[int, int] = (1, N_CONVS - 1)
    pooling: Annotated[tuple[Pooling, ...], Field(min_length=1)] = ("average", "max", "flatten")
    hidden_layers: tuple[int, int] = (0, 3)
    head_width: tuple[int, int] = (32, 4096)
    dropout: Range = (0.0, 0.6)
    optimizer: Annotated[tuple[OptimizerName, ...], Field(min_length=1)] = ("adam", "sgd")
    learning_rate: dict[Kind, Range]
    head_share: Range = (0.2, 0.6)
    rate_factor: Range = (0.003, 0.3)
    epochs: tuple[Annotated[int, Field(ge=1)], ...] = ()
    refinements: RefinementSpace = RefinementSpace()

    @property
    def advice_size(self) -> int:
        """Return the size at which the article's advice is tried: the largest up to VGG16's own, else the smallest."""
        return max((size for size in self.image_size if size <= ADVICE_SIZE), default=self.image_size[0])

    @property
    def baseline_size(self) -> int:
        """Return the size at which the baselines run, which must take little of the search's time and memory: the
        largest up to 64 pixels, which the article's CNN needs, or 64 where all are larger."""
        return max((size for size in self.image_size if size <= _BASELINE_SIZE), default=_BASELINE_SIZE)

    @property
    def advice_backbone(self) -> BackboneSpec:
        """Return the backbone with which the article's advice is tried: VGG16, or else the first one."""
        return next((backbone for backbone in self.backbones if backbone.name == VGG16), self.backbones[0])

    @property
    def cost_measure(self) -> CostMeasure:
        """Return what accuracy is traded against."""
        return COSTS[self.cost]

    def backbone(self, name: str) -> BackboneSpec:
        """Return the backbone of that name, which is one of the study's."""
        return next(backbone for backbone in self.backbones if backbone.name == name)

    @field_validator("backbones", mode="before")
    @classmethod
    def _by_name(cls, declared: Any) -> Any:
        if isinstance(declared, str):
            declared = [declared]
        if isinstance(declared, list | tuple):
            declared = [BackboneSpec.load(item) if isinstance(item, str) else item for item in declared]
        return declared

    @field_serializer("backbones")
    def _names(self, backbones: tuple[BackboneSpec, ...]) -> list[Any]:
        """Return those that come with the harness as names, others whole: their files may not be found again."""
        known = shipped("backbones")
        return [
            backbone.name if backbone.name in known and backbone == BackboneSpec.load(backbone.name)
            else backbone.model_dump(mode="json")
            for backbone in backbones
        ]  # fmt: skip

    @field_validator("backbones")
    @classmethod
    def _different(cls, backbones: tuple[BackboneSpec, ...]) -> tuple[BackboneSpec, ...]:
        names = [backbone.name for backbone in backbones]
        if len(set(names)) < len(names):
            raise ValueError(f"give each backbone once, but got {names}")
        for backbone in backbones:
            if backbone.name in shipped("backbones") and backbone != BackboneSpec.load(backbone.name):
                raise ValueError(f"{backbone.name!r} is the name of a shipped backbone: give yours another in its file")
        return backbones

    @field_validator("image_size", mode="before")
    @classmethod
    def _one_is_a_list(cls, declared: Any) -> Any:
        return [declared] if isinstance(declared, int) else declared

    @field_validator("image_size")
    @classmethod
    def _ascending(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        least, most = IMAGE_SIZES
        for size in sizes:
            if not least <= size <= most:
                raise ValueError(f"give sizes of {least} to {most} pixels, but got {size}")
        if list(sizes) != sorted(set(sizes)):
            raise ValueError(f"give each size once and in ascending order, {sorted(set(sizes))}, but got {list(sizes)}")
        return sizes

    @model_validator(mode="after")
    def _check(self) -> Self:
        ranges: dict[str, tuple[Range, Range]] = {
            "frozen": (self.frozen, (1, N_CONVS - 1)),
            "hidden_layers": (self.hidden_layers, (0, MOST_HIDDEN_LAYERS)),
            "head_width": (self.head_width, (1, 8192)),
            "dropout": (self.dropout, (0.0, 0.95)),
            "head_share": (self.head_share, (0.0, 1.0)),
            "rate_factor": (self.rate_factor, (1e-6, 1.0)),
        }
        for backbone in self.backbones:
            if self.image_size[0] < backbone.least_size:
                raise ValueError(
                    f"image_size {self.image_size[0]} is too small for {backbone.name}: "
                    f"give {backbone.least_size} or more"
                )
        for kind in self.strategies:
            if kind not in self.learning_rate:
                raise ValueError(f"learning_rate.{kind} is missing: give its range, e.g. [1e-4, 1e-2]")
            ranges[f"learning_rate.{kind}"] = (self.learning_rate[kind], (1e-8, 10.0))
        for name, ((low, high), (least, most)) in ranges.items():
            if not least <= low <= high <= most:
                raise ValueError(f"{name} must hold {least} <= low <= high <= {most}, but got [{low}, {high}]")
        if self.minimum_share * len(self.strategies) > 1:
            raise ValueError(
                f"minimum_share {self.minimum_share} times {len(self.strategies)} strategies is more than all trials"
            )
        return self
