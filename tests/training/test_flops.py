from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.backbones.described import architecture_of
from harness.backbones.stages import Architecture, LayerCost, Side, Stage, Term
from harness.core.backbone import BackboneSpec
from harness.core.strategy import N_CONVS, POOLINGS, Kind, Pooling, Strategy
from harness.training.flops import (
    MIN_FLOPS_PER_BYTE,
    Cost,
    cached_start,
    cnn_cost,
    mlp_cost,
    prefix_cost,
    step_cost,
    training_flops,
    trial_cost,
)

VGG16 = BackboneSpec.load("vgg16")
ARCHITECTURE = architecture_of(VGG16)

AMPLE = 10**12
TINY = Architecture(
    (
        # a convolution to two channels and a pool, and one to four
        Stage(
            "a",
            channels=2,
            side=Side(2),
            weights=56,
            terms=(
                Term(Side(), 2 * (2 * 9 * 3 + 1), 2 * (2 * 9 * 3 + 1), 2 * 9 * 3 * 2),
                Term(Side(2), 4 * 2, 5 * 2, 0),
            ),
        ),
        Stage(
            "b",
            channels=4,
            side=Side(2),
            weights=76,
            terms=(Term(Side(2), 4 * (2 * 9 * 2 + 1), 4 * (2 * 9 * 2 + 1), 2 * 9 * 2 * 4),),
        ),
    )
)

depths = st.integers(0, N_CONVS)
sizes = st.integers(32, 224)
poolings = st.sampled_from(POOLINGS)
heads = st.lists(st.integers(1, 4096), max_size=3).map(tuple)


def strategy(frozen: int, pooling: Pooling = "average", head: tuple[int, ...] = (), size: int = 32) -> Strategy:
    kinds: dict[int, Kind] = {0: "fine_tune_all", N_CONVS: "feature_extraction"}
    kind = kinds.get(frozen, "freeze_first_k")
    return Strategy(kind, frozen, pooling, head, 0.0, "adam", 1e-3, image_size=size)


def test_forward_pass_at_the_usual_sizes() -> None:
    """Multiply-adds alone are 15.3 G at 224x224; biases and pools add a tenth of a percent."""
    assert prefix_cost(ARCHITECTURE, 224) == pytest.approx(2 * 15.3466e9, rel=2e-3)
    assert prefix_cost(ARCHITECTURE, 32) == pytest.approx(0.6268e9, rel=1e-3)


def test_a_tiny_network_counted_by_hand() -> None:
    first = 8 * 8 * 2 * (2 * 9 * 3 + 1) + 4 * 4 * 2 * 4  # products and biases; four values under each pool
    second = 4 * 4 * 4 * (2 * 9 * 2 + 1)
    assert prefix_cost(TINY, 8, 0) == 0
    assert prefix_cost(TINY, 8, 1) == first
    assert prefix_cost(TINY, 8) == first + second
    head = 2 * (2 * 4 * 5 + 5) + 4 * 4 * 4  # weights' gradient as expensive as the way forward; the averages' sums
    head_input = 2 * 4 * 5 + 4 * 4 * 4
    every = first + second + head + head_input + second + 2 * 9 * 2 * 64 + 8 * 8 * 2 * (2 * 9 * 3 + 1) + 4 * 4 * 2 * 5
    assert step_cost(TINY, strategy(0, size=8), n_classes=5) == every


def test_gradients_stop_at_the_first_layer_that_trains() -> None:
    layers = [LayerCost(1, 10, 100), LayerCost(2, 20, 200), LayerCost(4, 40, 400)]
    assert [training_flops(layers, frozen) for frozen in (0, 1, 2)] == [7 + 70 + 600, 7 + 60 + 400, 7 + 40]


def test_what_is_stored_at_32_pixels() -> None:
    assert [cached_start(ARCHITECTURE, k, 32, 2000, AMPLE) for k in range(N_CONVS + 1)] == [
        0,
        0,
        *range(2, N_CONVS + 1),
    ]
    k5 = 2000 * 8 * 8 * 256 * 4
    assert cached_start(ARCHITECTURE, 5, 32, 2000, k5) == 5
    assert cached_start(ARCHITECTURE, 5, 32, 2000, k5 - 1) == 4  # pooled: half the size of k = 5
    assert cached_start(ARCHITECTURE, 5, 32, 2000, k5 - 1, bytes_per_value=2) == 5
    assert cached_start(ARCHITECTURE, 5, 32, 2000, 1000) == 0


@given(depths, sizes, st.integers(1, 10**6), st.integers(0, 10**12))
def test_stored_activations_lie_in_the_frozen_part_fit_and_pay(k: int, size: int, n: int, most: int) -> None:
    def fits_and_pays(start: int) -> bool:
        height, width, channels = ARCHITECTURE.shape(start, size)
        image = 4 * height * width * channels
        return n * image <= most and prefix_cost(ARCHITECTURE, size, start) / image >= MIN_FLOPS_PER_BYTE

    found = cached_start(ARCHITECTURE, k, size, n, most)
    assert found == max([0, *(b for b in range(1, k + 1) if fits_and_pays(b))])


@given(depths, poolings, heads, sizes, st.integers(2, 100), st.integers(1, 10**5), st.integers(0, 10**11))
def test_prefix_and_step_make_one_full_pass(
    k: int, pooling: Pooling, head: tuple[int, ...], size: int, n_classes: int, n: int, most: int
) -> None:
    """Storing moves the prefix out of the step and changes nothing else."""
    what = strategy(k, pooling, head, size)
    cost = trial_cost(ARCHITECTURE, what, n_classes, n, most)
    assert cost.prefix + cost.per_image == pytest.approx(step_cost(ARCHITECTURE, what, n_classes))
    assert cost.at(n, 1) == pytest.approx(trial_cost(ARCHITECTURE, what, n_classes, n, 0).at(n, 1))
    assert cost.at(n, 2) <= trial_cost(ARCHITECTURE, what, n_classes, n, 0).at(n, 2) * (1 + 1e-12)


@given(st.integers(0, N_CONVS - 1), poolings, heads, sizes, st.integers(1, 50), st.sampled_from([0, 10**8, AMPLE]))
def test_freezing_more_never_costs_more(
    k: int, pooling: Pooling, head: tuple[int, ...], size: int, epochs: int, most: int
) -> None:
    less, more = (
        trial_cost(ARCHITECTURE, strategy(depth, pooling, head, size), 10, 2000, most) for depth in (k, k + 1)
    )
    assert more.at(2000, epochs) < less.at(2000, epochs)


@given(depths, poolings, heads, sizes, st.integers(1, 50), st.integers(1, 10**5))
def test_more_epochs_images_and_pixels_cost_more(
    k: int, pooling: Pooling, head: tuple[int, ...], size: int, epochs: int, n: int
) -> None:
    cost = trial_cost(ARCHITECTURE, strategy(k, pooling, head, size), 10, n, AMPLE)
    assert cost.at(n, epochs) < cost.at(n, epochs + 1)
    assert cost.at(n, epochs) < cost.at(n + 1, epochs)
    larger = trial_cost(ARCHITECTURE, strategy(k, pooling, head, size + 1), 10, n, AMPLE)
    assert larger.at(n, epochs) > cost.at(n, epochs)


@given(depths, sizes, heads)
def test_wider_heads_cost_more(k: int, size: int, head: tuple[int, ...]) -> None:
    wider = (*head[:2], 64)
    widest = tuple(width + 1 for width in wider)
    costs = [step_cost(ARCHITECTURE, strategy(k, "flatten", what, size), 10) for what in (wider, widest)]
    assert costs[0] < costs[1]


@given(
    st.integers(0, N_CONVS - 1), poolings, heads, sizes, st.integers(1, 9), st.integers(1, 9), st.integers(0, 10**11)
)
def test_two_phases_cost_what_each_does(
    k: int, pooling: Pooling, head: tuple[int, ...], size: int, first: int, second: int, most: int
) -> None:
    """What a phase costs is held against TensorFlow's profiler below."""

    def cost(what: Strategy) -> Cost:
        return trial_cost(ARCHITECTURE, what, 10, 2000, most)

    both = cost(Strategy("two_phase", k, pooling, head, 0.0, "adam", 1e-2, first, 0.1, image_size=size))
    head_alone, then = cost(strategy(N_CONVS, pooling, head, size)), cost(strategy(k, pooling, head, size))
    assert both.at(2000, first) == head_alone.at(2000, first)
    assert both.at(2000, first + second) == pytest.approx(head_alone.at(2000, first) + then.at(2000, second))


def test_cost_at() -> None:
    assert Cost(prefix=100, per_image=7).at(n_images=3, epochs=2) == 342
    assert Cost(prefix=100, per_image=7).at(n_images=3, epochs=0.5) == 310.5


# Against TensorFlow's own profiler. It counts 8 images at once, since sums over a batch cost a little less an image.

BATCH = 8
AGREEMENT = 1e-3

Profiler = Callable[[Sequence[Any], int], float]


@pytest.fixture(scope="module")
def profiled() -> Profiler:
    """FLOPs an image of loss and gradients through Keras layers (an input first), ``frozen`` of which do not train."""
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the profiler reads TensorFlow's graphs")
    import tensorflow as tf

    from tests.helpers import profiler

    def count(layers: Sequence[Any], frozen: int) -> float:
        model = keras.Sequential(layers)
        weights = [variable.value for layer in model.layers[frozen:] for variable in layer.trainable_variables]

        def step(images: Any) -> Any:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(weights)
                logits = model(images, training=True)
                labels = tf.zeros(BATCH, tf.int64)
                loss = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
            return tape.gradient(loss, weights)

        return profiler.profiled(step, (BATCH, *model.input_shape[1:])) / BATCH

    return count


@pytest.fixture(scope="module")
def vgg16() -> list[Any]:
    """Keras's own VGG16 at 32x32: 13 convolutions and 5 pools, without weights worth keeping."""
    keras = pytest.importorskip("keras")
    layers: list[Any] = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3)).layers[1:]
    return layers


@pytest.mark.parametrize(
    ("k", "pooling", "head", "cached"),
    [
        (0, "average", (), False),
        (0, "flatten", (256,), False),
        *(
            (*rest, cached)
            for cached in (False, True)
            for rest in (
                (5, "average", ()),
                (10, "average", ()),
                (13, "average", ()),
                (7, "average", (64,)),
                (13, "average", (1024, 512)),
                (13, "flatten", (1024, 512)),
            )
        ),
    ],
)
def test_agrees_with_tensorflow(
    k: int, pooling: Pooling, head: tuple[int, ...], cached: bool, vgg16: list[Any], profiled: Profiler
) -> None:
    import keras

    convs = [i for i, layer in enumerate(vgg16) if isinstance(layer, keras.layers.Conv2D)]
    frozen = convs[k] if k < N_CONVS else len(vgg16)  # in Keras layers, pools included
    first_layer = frozen if cached else 0
    pool = keras.layers.GlobalAveragePooling2D() if pooling == "average" else keras.layers.Flatten()
    dense = [*(keras.layers.Dense(width, "relu") for width in head), keras.layers.Dense(10)]
    start = k if cached else 0
    layers = [keras.Input(ARCHITECTURE.shape(start, 32)), *vgg16[first_layer:], pool, *dense]
    ours = step_cost(ARCHITECTURE, strategy(k, pooling, head), 10, start)
    assert ours == pytest.approx(profiled(layers, frozen - first_layer), rel=AGREEMENT)


def test_mlp_agrees_with_tensorflow(profiled: Profiler) -> None:
    import keras

    dense = [keras.layers.Dense(500, "relu") for _ in range(3)]
    layers = [keras.Input((32, 32, 3)), keras.layers.Flatten(), *dense, keras.layers.Dense(10)]
    assert mlp_cost(32, 10) == pytest.approx(profiled(layers, 0), rel=AGREEMENT)


@pytest.mark.parametrize(("size", "pool"), [(32, 2), (96, 4)])
def test_cnn_agrees_with_tensorflow(size: int, pool: int, profiled: Profiler) -> None:
    import keras

    layers = [keras.Input((size, size, 3))]
    for _ in range(3):
        layers.append(keras.layers.Conv2D(32, 5, padding="same", activation="relu"))
        layers.append(keras.layers.MaxPooling2D(pool))
    layers += [keras.layers.Flatten(), keras.layers.Dense(64, "relu"), keras.layers.Dense(10)]
    assert cnn_cost(size, 10, pool) == pytest.approx(profiled(layers, 0), rel=AGREEMENT)
