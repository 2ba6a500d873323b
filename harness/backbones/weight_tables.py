"""What the tensors of a backbone must be, layer by layer, and the check of what was found against it."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.backbone import BackboneSpec
from harness.core.errors import WeightsError

Tensors = dict[str, tuple[NDArray[np.float32], ...]]
"""Layer -> its tensors in the order of Keras's ``layer.weights``: kernel (height, width, in, out) and bias (out,) of a
convolution, gamma, beta, moving mean and variance (all (channels,)) of a batch normalization."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a tensor must be.

    Attributes:
        name: As Keras calls it, such as ``kernel``.
        path: Where Keras 3 writes it in a ``.weights.h5``: layers by class and order.
        sha256: Of its float32 bytes, little-endian, in C order; None if it is not known.
    """

    name: str
    shape: tuple[int, ...]
    path: str
    sha256: str | None = None


Table = dict[str, tuple[Expected, ...]]
"""Layers that have tensors, first to last, and what these must be, in Keras's order."""


def table_of(spec: BackboneSpec) -> Table:
    """Return what each tensor must be: from the digests that are shipped, else from the network, which is built."""
    return shipped_table(spec.name) or network_table(spec)


def shipped_table(name: str) -> Table:
    """Read ``<name>_digests.json``, what the layers of a chain of convolutions must be; nothing if there is no file."""
    file = resources.files("harness.backbones") / f"{name}_digests.json"
    if not file.is_file():
        return {}
    table: Table = {}
    for index, (layer, known) in enumerate(json.loads(file.read_text(encoding="utf-8")).items()):
        shape, path = tuple(known["kernel_shape"]), _numbered("layers/conv2d", index)
        table[layer] = (
            Expected("kernel", shape, f"{path}/vars/0", known["kernel_sha256"]),
            Expected("bias", shape[3:], f"{path}/vars/1", known["bias_sha256"]),
        )
    return table


def network_table(spec: BackboneSpec) -> Table:
    """Build the network with random weights and return what its tensors are.

    Raises SpecError as `harness.backbones.describe.build`.
    """
    from harness.backbones.describe import build  # not above: it imports Keras

    table = {layer.name: tuple(_expected(layer, path)) for layer, path in _located(build(spec).layers, "layers")}
    return {layer: parts for layer, parts in table.items() if parts}


def _expected(layer: Any, path: str) -> Iterator[Expected]:
    """Yield the tensors of a layer, or of the layers in it."""
    if hasattr(layer, "layers"):
        for inner, inner_path in _located(layer.layers, f"{path}/layers"):
            yield from _expected(inner, inner_path)
        return
    for index, variable in enumerate(layer.weights):
        yield Expected(variable.name, tuple(variable.shape), f"{path}/vars/{index}")


def _located(layers: Iterable[Any], folder: str) -> Iterator[tuple[Any, str]]:
    """Yield layers with their paths in a ``.weights.h5``, which are made of class and order."""
    from keras.src.utils.naming import to_snake_case

    seen: Counter[str] = Counter()
    for layer in layers:
        kind = to_snake_case(type(layer).__name__)
        yield layer, _numbered(f"{folder}/{kind}", seen[kind])
        seen[kind] += 1


def _numbered(path: str, index: int) -> str:
    return f"{path}_{index}" if index else path


def digest(tensors: Tensors) -> str:
    """Return one sha256 over those of all tensors, as hexadecimal text, layer by layer."""
    return hashlib.sha256("".join(_sha256(part) for parts in tensors.values() for part in parts).encode()).hexdigest()


def _sha256(values: NDArray[np.float32]) -> str:
    return hashlib.sha256(values.data).hexdigest()


def checked(spec: BackboneSpec, table: Table, where: object, found: Mapping[str, Sequence[Any]]) -> Tensors:
    """Return the tensors found as arrays if they are what ``table`` and the backbone's digest say.

    Args:
        spec: The backbone.
        table: What its tensors must be.
        where: The file they are from, for messages.
        found: Layer -> arrays or HDF5 data sets. A data set is read only if its shape is right.

    Raises:
        WeightsError: If a tensor is missing, of another shape or type, not finite, or not the one that is known.
    """
    tensors: Tensors = {}
    for layer, parts in table.items():
        if len(found.get(layer, ())) != len(parts):
            *names, last = (part.name for part in parts)
            listed = f"{', '.join(names)} and {last}" if names else last
            raise WeightsError(f"{where} has no {listed} of {layer}, with shape {parts[0].shape}")
        tensors[layer] = tuple(
            _tensor(spec, f"{where}: {layer}'s {part.name}", values, part)
            for part, values in zip(parts, found[layer], strict=True)
        )
    known = spec.weights.digest
    if known is not None and (all_of_them := digest(tensors)) != known:
        raise WeightsError(
            f"{where} is not {spec.label}'s ImageNet weights (sha256 {all_of_them[:12]}…, expected {known[:12]}…)"
        )
    return tensors


def _tensor(spec: BackboneSpec, what: str, found: Any, expected: Expected) -> NDArray[np.float32]:
    if tuple(found.shape) != expected.shape or found.dtype != np.float32:
        given, needed = f"{found.dtype} {tuple(found.shape)}", f"float32 {expected.shape}"
        raise WeightsError(f"{what} is {given}, but {spec.label} needs {needed}")
    values = np.ascontiguousarray(found[...], dtype="<f4")
    bad = int(np.count_nonzero(~np.isfinite(values)))
    nature = f"holds {bad} values that are not finite" if bad else "is not ImageNet's"
    if expected.sha256 is not None and (sha256 := _sha256(values)) != expected.sha256:
        raise WeightsError(f"{what} {nature} (sha256 {sha256[:12]}…, expected {expected.sha256[:12]}…)")
    if bad:
        raise WeightsError(f"{what} {nature}")
    return values
