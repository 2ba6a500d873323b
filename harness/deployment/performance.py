"""What a file of an export takes, and how far its predictions are from those of the model that it was made of."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from harness.core.environment import available_cores
from harness.data.dataset import Images
from harness.deployment.exported_model import Exported
from harness.deployment.formats import FORMATS
from harness.deployment.standalone import IMAGES, PROBABILITIES

_UNCOUNTED, _REPEATS = 2, 20  # the first calls compile
_BATCH = 32

Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Images (n, height, width, 3) -> probabilities (n, classes)."""


@dataclass(frozen=True, slots=True)
class Performance:
    """What was measured of one file.

    Attributes:
        bytes: Its size, or that of all files of a folder.
        seconds: How long one image takes, of each of several runs.
        accuracy: The share of the validation images that is predicted right.
        changed: How many of them get another class than from the model itself.
    """

    bytes: int
    seconds: list[float]
    accuracy: float
    changed: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """The files of an export on ``n`` validation images, of which the model itself predicts the share ``accuracy``
    right; None for a format that nothing here runs."""

    n: int
    accuracy: float
    files: dict[str, Performance | None]


def compare(model: keras.Model, folder: Path, formats: Sequence[str], validation: Images) -> Comparison:
    """Run each file of an export.

    Args:
        model: the model that they were made of.
        folder: where they are.
        formats: their formats, of `FORMATS`.
        validation: images of the size that training images have.
    """
    images, labels = rgb(validation.pixels), validation.labels
    predicted = model.predict(images, verbose=0).argmax(axis=1)
    files = {
        form: _measure(form, folder / FORMATS[form].target, images, labels, predicted)
        if find_spec(FORMATS[form].runtime)
        else None
        for form in formats
    }
    return Comparison(len(images), float((predicted == labels).mean()), files)


def some(images: Images, most: int) -> Images:
    """Return at most ``most`` of the images, evenly spaced."""
    rows = np.linspace(0, len(images) - 1, min(most, len(images))).round().astype(np.int64)
    return Images(images.pixels[rows], images.labels[rows])


def rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return images (n, height, width[, 3]) as (n, height, width, 3)."""
    return pixels if pixels.ndim == 4 else np.repeat(pixels[..., None], 3, axis=3)


def _measure(
    form: str, path: Path, images: NDArray[np.uint8], labels: NDArray[np.int64], expected: NDArray[np.int64]
) -> Performance:
    run, seconds = _RUNS[form.removesuffix("_int8")](path), []
    for _ in range(_UNCOUNTED + _REPEATS):
        begun = time.perf_counter()
        run(images[:1])
        seconds.append(time.perf_counter() - begun)
    found = np.concatenate([run(images[first : first + _BATCH]) for first in range(0, len(images), _BATCH)])
    predicted = found.argmax(axis=1)
    size = sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())
    right, changed = float((predicted == labels).mean()), int((predicted != expected).sum())
    return Performance(size, seconds[_UNCOUNTED:], right, changed)


def _keras(path: Path) -> Run:
    return Exported.load(path).probabilities


def _saved_model(path: Path) -> Run:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))  # its signature does not keep it
    return lambda images: loaded.signatures["serving_default"](**{IMAGES: tf.constant(images)})[PROBABILITIES].numpy()


def _onnx(path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    return lambda images: session.run(None, {IMAGES: images})[0]


def _litert(path: Path) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=available_cores())
    interpreter.allocate_tensors()
    (given,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        found = []
        for image in images:
            interpreter.set_tensor(given["index"], image[None])
            interpreter.invoke()
            found.append(interpreter.get_tensor(answer["index"]))
        return np.concatenate(found)

    return run


def _openvino(path: Path) -> Run:
    import openvino

    compiled = openvino.Core().compile_model(path / "model.xml", "CPU")
    return lambda images: np.asarray(compiled(images)[0])


_RUNS: dict[str, Callable[[Path], Run]] = {
    "keras": _keras, "saved_model": _saved_model, "onnx": _onnx, "litert": _litert, "openvino": _openvino,
}  # fmt: skip
