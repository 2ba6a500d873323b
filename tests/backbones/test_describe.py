import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.backbones.stages import Architecture, LayerCost
from harness.core.backbone import BackboneSpec, Preprocessing, WeightsSpec
from harness.core.errors import SpecError
from harness.training.flops import training_flops

keras = pytest.importorskip("keras")

from harness.backbones.describe import build, describe, split  # noqa: E402
from tests.helpers.backbones import MIXED  # noqa: E402

HELPERS = "tests.helpers.backbones"


def declared(builder: str = "mixed", stages: dict[str, str] = MIXED, **others: Any) -> BackboneSpec:
    return BackboneSpec(
        name="tiny",
        title="A tiny network",
        builder=builder if "." in builder else f"{HELPERS}.{builder}",
        preprocessing=Preprocessing(mean=(0, 0, 0)),
        stages=stages,
        weights=WeightsSpec(licence="none"),
        **others,
    )


@pytest.fixture(scope="module")
def model() -> Any:
    return build(declared())


@pytest.fixture(scope="module")
def described(model: Any) -> Architecture:
    return describe(model, declared())


def test_stages_one_after_the_other_are_the_whole(model: Any) -> None:
    images = keras.random.uniform((2, 37, 37, 3), 0, 255)
    values = images
    stages = split(model, MIXED)
    for stage in stages:
        values = stage(values, training=False)
    assert keras.ops.convert_to_numpy(values) == pytest.approx(keras.ops.convert_to_numpy(model(images)), abs=1e-5)
    shared = {id(variable) for variable in model.weights}
    assert [id(variable) for stage in stages for variable in stage.weights if id(variable) not in shared] == []
    assert [stage.name for stage in stages] == list(MIXED)


@pytest.mark.parametrize("size", [32, 37, 50, 64, 101])
def test_shapes_are_those_of_keras(model: Any, described: Architecture, size: int) -> None:
    shape: tuple[int | None, ...] = (None, size, size, 3)
    for k, stage in enumerate(split(model, MIXED), start=1):
        shape = stage.compute_output_shape(shape)
        assert shape[1:] == described.shape(k, size)


def test_all_weights_that_train_are_counted(model: Any, described: Architecture) -> None:
    assert sum(stage.weights for stage in described.stages) == sum(
        keras.ops.size(variable) for variable in model.trainable_variables
    )


def test_agrees_with_tensorflow() -> None:
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the profiler reads TensorFlow's graphs")
    from tests.helpers.profiler import profiled_pass, profiled_step

    spec = declared(arguments={"channels": 32})
    model = build(spec)
    stages, costs = split(model, MIXED), describe(model, spec).costs(96)
    shape = (8, 96, 96, 3)
    assert 8 * sum(cost.forward for cost in costs) == pytest.approx(profiled_pass(stages, shape), rel=0.01)
    for frozen in (0, 2, 4):
        assert 8 * training_flops(costs, frozen) == pytest.approx(profiled_step(stages, frozen, shape), rel=0.01)


@settings(max_examples=10, deadline=None)
@given(st.sets(st.sampled_from(list(MIXED)[:-1])), st.integers(32, 99))
def test_any_cut_into_stages_costs_the_same(model: Any, described: Architecture, ends: set[str], size: int) -> None:
    def whole(costs: list[LayerCost]) -> tuple[float, ...]:
        rest = sum(cost.input_gradient for cost in costs[1:])
        return (
            sum(cost.forward for cost in costs),
            sum(cost.weight_gradient for cost in costs) + rest,
            costs[0].input_gradient,
        )

    stages = {name: layer for name, layer in MIXED.items() if name in ends or name == "end"}
    assert whole(describe(model, declared(stages=stages)).costs(size)) == whole(described.costs(size))


def test_names_do_not_depend_on_what_was_built_before(model: Any) -> None:
    keras.layers.Add()
    again = build(declared())
    assert [layer.name for layer in again.operations] == [layer.name for layer in model.operations]
    before, after = keras.layers.Add().name, keras.layers.Add().name
    assert before != after  # the numbers go on where they were


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({"a": "stemm"}, "stage 'a': tiny has no layer 'stemm': did you mean 'stem'?"),
        ({"a": "block1", "b": "stem"}, "stage 'b': layer 'stem' does not come after the end of stage 'a'"),
        ({"a": "stem", "b": "stem"}, "stage 'b': layer 'stem' does not come after the end of stage 'a'"),
        (
            {"a": "stem", "b": "depthwise_conv2d", "c": "block1"},
            "stage 'b': more than one tensor crosses its end 'depthwise_conv2d', as later layers also use the output "
            "of 'stem'",
        ),
        ({"a": "stem", "b": "multiply", "c": "joined"}, "stage 'b': more than one tensor crosses its end 'multiply'"),
        ({"a": "global_average_pooling2d"}, "backbone 'tiny': stage 'a' ends in a vector"),
    ],
)
def test_stages_that_cannot_be_are_named(model: Any, stages: dict[str, str], message: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)):
        describe(model, declared(stages=stages))


def test_every_end_within_a_block_is_refused(model: Any) -> None:
    names = [layer.name for layer in model.operations]
    for end in names[names.index("stem") + 1 : names.index("block1")]:
        with pytest.raises(SpecError, match=f"stage 'middle': more than one tensor crosses its end '{end}'"):
            split(model, {"stem": "stem", "middle": end, "end": "average_pooling2d"})


def test_a_least_size_that_leaves_nothing_is_refused(model: Any) -> None:
    with pytest.raises(SpecError, match=r"least_size 8 leaves nothing of the map of stage 'end': give 11 or more"):
        describe(model, declared(least_size=8))


@pytest.mark.parametrize(
    ("builder", "arguments", "message"),
    [
        ("no_package.build", {}, "builder 'no_package.build' cannot be imported (No module named 'no_package')"),
        ("keras.applications.VGG61", {}, "builder 'keras.applications.VGG61' cannot be imported (module"),
        ("keras.applications.VGG16", {"depth": 3}, "cannot be called: got an unexpected keyword argument 'depth'"),
        ("keras.applications.VGG16", {"weights": None}, "backbone 'tiny': arguments.weights is set by the harness"),
        ("of_other_arguments", {}, "cannot be called: missing a required argument: 'size'"),
        ("of_no_model", {}, "returns no functional keras.Model"),
        ("MIXED", {}, "is not a callable object"),
    ],
)
def test_a_builder_that_cannot_be_used_is_named(builder: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)) as caught:
        build(declared(builder, arguments=arguments))
    assert "\n" not in str(caught.value)


def test_a_layer_that_is_not_known_is_named() -> None:
    spec = declared("with_other_layers", {"all": "grows"})
    with pytest.raises(SpecError, match="backbone 'tiny': layer 'grows' is of the class Conv2DTranspose"):
        describe(build(spec), spec)


def test_a_sequential_model_is_a_backbone_too() -> None:
    spec = declared("of_one_convolution", {"all": "only"})
    architecture = describe(build(spec), spec)
    assert [architecture.shape(1, size) for size in (32, 33)] == [(15, 15, 4), (16, 16, 4)]
    assert architecture.costs(33) == [LayerCost(16**2 * (2 * 9 * 12 + 4), 16**2 * (2 * 9 * 12 + 4), 16**2 * 2 * 9 * 12)]


def test_boundaries_rise(described: Architecture) -> None:
    assert all(one.reduction <= other.reduction for one, other in pairwise(described.stages))
