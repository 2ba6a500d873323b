"""Writing a model for images of one size: as ONNX, for LiteRT, which phones run, and for OpenVINO.

The last two can be written in integers of 8 bits. What ranges these stand for is found on images of training, called
representative images here.
"""

import io
import json
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from harness.backbones.preprocessing import bilinear
from harness.deployment.exported_model import MEMBER, Signature
from harness.deployment.standalone import IMAGES

_PRODUCTS = {1: "bhwc,hr->brwc", 2: "bhwc,wr->bhrc"}


def save_onnx(model: keras.Model, file: Path, signature: Signature) -> None:
    """Write ``model`` as ONNX, for images of the size in ``signature`` alone, which is kept in its metadata. Keras's
    TensorFlow backend and tf2onnx only."""
    import onnx

    _of_one_size(model, signature).export(str(file), format="onnx", verbose=False)
    written = onnx.load(str(file))
    onnx.helper.set_model_props(written, _as_texts(signature))
    onnx.save(written, str(file))


def save_litert(
    model: keras.Model, file: Path, signature: Signature, representative: NDArray[np.uint8] | None = None
) -> None:
    """Write ``model`` for LiteRT, for one image of the size in ``signature`` at a time, with ``signature`` inside, as
    in a ``.keras`` file. Keras's TensorFlow backend only.

    With ``representative`` images (n, height, width, 3) all arithmetic is in integers of 8 bits; images still go in as
    uint8 and probabilities come out as float32.
    """
    import tensorflow as tf

    fixed = _of_one_size(model, signature)
    options: dict[str, Any] = {"target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}}
    if representative is not None:
        # Only what goes in as float32 is quantized from its first layer on.
        fixed = _of_one_size(model, signature, "float32")
        options = {
            "target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]},
            "optimizations": [tf.lite.Optimize.DEFAULT],
            "representative_dataset": lambda: _one_by_one(representative),
            "inference_input_type": tf.uint8,
        }
    (images,) = fixed.inputs
    one = tf.TensorSpec((1, *images.shape[1:]), images.dtype, name=IMAGES)
    fixed.export(str(file), format="litert", input_signature=[one], verbose=False, **options)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(MEMBER, signature.model_dump_json(indent=2))


def _one_by_one(images: NDArray[np.uint8]) -> Iterator[list[NDArray[np.float32]]]:
    """Yield the images, and one of all values from 0 to 255, so that a pixel is its own integer."""
    ramp = np.resize(np.arange(256), images.shape[1:])
    for image in (ramp, *images):
        yield [image[None].astype(np.float32)]


def save_openvino(
    model: keras.Model, folder: Path, signature: Signature, representative: NDArray[np.uint8] | None = None
) -> None:
    """Write ``model`` for OpenVINO as ``model.xml`` and ``model.bin``, for images of the size in ``signature`` alone,
    which is kept in the former. Keras's TensorFlow backend only.

    With ``representative`` images (n, height, width, 3) convolutions and dense layers are in integers of 8 bits.
    """
    import openvino

    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary, "model.xml")
        _of_one_size(model, signature).export(str(file), format="openvino", verbose=False)
        written = openvino.Core().read_model(file)
        if representative is not None:
            import nncf

            batches = nncf.Dataset([image[None] for image in representative])
            with redirect_stdout(io.StringIO()):  # its progress
                written = nncf.quantize(written, batches, subset_size=len(representative))
        for name, text in _as_texts(signature).items():
            written.set_rt_info(text, name)
        folder.mkdir()
        openvino.save_model(written, folder / "model.xml", compress_to_fp16=False)


def _as_texts(signature: Signature) -> dict[str, str]:
    return {name: json.dumps(value) for name, value in signature.model_dump().items()}


def _of_one_size(model: keras.Model, signature: Signature, dtype: str = "uint8") -> keras.Model:
    """Return ``model`` with its resizing as two matrix products: converters know no resizing that smooths as it
    shrinks."""

    def call(layer: keras.layers.Layer, *given: Any, **options: Any) -> Any:
        return _as_products(layer, *given) if isinstance(layer, keras.layers.Resizing) else layer(*given, **options)

    shape = (signature.height, signature.width, 3)
    images = keras.Input(shape, dtype=dtype, name=IMAGES)
    fixed = keras.models.clone_model(model, images, clone_function=lambda layer: layer, call_function=call)
    fixed(np.zeros((1, *shape), dtype), training=False)  # Keras exports no model that was never called
    return fixed


def _as_products(layer: keras.layers.Resizing, values: Any) -> Any:
    _, height, width, _ = values.shape
    for axis, before, after in ((1, height, layer.height), (2, width, layer.width)):
        if before == after:  # also where images of another size would be cut
            continue
        shape = [*values.shape[1:]]
        shape[axis - 1] = after
        product = keras.layers.EinsumDense(_PRODUCTS[axis], shape, dtype="float32")
        values = product(values)
        product.set_weights([bilinear(before, after).T])
    return values
