"""Models for images of one size: the same numbers as Keras, and nearly the same in integers."""

import json
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from harness.deployment.exported_model import Signature
from harness.deployment.one_size import save_litert, save_onnx, save_openvino
from tests.deployment.test_standalone import SIGNATURE, images, trained

SHAPES = [(40, 24, 3), (32, 32, 3), (32, 32)]

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the formats need TensorFlow")


def model_of(*shape: int) -> tuple[keras.Model, Signature, np.ndarray, np.ndarray]:
    """A model of images of that shape, its signature, some images and their probabilities."""
    _, model = trained("freeze_first_k", 7, "flatten", (8,), *shape)
    height, width = shape[:2]
    raw = images(20, height, width, 3)
    signature = SIGNATURE.model_copy(update={"height": height, "width": width})
    return model, signature, raw, model.predict_on_batch(raw)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_onnx_file_gives_the_same(shape: tuple[int, ...], tmp_path: Path) -> None:
    pytest.importorskip("tf2onnx", reason="the extra onnx is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    model, signature, raw, expected = model_of(*shape)
    save_onnx(model, tmp_path / "model.onnx", signature)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (found,) = session.run(None, {"images": raw})
    assert np.abs(found - expected).max() < 1e-5
    assert json.loads(session.get_modelmeta().custom_metadata_map["class_names"]) == SIGNATURE.class_names


def interpreted(file: Path, raw: np.ndarray) -> tuple[np.ndarray, Any]:
    """The probabilities of a LiteRT file, and the interpreter."""
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="the extra litert is not installed")
    interpreter = litert.Interpreter(str(file), experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    (given,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert given["dtype"] == np.uint8 and answer["dtype"] == np.float32
    found = []
    for image in raw:
        interpreter.set_tensor(given["index"], image[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(answer["index"])[0])
    return np.array(found), interpreter


@pytest.mark.parametrize("shape", SHAPES)
def test_the_litert_file_gives_the_same(shape: tuple[int, ...], tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="the extra litert is not installed")
    model, signature, raw, expected = model_of(*shape)
    save_litert(model, tmp_path / "model.tflite", signature)
    found, _ = interpreted(tmp_path / "model.tflite", raw)
    assert np.abs(found - expected).max() < 1e-5
    with zipfile.ZipFile(tmp_path / "model.tflite") as archive:
        assert Signature.model_validate_json(archive.read("harness.json")) == signature


def test_the_litert_file_in_integers_is_close_and_holds_no_floats_between(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="the extra litert is not installed")
    model, signature, raw, expected = model_of(40, 24, 3)
    save_litert(model, tmp_path / "model.tflite", signature, images(30, 40, 24, 3))
    found, interpreter = interpreted(tmp_path / "model.tflite", raw)
    assert 0 < np.abs(found - expected).max() < 0.05
    floats = [tensor for tensor in interpreter.get_tensor_details() if tensor["dtype"] == np.float32]
    assert len(floats) == 1  # the probabilities
    (given,) = interpreter.get_input_details()
    assert given["quantization"] == (1.0, 0)  # a pixel is its own integer


@pytest.mark.parametrize("integers", [False, True])
def test_the_openvino_files_give_nearly_the_same(integers: bool, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino", reason="the extra openvino is not installed")
    model, signature, raw, expected = model_of(40, 24, 3)
    save_openvino(model, tmp_path / "openvino", signature, images(30, 40, 24, 3) if integers else None)
    read = openvino.Core().read_model(tmp_path / "openvino" / "model.xml")
    assert json.loads(read.get_rt_info("class_names").astype(str)) == SIGNATURE.class_names
    assert any(node.get_type_name() == "FakeQuantize" for node in read.get_ops()) == integers
    # By itself it calculates in bfloat16 where the processor does.
    compiled = openvino.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert np.abs(compiled(raw)[0] - expected).max() < (0.1 if integers else 1e-5)
