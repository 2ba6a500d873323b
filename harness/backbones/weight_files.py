"""A backbone's weights in HDF5, in the two layouts that Keras has had. Each tensor is checked as it is read."""

import io
import tempfile
from pathlib import Path
from typing import Any

import h5py

from harness.backbones.weight_tables import Expected, Table, Tensors, checked
from harness.core.backbone import BackboneSpec
from harness.core.errors import WeightsError


def read_hdf5(path: Path, spec: BackboneSpec, table: Table) -> Tensors:
    """Return the tensors of a Keras 3 ``.weights.h5``, or of a legacy ``.h5`` of kernels and biases.

    Raises WeightsError.
    """
    if not path.is_file():
        raise WeightsError(f"there is no file {path}")
    try:
        with h5py.File(path, "r") as file:
            found = {layer: _datasets(file, layer, parts) for layer, parts in table.items()}
            return checked(spec, table, path, found)
    except (OSError, RuntimeError, KeyError, ValueError) as error:  # what h5py raises on a damaged file
        raise WeightsError(f"{path} is not a whole HDF5 file ({error})") from None


def is_legacy(path: Path) -> bool:
    """Return whether a file is HDF5 without the group in which Keras 3 keeps a network's layers."""
    try:
        with h5py.File(path.expanduser(), "r") as file:
            return "layers" not in file
    except (OSError, RuntimeError):
        return False


def write_hdf5(path: Path, tensors: Tensors, table: Table) -> None:
    """Write a Keras 3 ``.weights.h5`` atomically. Raises OSError."""
    content = io.BytesIO()  # on a full disk HDF5 fails with errors of many types
    with h5py.File(content, "w") as file:
        for layer, parts in tensors.items():
            for expected, values in zip(table[layer], parts, strict=True):
                file[expected.path] = values
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        written = Path(folder) / path.name
        written.write_bytes(content.getbuffer())
        written.replace(path)


def _datasets(file: h5py.File, layer: str, parts: tuple[Expected, ...]) -> list[h5py.Dataset]:
    """Return a layer's tensors. Keras 3 names layers by class and order, legacy files by name.

    In a legacy file tensors are told apart by their axes, not by the attributes that list their names: HDF5 never
    returns on some damaged ones.
    """
    group = file.get(layer)
    if not isinstance(group, h5py.Group) or len({len(part.shape) for part in parts}) < len(parts):
        return [item for part in parts if isinstance(item := file.get(part.path), h5py.Dataset)]
    found: list[Any] = []
    group.visititems(lambda _, item: found.append(item))
    datasets = [item for item in found if isinstance(item, h5py.Dataset)]
    return sorted(datasets, key=lambda dataset: dataset.ndim, reverse=True)
