"""The tensors of convolutions in an ONNX model, read without the package onnx."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.backbones.weight_tables import Table


def read_onnx(model: bytes, table: Table) -> dict[str, list[NDArray[np.float32]]]:
    """Return kernel and bias of the layers in ``table`` that a ``model`` made by tf2onnx has."""
    found: dict[str, list[NDArray[np.float32]]] = {}
    for name, tensor in _initializers(model):
        # "functional_1/block1_conv1_1/convolution/ReadVariableOp:0" before "functional_1/block1_conv1_1/Squeeze:0"
        layers = (re.sub(r"_\d+$", "", part) for part in name.split("/"))
        if layer := next((layer for layer in layers if layer in table), None):
            is_kernel = tensor.ndim == 4
            found.setdefault(layer, []).append(tensor.transpose(2, 3, 1, 0) if is_kernel else tensor)
    return found


def _initializers(model: bytes) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield names and values of the float tensors in an ONNX model.

    GraphProto is field 7 of ModelProto, TensorProto field 5 of GraphProto, with dims (1), data_type (2), name (8) and
    raw_data (9): see onnx/onnx.proto in the ONNX project. Two dozen lines instead of a dependency of 27 MB, for one
    file whose every byte is known by its digest.
    """
    for graph in _values(memoryview(model), 7):
        for tensor in _values(graph, 5):
            if [*_values(tensor, 2)] == [1]:
                (name,), (data,) = _values(tensor, 8), _values(tensor, 9)
                yield str(name, "utf-8"), np.frombuffer(data, "<f4").reshape([*_values(tensor, 1)])


def _values(message: memoryview, field: int) -> Iterator[Any]:
    """Yield the values of one field of a protobuf message: integers for varints, else the bytes."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value

    while at < len(message):
        number, wire_type = divmod(varint(), 8)
        value: Any
        if wire_type == 0:
            value = varint()
        else:
            size = varint() if wire_type == 2 else {1: 8, 5: 4}[wire_type]
            value, at = message[at : at + size], at + size
        if number == field:
            yield value
