"""Backbones as stages, with what each stage costs at every image size. Imports no framework."""

from dataclasses import dataclass

from pydantic import TypeAdapter

RGB = 3


@dataclass(frozen=True, slots=True)
class LayerCost:
    """FLOPs per image of a stage or of a layer.

    Attributes:
        forward: The forward pass in inference mode.
        weight_gradient: All that training its weights takes in addition, once the gradient of its output is known: also
            the gradients passed on inside it, and the statistics of its batches.
        input_gradient: What passing the gradient on to its input takes in addition to that.
    """

    forward: float
    weight_gradient: float
    input_gradient: float


@dataclass(frozen=True, slots=True)
class Side:
    """The side of a square map: (image side + ``offset``) // ``reduction``.

    Any sequence of convolutions, pools and paddings comes to this, because floors of quotients combine:
    ((n + a) // r + b) // s is (n + a + r b) // (r s). A 'same' stride of 2, which rounds up, is (n + 1) // 2.
    """

    reduction: int = 1
    offset: int = 0

    def at(self, image_size: int) -> int:
        """Return the side in pixels; 0 where the image is too small for the network."""
        return max(0, (image_size + self.offset) // self.reduction)

    def then(self, offset: int, stride: int = 1) -> "Side":
        """Return the side after a layer that makes (side + ``offset``) // ``stride`` of it."""
        return Side(self.reduction * stride, self.offset + self.reduction * offset)


@dataclass(frozen=True, slots=True)
class Term:
    """A share of a stage's cost: FLOPs for each position of a map of that side, or for each image where it is None."""

    side: Side | None
    forward: int
    weight_gradient: int
    input_gradient: int


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a backbone that is frozen or trained as a whole, and whose output can be stored.

    Attributes:
        channels: Of its output.
        side: Of its output.
        weights: How many of them train; statistics of batches are not counted.
        terms: What it costs, see `cost`.
    """

    name: str
    channels: int
    side: Side
    weights: int
    terms: tuple[Term, ...]

    @property
    def reduction(self) -> int:
        """Return how many times smaller the side of its output is than the image's."""
        return self.side.reduction

    def cost(self, image_size: int) -> LayerCost:
        """Return what it costs for square images of ``image_size`` pixels."""
        forward = weight_gradient = input_gradient = 0
        for term in self.terms:
            positions = 1 if term.side is None else term.side.at(image_size) ** 2
            forward += positions * term.forward
            weight_gradient += positions * term.weight_gradient
            input_gradient += positions * term.input_gradient
        return LayerCost(forward, weight_gradient, input_gradient)


@dataclass(frozen=True, slots=True)
class Architecture:
    """A backbone as its stages, first to last."""

    stages: tuple[Stage, ...]

    def shape(self, k: int, image_size: int) -> tuple[int, int, int]:
        """Return the shape (height, width, channels) of the output of stage ``k``, or of the RGB image where it is 0.

        Raises:
            ValueError: If there is no stage ``k``.
        """
        if not 0 <= k <= len(self.stages):
            raise ValueError(f"k must be 0 to {len(self.stages)}, but got {k}")
        if k == 0:
            return image_size, image_size, RGB
        stage = self.stages[k - 1]
        side = stage.side.at(image_size)
        return side, side, stage.channels

    def costs(self, image_size: int) -> list[LayerCost]:
        """Return what each stage costs for square images of ``image_size`` pixels."""
        return [stage.cost(image_size) for stage in self.stages]

    def as_json(self) -> str:
        """Return it as JSON, from which `from_json` makes an equal one."""
        return _JSON.dump_json(self).decode()

    @staticmethod
    def from_json(text: str | bytes) -> "Architecture":
        """Read what `as_json` wrote. Raises pydantic.ValidationError for anything else."""
        return _JSON.validate_json(text, strict=True)


_JSON: TypeAdapter[Architecture] = TypeAdapter(Architecture)
