"""Counted operations and the seconds that they take at given rates."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.backbones.described import architecture_of
from harness.core.backbone import BackboneSpec
from harness.core.spec import Budget
from harness.core.strategy import OPTIMIZERS, Kind, Strategy
from harness.training.counts import OPERATIONS, Setting, training_seconds

BUDGET = Budget(batch_size=64)
ARCHITECTURES = {name: architecture_of(BackboneSpec.load(name)) for name in ("vgg16", "efficientnet_lite0")}


@st.composite
def tried(draw: st.DrawFn) -> tuple[Setting, Strategy]:
    name = draw(st.sampled_from(sorted(ARCHITECTURES)))
    n = len(ARCHITECTURES[name].stages)
    k = draw(st.integers(0, n))
    kinds: dict[int, Kind] = {0: "fine_tune_all", n: "feature_extraction"}
    two_phase = k < n and draw(st.booleans())
    strategy = Strategy(
        "two_phase" if two_phase else kinds.get(k, "freeze_first_k"), k, "average",
        tuple(draw(st.lists(st.integers(32, 4096), max_size=3))), 0.0, draw(st.sampled_from(OPTIMIZERS)), 1e-3,
        *((draw(st.integers(1, 3)), 0.1) if two_phase else (0, 1.0)), image_size=64, backbone=name,
    )  # fmt: skip
    max_bytes = draw(st.sampled_from([0, 10**7, 10**9]))  # nothing fits, some, everything
    return Setting(ARCHITECTURES[name], 10, 500, 300, BUDGET, max_bytes, views=draw(st.integers(1, 2))), strategy


rates = st.fixed_dictionaries({name: st.floats(1e-14, 1.0) for name in OPERATIONS})


@given(tried(), rates, st.integers(1, 6), st.integers(1, 6))
def test_seconds_grow_with_the_epochs(
    what: tuple[Setting, Strategy], at: dict[str, float], one: int, other: int
) -> None:
    setting, strategy = what
    fewer, more = (training_seconds(setting.counts(strategy, epochs), at) for epochs in sorted((one, other)))
    assert fewer > 0 and (fewer < more if one != other else fewer == more)


@given(tried(), rates, st.integers(1, 6))
def test_the_seconds_of_phases_add_up(what: tuple[Setting, Strategy], at: dict[str, float], later: int) -> None:
    setting, strategy = what
    first, *second = strategy.phases(len(setting.architecture.stages))
    apart = [training_seconds(setting.counts(first, strategy.head_epochs or later), at)]
    apart += [training_seconds(setting.counts(phase, later), at) for phase in second]
    together = setting.counts(strategy, strategy.head_epochs + later)
    assert training_seconds(together, at) == pytest.approx(math.fsum(apart), rel=1e-9)


@given(tried())
def test_only_features_and_training_count(what: tuple[Setting, Strategy]) -> None:
    setting, strategy = what
    used = {name: 0.0 for name in OPERATIONS if name not in ("image", "layer")}  # those of evaluation and compiling
    assert training_seconds(setting.counts(strategy, 2), used) == 0


@pytest.mark.parametrize(
    ("size", "batch_pixels", "expected"), [(224, None, 64), (224, 819_200, 16), (64, 819_200, 64), (224, 1, 1)]
)
def test_smaller_batches_take_more_steps(size: int, batch_pixels: int | None, expected: int) -> None:
    budget = Budget(batch_size=64, batch_pixels=batch_pixels)
    assert budget.batch_size_at(size) == expected
    setting = Setting(ARCHITECTURES["vgg16"], 10, 500, 300, budget, 10**9)
    strategy = Strategy("fine_tune_all", 0, "average", (), 0.0, "adam", 1e-3, image_size=size)
    assert setting.counts(strategy, 2).sum(axis=0)[OPERATIONS.index("step")] == 2 * math.ceil(500 / expected)


@pytest.mark.parametrize(
    ("baseline", "counts"),
    [({"name": "mlp", "epochs": 2, "train_flops": 1e9}, True), ({"name": "majority"}, False)],
)
def test_a_baseline_is_counted_unless_it_trains_nothing(baseline: dict[str, Any], counts: bool) -> None:
    found = Setting(ARCHITECTURES["vgg16"], 10, 500, 300, BUDGET, 10**9).baseline(baseline)
    assert (found is not None) == counts
