"""The shipped backbones themselves, built by Keras with random weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.backbones.described import architecture_of
from harness.core.backbone import BackboneSpec
from harness.core.toml_files import shipped
from harness.training.flops import training_flops

keras = pytest.importorskip("keras")

from harness.backbones.describe import build, describe, split  # noqa: E402

LARGE = pytest.mark.large
NAMES = [name if name == "vgg16" else pytest.param(name, marks=LARGE) for name in shipped("backbones")]


@pytest.fixture(scope="module", params=NAMES)
def spec(request: pytest.FixtureRequest) -> BackboneSpec:
    return BackboneSpec.load(request.param)


@pytest.fixture(scope="module")
def model(spec: BackboneSpec) -> Any:
    return build(spec)


def test_the_architecture_in_the_repository_is_that_of_the_model(spec: BackboneSpec, model: Any) -> None:
    renew = "run: python -m harness.backbones.described"
    assert describe(model, spec) == architecture_of(spec), renew


def test_the_last_stage_ends_the_network(spec: BackboneSpec, model: Any) -> None:
    assert list(spec.stages.values())[-1] == model.operations[-1].name


@pytest.mark.parametrize("size", [32, 49])
def test_stages_one_after_the_other_are_the_whole(spec: BackboneSpec, model: Any, size: int) -> None:
    images = values = np.random.default_rng(0).normal(size=(1, size, size, 3)).astype(np.float32)
    architecture = architecture_of(spec)
    for k, stage in enumerate(split(model, spec.stages), start=1):
        values = stage(values, training=False)
        assert tuple(values.shape[1:]) == architecture.shape(k, size)
    whole = keras.ops.convert_to_numpy(model(images, training=False))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(values), whole, rtol=1e-4, atol=1e-5 * np.abs(whole).max())


def test_agrees_with_tensorflow(spec: BackboneSpec, model: Any) -> None:
    """Forward and frozen to the middle at one size, and a whole step, which a forward pass is a part of, at another."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the profiler reads TensorFlow's graphs")
    from tests.helpers.profiler import profiled_pass, profiled_step

    images = 8
    stages, architecture = split(model, spec.stages), architecture_of(spec)
    forward = images * sum(cost.forward for cost in architecture.costs(96))
    assert forward == pytest.approx(profiled_pass(stages, (images, 96, 96, 3)), rel=0.01)
    for size, frozen in ((96, len(stages) // 2), (224, 0)):
        ours = images * training_flops(architecture.costs(size), frozen)
        assert ours == pytest.approx(profiled_step(stages, frozen, (images, size, size, 3)), rel=0.01)


PIXELS = np.random.default_rng(1).integers(0, 256, (1, 4, 4, 3)).astype(np.float32)


def prepared(spec: BackboneSpec) -> Any:
    order = slice(None, None, -1) if spec.preprocessing.channels == "bgr" else slice(None)
    return (PIXELS[..., order] - spec.preprocessing.mean) / spec.preprocessing.scale


@pytest.mark.parametrize("name", ["vgg16", "resnet50"])
def test_preprocessing_is_that_of_keras(name: str) -> None:
    theirs = getattr(keras.applications, name).preprocess_input(PIXELS.copy())
    np.testing.assert_allclose(prepared(BackboneSpec.load(name)), theirs, rtol=1e-5, atol=1e-3)


@LARGE
@pytest.mark.parametrize("name", ["efficientnetv2b0", "mobilenetv3large", "convnext_tiny"])
def test_preprocessing_is_that_of_the_first_layers(name: str) -> None:
    spec = BackboneSpec.load(name)
    full = build(spec.model_copy(update={"arguments": {"include_preprocessing": True}}))
    values: Any = PIXELS
    for layer in full.layers[1:]:
        if not isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization):
            break
        values = layer(values)
    np.testing.assert_allclose(prepared(spec), values, rtol=1e-4, atol=1e-5)
    assert values is not PIXELS


@LARGE
def test_a_network_is_added_by_one_file(tmp_path: Path) -> None:
    ends = ["pool1", "pool2_pool", "pool3_pool", "pool4_pool", "relu"]
    file = tmp_path / "densenet121.toml"
    file.write_text(
        'name = "densenet121"\ntitle = "DenseNet-121 (Huang et al. 2017)"\nbuilder = "keras.applications.DenseNet121"\n'
        "[preprocessing]\nmean = [123.675, 116.28, 103.53]\nscale = [58.395, 57.12, 57.375]\n"
        '[weights]\nlicence = "BSD"\n[stages]\n' + "".join(f"{end} = {json.dumps(end)}\n" for end in ends)
    )
    spec = BackboneSpec.load(str(file))
    model = build(spec)
    architecture = describe(model, spec)
    assert architecture.shape(5, 224) == (7, 7, 1024)
    assert sum(stage.weights for stage in architecture.stages) == model.count_params() - sum(
        int(np.prod(variable.shape)) for variable in model.non_trainable_variables
    )
    if keras.backend.backend() == "tensorflow":
        from tests.helpers.profiler import profiled_step

        shape = (8, 224, 224, 3)
        ours = 8 * training_flops(architecture.costs(224), 2)
        assert ours == pytest.approx(profiled_step(split(model, spec.stages), 2, shape), rel=0.01)
