import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.backbones.described import architecture_of
from harness.backbones.stages import Architecture, LayerCost, Side, Stage, Term
from harness.core.backbone import BackboneSpec
from harness.core.toml_files import shipped

ARCHITECTURES = {name: architecture_of(BackboneSpec.load(name)) for name in shipped("backbones")}
TINY = Architecture(
    (
        Stage("a", 4, Side(2, 1), 10, (Term(Side(), 1, 2, 3), Term(Side(2, 1), 10, 20, 30))),
        Stage("b", 8, Side(4, 1), 20, (Term(Side(4, 1), 5, 6, 7), Term(None, 100, 200, 300))),
    )
)

sizes = st.integers(32, 512)
architectures = st.sampled_from(list(ARCHITECTURES.values()))


def test_a_tiny_architecture_counted_by_hand() -> None:
    assert [TINY.shape(k, 7) for k in range(3)] == [(7, 7, 3), (4, 4, 4), (2, 2, 8)]
    first = LayerCost(49 + 16 * 10, 2 * 49 + 16 * 20, 3 * 49 + 16 * 30)
    assert TINY.costs(7) == [first, LayerCost(4 * 5 + 100, 4 * 6 + 200, 4 * 7 + 300)]
    assert [stage.reduction for stage in TINY.stages] == [2, 4]


@pytest.mark.parametrize("k", [-1, 3])
def test_there_is_no_such_stage(k: int) -> None:
    with pytest.raises(ValueError, match=f"k must be 0 to 2, but got {k}"):
        TINY.shape(k, 7)


@given(st.lists(st.tuples(st.integers(-6, 6), st.integers(1, 3)), max_size=6), sizes)
def test_a_side_is_that_of_one_layer_after_the_other(layers: list[tuple[int, int]], size: int) -> None:
    side, pixels = Side(), size
    for offset, stride in layers:
        side, pixels = side.then(offset, stride), (pixels + offset) // stride
    assert side.at(size) == max(0, pixels)


def test_vgg16_is_as_published() -> None:
    """13 convolutions and 14,714,688 weights; the tenth of a percent above 2 x 15.3466 GFLOP is biases and pools."""
    vgg16 = ARCHITECTURES["vgg16"]
    assert sum(stage.weights for stage in vgg16.stages) == 14_714_688
    assert [vgg16.shape(k, 48) for k in (0, 1, 2, 5)] == [(48, 48, 3), (48, 48, 64), (24, 24, 64), (12, 12, 256)]
    assert vgg16.shape(13, 224) == (7, 7, 512)
    assert sum(cost.forward for cost in vgg16.costs(224)) == pytest.approx(2 * 15.3466e9, rel=2e-3)
    for k in (14, -1):
        with pytest.raises(ValueError, match=f"k must be 0 to 13, but got {k}"):
            vgg16.shape(k, 48)


@given(architectures, sizes)
def test_more_pixels_cost_no_less(architecture: Architecture, size: int) -> None:
    for less, more in zip(architecture.costs(size), architecture.costs(size + 1), strict=True):
        assert 0 < less.forward <= more.forward
        assert 0 < less.weight_gradient <= more.weight_gradient
        assert 0 < less.input_gradient <= more.input_gradient


@given(architectures, sizes)
def test_maps_shrink_and_none_is_empty(architecture: Architecture, size: int) -> None:
    sides = [architecture.shape(k, size)[0] for k in range(len(architecture.stages) + 1)]
    assert sides == sorted(sides, reverse=True) and sides[-1] >= 1


@given(architectures)
def test_json_loses_nothing(architecture: Architecture) -> None:
    assert Architecture.from_json(architecture.as_json()) == architecture
