"""Files of VGG16's weights: two HDF5 layouts and ONNX. Each tensor is checked against its sha256 as it is read."""

import hashlib
import io
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from harness.core.errors import WeightsError

Tensors = dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Layer name ("block1_conv1") -> kernel (height, width, in, out), bias (out,)."""


@dataclass(frozen=True)
class Expected:
    """What a layer's tensors must be. The sha256 are of the float32 bytes, little-endian, in C order."""

    kernel_shape: tuple[int, int, int, int]
    kernel_sha256: str
    bias_sha256: str


def shipped_digests() -> dict[str, Expected]:
    """Read ``vgg16_digests.json``: what each layer must be, by name, first to last."""
    layers = json.loads((resources.files("harness.backbones") / "vgg16_digests.json").read_text(encoding="utf-8"))
    return {
        name: Expected(tuple(layer["kernel_shape"]), layer["kernel_sha256"], layer["bias_sha256"])
        for name, layer in layers.items()
    }


DIGESTS = shipped_digests()


def digest() -> str:
    """Return one sha256 over those of all tensors."""
    parts = [sha256 for layer in DIGESTS.values() for sha256 in (layer.kernel_sha256, layer.bias_sha256)]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def read_hdf5(path: Path) -> Tensors:
    """Return the tensors of a Keras 3 ``.weights.h5`` or of a legacy ``.h5``. Raises WeightsError."""
    if not path.is_file():
        raise WeightsError(f"there is no file {path}")
    try:
        with h5py.File(path, "r") as file:
            return _verified(path, {layer: _datasets(file, i, layer) for i, layer in enumerate(DIGESTS)})
    except (OSError, RuntimeError, KeyError, ValueError) as error:  # what h5py raises on a damaged file
        raise WeightsError(f"{path} is not a whole HDF5 file ({error})") from None


def write_hdf5(path: Path, tensors: Tensors) -> None:
    """Write a Keras 3 ``.weights.h5`` atomically. Raises OSError."""
    content = io.BytesIO()  # on a full disk HDF5 fails with errors of many types
    with h5py.File(content, "w") as file:
        for index, pair in enumerate(tensors.values()):
            for i, tensor in enumerate(pair):
                file[f"{_keras_path(index)}/{i}"] = tensor
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        written = Path(folder) / path.name
        written.write_bytes(content.getbuffer())
        written.replace(path)


def read_onnx(model: bytes, name: str) -> Tensors:
    """Return the tensors of VGG16's layers in an ONNX ``model`` made by tf2onnx. Raises WeightsError, which calls the
    model ``name``."""
    found: dict[str, list[NDArray[np.float32]]] = {}
    for tensor_name, tensor in _initializers(model):
        # "functional_1/block1_conv1_1/convolution/ReadVariableOp:0" before "functional_1/block1_conv1_1/Squeeze:0"
        if layer := re.search(r"block\d_conv\d", tensor_name):
            is_kernel = tensor.ndim == 4
            found.setdefault(layer[0], []).append(tensor.transpose(2, 3, 1, 0) if is_kernel else tensor)
    return _verified(name, found)


def _verified(where: object, found: Mapping[str, Sequence[Any]]) -> Tensors:
    """Return kernel and bias of each layer as arrays if they are ImageNet's.

    ``found`` holds arrays or HDF5 data sets; a data set is read only if its shape is right. Raises WeightsError.
    """
    tensors: Tensors = {}
    for layer, expected in DIGESTS.items():
        if len(found.get(layer, ())) != 2:
            raise WeightsError(f"{where} has no kernel and bias of {layer}, with shape {expected.kernel_shape}")
        kernel, bias = found[layer]
        tensors[layer] = (
            _verified_tensor(f"{where}: {layer}'s kernel", kernel, expected.kernel_shape, expected.kernel_sha256),
            _verified_tensor(f"{where}: {layer}'s bias", bias, expected.kernel_shape[3:], expected.bias_sha256),
        )
    return tensors


def _verified_tensor(what: str, tensor: Any, shape: tuple[int, ...], sha256: str) -> NDArray[np.float32]:
    if tuple(tensor.shape) != shape or tensor.dtype != np.float32:
        raise WeightsError(f"{what} is {tensor.dtype} {tuple(tensor.shape)}, but VGG16 needs float32 {shape}")
    values = np.ascontiguousarray(tensor[...], dtype="<f4")
    found = hashlib.sha256(values.data).hexdigest()
    if found != sha256:
        bad = int(np.count_nonzero(~np.isfinite(values)))
        nature = f"holds {bad} values that are not finite" if bad else "is not ImageNet's"
        raise WeightsError(f"{what} {nature} (sha256 {found[:12]}…, expected {sha256[:12]}…)")
    return values


def _datasets(file: h5py.File, index: int, layer: str) -> list[h5py.Dataset]:
    """Return kernel and bias of a layer. Keras 3 names layers by class and order, legacy files by name."""
    group = file.get(layer, file.get(_keras_path(index)))
    found: list[Any] = []
    if isinstance(group, h5py.Group):
        # Not by the attributes that list the tensors' names: HDF5 never returns on some damaged ones.
        group.visititems(lambda _, item: found.append(item))
    datasets = [item for item in found if isinstance(item, h5py.Dataset)]
    return sorted(datasets, key=lambda dataset: dataset.ndim, reverse=True)


def _keras_path(index: int) -> str:
    return f"layers/conv2d_{index}/vars" if index else "layers/conv2d/vars"


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
