"""The formats of an export: the file of each, and what writing and running it needs."""

from dataclasses import dataclass

_INPUT = "images of {width} x {height} pixels only"


@dataclass(frozen=True, slots=True)
class Format:
    """One format. ``target`` is its file or folder in an export, of which ``what`` says what it is.

    ``packages`` are what it is written with, which the ``extra`` installs, and ``runtime`` what it is run with, by
    import name. One that is not ``usual`` is written only where it is asked for.
    """

    target: str
    what: str
    packages: tuple[str, ...] = ()
    extra: str = ""
    runtime: str = "keras"
    usual: bool = True


FORMATS = {
    "keras": Format(
        "model.keras",
        "the model, for Keras >= 3.9 and any of its backends; class names inside, as JSON, in `harness.json`",
    ),
    "saved_model": Format(
        "saved_model",
        "the model as a TensorFlow SavedModel, whose signature returns `class_name`, `probability` and `probabilities`",
        ("tensorflow",),
        runtime="tensorflow",
    ),
    "onnx": Format("model.onnx", f"the model as ONNX, for {_INPUT}", ("onnx", "tf2onnx"), "onnx", "onnxruntime"),
    "litert": Format(
        "model.tflite",
        "the model for LiteRT (TensorFlow Lite), one image of {width} x {height} pixels at a time; class names "
        "inside, in `harness.json`: the file is a zip, too",
        ("tensorflow", "ai_edge_litert"),
        "litert",
        "ai_edge_litert",
        usual=False,
    ),
    "litert_int8": Format(
        "model_int8.tflite",
        "the same in integers of 8 bits, for processors and accelerators that calculate with them; a probability is a "
        "multiple of 1/256",
        ("tensorflow", "ai_edge_litert"),
        "litert",
        "ai_edge_litert",
        usual=False,
    ),
    "openvino": Format(
        "openvino",
        f"the model for OpenVINO, for {_INPUT}; class names in `model.xml`, under `rt_info`",
        ("openvino",),
        "openvino",
        "openvino",
        usual=False,
    ),
    "openvino_int8": Format(
        "openvino_int8",
        "the same with convolutions and dense layers in integers of 8 bits",
        ("openvino", "nncf"),
        "openvino",
        "openvino",
        usual=False,
    ),
}
