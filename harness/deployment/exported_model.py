"""Reading a model that `harness export` wrote, or what claims to be one: nothing in the file is ever run."""

import json
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import keras
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError, field_validator

from harness.core.calibration import Rejection
from harness.core.errors import DataError

FILE = "model.keras"
MEMBER = "harness.json"
"""Member of the ``.keras`` file, which is a zip, with what its reader must know. Keras overlooks it."""

_CLASSES = {
    "Functional", "Sequential", "InputLayer", "Rescaling", "Resizing", "Normalization", "ZeroPadding2D", "Reshape",
    "Conv2D", "DepthwiseConv2D", "Dense", "BatchNormalization", "LayerNormalization", "LayerScale",
    "Activation", "ReLU", "Add", "Multiply", "MaxPooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D",
    "Flatten", "Dropout", "DTypePolicy", "GlorotUniform", "VarianceScaling", "Ones", "Zeros", "__keras_tensor__",
}  # fmt: skip
"""All that `harness.deployment.standalone` builds of. Nothing else is loaded, even if Keras's safe mode would let it
pass."""


_LONGEST = 20_000  # side of an image: predictions are made for a batch of them


class Signature(BaseModel):
    """What a model cannot say itself: its classes in order, its training images (1 of ``channels``: grey), and what is
    to be expected where images under a probability are rejected, from ``n_calibrated`` validation images."""

    class_names: list[str] = Field(min_length=2)
    height: int = Field(ge=1, le=_LONGEST)
    width: int = Field(ge=1, le=_LONGEST)
    channels: Literal[1, 3]
    n_calibrated: int = Field(default=0, ge=0)
    rejections: list[Rejection] = []

    @field_validator("class_names")
    @classmethod
    def _are_different(cls, names: list[str]) -> list[str]:
        if len(set(names)) < len(names):
            raise ValueError("two classes have the same name")
        return names


@dataclass(frozen=True)
class Exported:
    """An exported model: images (n, height, width, 3) uint8 RGB -> probabilities (n, classes) float32."""

    model: keras.Model
    signature: Signature

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read an export's folder or its ``.keras`` file. Raises DataError for anything else."""
        file = path / FILE if path.is_dir() else path
        try:
            with zipfile.ZipFile(file) as archive:
                config = json.loads(archive.read("config.json"))
                signature = Signature.model_validate_json(archive.read(MEMBER))
        except FileNotFoundError:
            raise DataError(f"there is no model {file}: give a folder that `harness export` wrote") from None
        except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, KeyError, ValueError) as error:
            raise DataError(f"{file} is not a model that `harness export` wrote ({_first_line(error)})") from None
        for found in _classes(config):
            if found not in _CLASSES:
                raise DataError(
                    f"{file} is not loaded: it holds a {found}, which no export does and which might run code"
                )
        try:
            model = keras.saving.load_model(file, compile=False, safe_mode=True)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DataError(f"{file} cannot be loaded by Keras {keras.__version__}: {_first_line(error)}") from None
        outputs = model.output_shape[-1] if isinstance(model.output_shape, tuple) else None
        if outputs != len(signature.class_names):
            raise DataError(
                f"{file} names {len(signature.class_names)} classes, but its network tells {outputs}: export it again"
            )
        return cls(model, signature)

    def expected(self, threshold: float) -> Rejection | None:
        """Return what rejecting images under the probability ``threshold`` is expected to do, at the next lower step of
        0.01; None for an export that does not say it."""
        below = [each for each in self.signature.rejections if each.threshold <= threshold + 1e-9]
        return max(below, key=lambda each: each.threshold, default=None)

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the probabilities of one batch."""
        return np.asarray(self.model.predict_on_batch(images), np.float32)


def _classes(value: Any) -> Iterator[str]:
    """Return every class that a Keras config names, and ``module.class`` where it is not one of Keras's own."""
    if isinstance(value, list):
        for item in value:
            yield from _classes(item)
    if isinstance(value, dict):
        if "class_name" in value:
            name, module = str(value["class_name"]), str(value.get("module", "keras"))
            own = module.partition(".")[0] == "keras" and value.get("registered_name") in (None, name)
            yield name if own else f"{module}.{name}"
        for item in value.values():
            yield from _classes(item)


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
