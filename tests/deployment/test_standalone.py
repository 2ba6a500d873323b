"""The plain Keras model of a trained network: the same numbers, nothing of the harness in it."""

import functools
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import keras
import numpy as np
import pytest
from keras import ops
from PIL import Image

from harness.backbones.backbone import Backbone
from harness.backbones.devices import as_numpy
from harness.core.backbone import BackboneSpec
from harness.core.strategy import Kind, Pooling, Strategy
from harness.data.decoding import decode
from harness.deployment.exported_model import Exported, Signature
from harness.deployment.standalone import save_keras, save_saved_model, standalone
from harness.training.baseline_networks import cnn, mlp
from harness.training.networks import Network, Networks
from tests.helpers.small_network import small_spec
from tests.helpers.tiny import OTHERS, VGG16, tiny_backbone, tiny_weights, untrained

SIGNATURE = Signature(class_names=["a", "b", "ü, ”c”"], height=40, width=24, channels=3)


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)


shared_backbone = functools.cache(tiny_backbone)
"""Of all networks here that need no other: its stages are compiled once."""


def trained(
    kind: Kind,
    k: int,
    pooling: Pooling,
    head: tuple[int, ...],
    *shape: int,
    temperature: float = 1.0,
    backbone: Backbone | None = None,
) -> tuple[Network, keras.Model]:
    """A network on images of that shape with the state that training leaves, and the model made of it. The next one on
    the same backbone changes the network."""
    backbone = backbone or shared_backbone()
    network = Networks(backbone, 3).for_strategy(Strategy(kind, k, pooling, head, 0.3, "adam", 1e-3, image_size=32), 0)
    network.reset(seed=5, dropout=0.3, pretrained=kind != "from_scratch")
    network.calibrate(images(16, *shape))
    draws = np.random.default_rng(1)
    for variable in network.trainable_variables():
        variable.assign(as_numpy(variable) + draws.normal(0, 0.02, variable.shape))
    return network, standalone(network, backbone, shape, temperature)


@pytest.fixture
def _channels_first() -> Iterator[None]:
    """The default of a user whose keras.json says so."""
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format("channels_last")


@pytest.mark.usefixtures("_channels_first")
@pytest.mark.large
def test_the_users_default_of_channels_first_changes_nothing() -> None:
    backbone, raw = Backbone.of(VGG16, tiny_weights()), images(8, 24, 24)
    layers, tiny = [*backbone.model.layers, *mlp(32, 3).head, *cnn(32, 3).head], tiny_backbone()
    for pooling in get_args(Pooling):
        network, model = trained("fine_tune_all", 0, pooling, (8,), 24, 24, backbone=tiny)
        layers += [*network.head, *model.layers]
        found = as_numpy(model(np.repeat(raw[..., None], 3, axis=-1)))
        assert np.abs(found - as_numpy(ops.softmax(network.logits(raw)))).max() < 1e-5
    assert {layer.data_format for layer in layers if hasattr(layer, "data_format")} == {"channels_last"}


@pytest.mark.parametrize(
    ("kind", "k", "pooling", "head", "shape"),
    [
        ("feature_extraction", 13, "average", (), (12, 12)),
        ("freeze_first_k", 7, "flatten", (16, 8), (40, 24, 3)),
        ("fine_tune_all", 0, "max", (8,), (32, 32, 3)),
        ("from_scratch", 0, "average", (8, 8, 8), (50, 60)),
    ],
)
def test_it_gives_the_probabilities_of_the_network(
    kind: Kind, k: int, pooling: Pooling, head: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    network, model = trained(kind, k, pooling, head, *shape)
    raw = images(200, *shape)
    rgb = raw if raw.ndim == 4 else np.repeat(raw[..., None], 3, axis=-1)
    expected = as_numpy(ops.softmax(network.logits(raw)))
    found = as_numpy(model(rgb))  # to compile it for one batch takes longer
    assert expected.std() > 1e-3
    assert np.abs(found - expected).max() < 1e-5


def test_a_temperature_changes_probabilities_and_no_prediction() -> None:
    network, model = trained("feature_extraction", 13, "average", (8,), 12, 12, temperature=2.0)
    raw = images(50, 12, 12)
    logits, found = network.logits(raw), as_numpy(model(np.repeat(raw[..., None], 3, axis=-1)))
    assert np.abs(found - as_numpy(ops.softmax(logits / 2))).max() < 1e-5
    assert (found.argmax(axis=1) == logits.argmax(axis=1)).all()


def of_backbone(spec: BackboneSpec, raw: np.ndarray) -> tuple[Network, keras.Model]:
    """A network on a backbone without its weights, calibrated on ``raw``, and the model made of it."""
    backbone = untrained(spec)
    strategy = Strategy("fine_tune_all", 0, "average", (8,), 0.3, "adam", 1e-3, image_size=64, backbone=spec.name)
    network = Networks(backbone, 3).for_strategy(strategy, 0)
    network.reset(seed=5, dropout=0.3, pretrained=True)
    network.calibrate(raw)
    return network, standalone(network, backbone, raw.shape[1:])


@pytest.mark.parametrize(
    "spec",
    [small_spec(), *OTHERS],
    ids=lambda spec: spec.name,
)
def test_a_backbone_with_other_layers_is_exported_and_loaded(spec: BackboneSpec, tmp_path: Path) -> None:
    raw = images(8, 40, 24, 3)
    network, model = of_backbone(spec, raw)
    expected = as_numpy(ops.softmax(network.logits(raw)))
    assert expected.std() > 1e-3
    assert np.abs(as_numpy(model(raw)) - expected).max() < 1e-4  # whatever calls it: in inference mode
    save_keras(model, tmp_path / "model.keras", SIGNATURE)
    assert np.abs(Exported.load(tmp_path / "model.keras").probabilities(raw) - expected).max() < 1e-4
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        found = {name for given in arguments(json.loads(archive.read("config.json"))) for name in given}
    assert not found & {"renorm", "renorm_momentum"}  # which Keras 3.9 refuses
    # In inference mode, by the statistics of training. The large ones are made by the same code and take minutes.
    if keras.backend.backend() == "tensorflow" and spec.name in ("small", "efficientnet_lite0"):
        import tensorflow as tf

        save_saved_model(model, tmp_path / "saved_model", SIGNATURE)
        served = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["serving_default"]
        assert np.abs(served(images=tf.constant(raw))["probabilities"].numpy() - expected).max() < 1e-4


def test_a_network_of_bfloat16_is_exported_in_float32(tmp_path: Path) -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network, model = trained("freeze_first_k", 7, "average", (8,), 32, 32, 3, backbone=tiny_backbone())
        raw = images(50, 32, 32, 3)
        rounded = as_numpy(ops.softmax(network.logits(raw)))
    finally:
        keras.config.set_dtype_policy("float32")
    first, *others = model.layers[1:]
    assert first.name == "fit" and {layer.compute_dtype for layer in others} == {"float32"}
    assert np.abs(as_numpy(model(raw)) - rounded).max() < 0.05


def test_training_again_does_not_change_a_model_made_before() -> None:
    network, model = trained("fine_tune_all", 0, "average", (8,), 32, 32, 3)
    raw = images(8, 32, 32, 3)
    before = as_numpy(model(raw))
    network.reset(seed=9, dropout=0.0)
    assert np.array_equal(as_numpy(model(raw)), before)


def test_the_file_holds_keras_layers_and_the_facts(tmp_path: Path) -> None:
    _, model = trained("freeze_first_k", 7, "flatten", (8,), 40, 24, 3)
    save_keras(model, tmp_path / "model.keras", SIGNATURE)
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        modules = {layer["module"] for layer in json.loads(archive.read("config.json"))["config"]["layers"]}
    assert modules == {"keras.layers"}
    exported = Exported.load(tmp_path / "model.keras")
    assert exported.signature == SIGNATURE
    raw = images(20, 90, 70, 3)  # any size
    assert np.array_equal(exported.probabilities(raw), model.predict_on_batch(raw))


SIZES = [(60, 40), (40, 61), (40, 40), (20, 20), (15, 10), (301, 200)]
"""Width and height: 3:2, 2:3, square, larger and smaller than training images, and what divides into no halves."""


def photo(size: tuple[int, int], mode: str, seed: int = 0) -> Image.Image:
    """Blots of light in the middle and at both ends."""
    blots = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(blots).resize(size, Image.Resampling.BICUBIC).convert(mode)


def as_trained(image: Image.Image, shape: tuple[int, ...]) -> np.ndarray:
    """What the file of an image becomes for training on images of that shape."""
    file = io.BytesIO()
    image.save(file, "PNG")
    file.seek(0)
    height, width = shape[:2]
    return decode(file, (width, height))[0]


@pytest.mark.parametrize("shape", [pytest.param((32, 32), marks=pytest.mark.large), (40, 24, 3)])
def test_an_image_of_any_size_is_seen_as_training_saw_it(shape: tuple[int, ...], tmp_path: Path) -> None:
    """By the .keras file and by the SavedModel, which also names the classes."""
    network, model = trained("fine_tune_all", 0, "average", (8,), *shape)
    save_keras(model, tmp_path / "model.keras", SIGNATURE)
    exported = Exported.load(tmp_path / "model.keras")
    served = None
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        save_saved_model(model, tmp_path / "saved_model", SIGNATURE)
        served = tf.saved_model.load(str(tmp_path / "saved_model"))
    squeezed = 0.0
    for size in SIZES:
        photos = [photo(size, "RGB" if shape[2:] else "L", seed) for seed in range(8)]
        seen = np.stack([as_trained(image, shape) for image in photos])
        assert seen.shape == (8, *shape)
        expected = as_numpy(ops.softmax(network.logits(seen)))
        raw = np.stack([np.asarray(image.convert("RGB")) for image in photos])
        assert np.abs(exported.probabilities(raw) - expected).max() < 1e-3, size
        if served is not None:
            answer = {
                name: values.numpy()
                for name, values in served.signatures["serving_default"](images=tf.constant(raw)).items()
            }
            assert np.abs(answer["probabilities"] - expected).max() < 1e-3, size
            best = answer["probabilities"].argmax(axis=1)
            assert np.array_equal(answer["probability"], answer["probabilities"].max(axis=1))
            assert [name.decode() for name in answer["class_name"]] == [SIGNATURE.class_names[i] for i in best]
        whole = np.stack([np.asarray(image.resize(shape[1::-1])) for image in photos])
        squeezed = max(squeezed, np.abs(as_numpy(ops.softmax(network.logits(whole))) - expected).max())
    assert squeezed > 0.05  # what is asserted above could fail


def test_a_model_of_grey_images_turns_colours_to_grey() -> None:
    network, model = trained("fine_tune_all", 0, "average", (8,), 32, 32)
    colours = np.stack([np.asarray(photo((48, 32), "RGB", seed)) for seed in range(8)])
    grey = np.stack([as_trained(photo((48, 32), "RGB", seed).convert("L"), (32, 32)) for seed in range(8)])
    expected = as_numpy(ops.softmax(network.logits(grey)))
    assert np.abs(as_numpy(model(colours)) - expected).max() < 0.01  # Pillow rounds the grey values


def arguments(config: Any) -> Iterator[dict[str, Any]]:
    """What each class that a Keras config names is made with."""
    for item in config.values() if isinstance(config, dict) else config if isinstance(config, list) else []:
        yield from arguments(item)
    if isinstance(config, dict) and isinstance(config.get("config"), dict):
        yield config["config"]


@pytest.mark.parametrize("pooling", get_args(Pooling))
def test_the_file_names_no_argument_that_an_earlier_keras_may_not_know(pooling: Pooling, tmp_path: Path) -> None:
    _, model = trained("freeze_first_k", 7, pooling, (8,), 40, 24, 3)
    save_keras(model, tmp_path / "model.keras", SIGNATURE)
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        config = json.loads(archive.read("config.json"))
    found = list(arguments(config))
    assert len(found) > len(model.layers)
    assert [name for given in found for name, value in given.items() if value is None] == []
    # What is left out is as it was once the file is loaded.
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert json.dumps(loaded.get_config()) == json.dumps(model.get_config())


_LOAD = """
import sys

sys.path.insert(0, sys.argv[1])
import keras
import numpy as np

images = np.load(sys.argv[2], allow_pickle=False)
for file in sys.argv[3:]:
    np.save(file + ".npy", keras.saving.load_model(file, safe_mode=True).predict(images, verbose=0))
print(keras.__version__)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, np.ndarray]:
    """Files of models, each with the probabilities that it gives 20 images, which are in images.npy next to them."""
    folder: Path = tmp_path_factory.mktemp("saved")
    raw = images(20, 50, 30, 3)
    np.save(folder / "images.npy", raw)
    expected = {}

    def save(model: keras.Model, name: str) -> None:
        save_keras(model, folder / f"{name}.keras", SIGNATURE)
        expected[folder / f"{name}.keras"] = model.predict_on_batch(raw)

    for pooling in get_args(Pooling):
        save(trained("freeze_first_k", 7, pooling, (8,), 40, 24, 3)[1], pooling)
    save(of_backbone(BackboneSpec.load("efficientnet_lite0"), raw)[1], "efficientnet_lite0")
    return expected


@pytest.mark.large
@pytest.mark.parametrize("version", ["3.9.0", "3.*"])
def test_the_file_loads_in_every_keras_that_the_card_names(
    version: str, saved: dict[Path, np.ndarray], tmp_path: Path
) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    install = [*pip, "install", "--no-deps", "--target", tmp_path / "keras", f"keras=={version}"]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"Keras {version} could not be installed: {done.stderr.strip().splitlines()[-1]}")
    folder = next(iter(saved)).parent
    done = subprocess.run(
        [sys.executable, "-I", "-c", _LOAD, tmp_path / "keras", folder / "images.npy", *saved],
        env=os.environ | {"KERAS_BACKEND": keras.backend.backend()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().startswith(version.rstrip("*"))
    for file, probabilities in saved.items():
        assert np.abs(np.load(f"{file}.npy", allow_pickle=False) - probabilities).max() < 1e-5
