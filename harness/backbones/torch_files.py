"""Files that ``torch.save`` wrote before PyTorch 1.6, read without torch.

Such a file is five pickles and then the raw numbers. A pickle can name any function and have it called; here it may
name four things, each replaced by one that runs no code of the file's choosing. Everything else is refused.
"""

import collections
import io
import math
import pickle
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.backbones.weight_tables import Table
from harness.core.errors import WeightsError

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_STORAGES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}

# What an unpickler raises on bytes that are no pickle, and on a pickle of something else.
_NO_PICKLE = (
    pickle.UnpicklingError, EOFError, IndexError, KeyError, AttributeError, TypeError, ValueError, OverflowError,
    MemoryError,
)  # fmt: skip


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype[Any]
    size: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]  # cannot be called
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no tensor")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _device, size, view = pid
        if kind != "storage" or not isinstance(dtype, np.dtype) or view is not None:
            raise pickle.UnpicklingError(f"it refers to {pid!r}, which is no whole storage")
        return _Storage(str(key), dtype, int(size))


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    whole = all(isinstance(number, int) for number in (offset, *shape, *strides)) and len(shape) == len(strides)
    if not whole or not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("it has a tensor without storage, shape and strides")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def read_torch(content: bytes, name: str) -> dict[str, NDArray[Any]]:
    """Return the tensors of a state dictionary by name, in the file's order.

    Raises WeightsError, which calls the file ``name``, if it is cut short, names anything but tensors, or if a tensor
    reaches outside its storage.
    """
    file = io.BytesIO(content)
    try:
        parts = [_Unpickler(file).load() for _ in range(5)]
    except _NO_PICKLE as error:
        raise _refused(name, str(error) or type(error).__name__) from None
    magic, protocol, system, tensors, keys = parts
    if (magic, protocol) != (_MAGIC, _PROTOCOL) or not isinstance(system, dict) or not system.get("little_endian"):
        raise _refused(name, "it has another magic number, protocol or byte order")
    if not isinstance(tensors, dict) or not all(isinstance(tensor, _Tensor) for tensor in tensors.values()):
        raise _refused(name, "it holds something else than tensors by name")
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
        raise _refused(name, "its storages are not those of its tensors")
    numbers = {key: _numbers(name, file, storages[key]) for key in map(str, keys)}
    return {key: _strided(name, key, tensor, numbers[tensor.storage.key]) for key, tensor in tensors.items()}


def _refused(name: str, reason: str) -> WeightsError:
    return WeightsError(f"{name} is not a whole file of torch.save before PyTorch 1.6: {reason}")


def _numbers(name: str, file: io.BytesIO, storage: _Storage) -> NDArray[Any]:
    stored = int.from_bytes(file.read(8), "little")
    data = file.read(max(0, storage.size) * storage.dtype.itemsize)
    if stored != storage.size or len(data) != stored * storage.dtype.itemsize:
        raise _refused(name, f"storage {storage.key} is cut short or of another size")
    return np.frombuffer(data, storage.dtype)


def _strided(name: str, key: str, tensor: _Tensor, numbers: NDArray[Any]) -> NDArray[Any]:
    """Return a tensor's values. Strides, in numbers, may be in any order: converted files keep TensorFlow's layout."""
    _, offset, shape, strides = tensor
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    inside = min(offset, *strides, 0) == 0 and min(shape, default=1) > 0 and last < len(numbers)
    if not inside or math.prod(shape) > len(numbers):
        raise _refused(name, f"tensor {key} reaches outside its storage")
    steps = [stride * numbers.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(numbers[offset:], shape, steps, writeable=False).copy()


def in_keras_layout(tensors: dict[str, NDArray[Any]], table: Table) -> dict[str, list[NDArray[Any]]]:
    """Return the float tensors by Keras's layers, with their axes in Keras's order.

    They are matched in the order in which both frameworks list them, which is that of the network: a convolution's
    kernel and bias; scale, shift, mean and variance of a normalization. What is left at the end is the top's.
    """
    left = (values for values in tensors.values() if values.dtype.kind == "f")  # integers count training batches
    return {
        layer: [_transposed(values, expected.shape) for expected, values in zip(parts, left, strict=False)]
        for layer, parts in table.items()
    }


def _transposed(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    if values.ndim == 2:
        return values.T
    if values.ndim != 4:
        return values
    values = values.transpose(2, 3, 1, 0)  # (out, in, height, width) in torch
    height, width, inputs, outputs = values.shape
    depthwise = inputs == 1 and shape[:2] == (height, width) and math.prod(shape[2:]) == outputs
    return values.reshape(shape) if depthwise else values
