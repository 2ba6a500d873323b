"""A study that searches the image size: what is planned, drawn and compared."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.spec import StudySpec
from harness.core.strategy import ARTICLE_KINDS, Strategy
from harness.guidance.advice import RECIPES, Advice, advised
from harness.storage.store import Store
from harness.strategy_search.history import History
from harness.strategy_search.judge import Judge
from harness.strategy_search.plan import plan
from harness.strategy_search.space import from_params
from harness.training.problem import Problem

SIZES = (32, 64, 224, 256)


@pytest.fixture
def spec(study_file: Path) -> StudySpec:
    return StudySpec.load(str(study_file), {"search.image_size": SIZES, "budget.trials": 40})[0]


def planned(tmp_path: Path, spec: StudySpec, advice: Advice) -> list[dict[str, Any]]:
    store = Store(f"sqlite:///{tmp_path}/study.db")
    store.studies.create(spec.name, spec=spec.model_dump(mode="json"), data={}, advice={})
    plan(store, spec, advice)
    return [trial.params for trial in store.tickets.planned(spec.name)]


@pytest.mark.parametrize(("sizes", "advice", "baseline"), [(SIZES, 224, 64), ((32, 48, 96), 96, 48), ((256,), 256, 64)])
def test_the_advice_is_meant_for_224_pixels_and_baselines_are_small(
    study_file: Path, sizes: tuple[int, ...], advice: int, baseline: int
) -> None:
    space = StudySpec.load(str(study_file), {"search.image_size": sizes})[0].search
    assert (space.advice_size, space.baseline_size) == (advice, baseline)


def test_the_plan_begins_with_the_advice_the_recipes_and_the_frozen_network_at_each_size(
    tmp_path: Path, spec: StudySpec
) -> None:
    first, extractor, partial, *rest = planned(tmp_path, spec, Advice.of(2, "small and dissimilar", spec.search))
    assert (first["strategy"], first["frozen"], first["image_size"]) == ("freeze_first_k", 7, 224)
    assert [params["image_size"] for params in (extractor, partial)] == [32, 32]
    frozen = rest[:4]
    assert {(params["strategy"], params["learning_rate_feature_extraction"]) for params in frozen} == {
        ("feature_extraction", 1e-2)
    }
    assert [params["image_size"] for params in frozen] == list(SIZES)
    sizes = [params["image_size"] for params in rest[4:] if params]
    assert sizes == sorted(sizes) and set(sizes) >= {32, 64, 224}, "the cheapest first"


def test_the_advice_is_not_planned_twice(tmp_path: Path, spec: StudySpec) -> None:
    found = planned(tmp_path, spec, Advice.of(1, "small and similar", spec.search))
    assert sum(params.get("learning_rate_feature_extraction") == 1e-2 for params in found) == len(SIZES)


@pytest.mark.parametrize("size", SIZES)
def test_pooling_is_drawn_where_the_map_is_larger_than_a_point(spec: StudySpec, size: int) -> None:
    params = {
        "strategy": "feature_extraction", "image_size": size, "pooling": "max", "hidden_layers": 0,
        "optimizer": "adam", "learning_rate_feature_extraction": 1e-3,
    }  # fmt: skip
    found = from_params(params, spec)
    assert (found.image_size, found.pooling) == (size, "average" if size == 32 else "max")


def test_what_is_advised_is_spared_at_every_size(tmp_path: Path, spec: StudySpec, tiny_problem: Problem) -> None:
    store = Store(f"sqlite:///{tmp_path}/study.db")
    store.studies.create(spec.name, spec=spec.model_dump(mode="json"), data={}, advice={})
    problem = replace(tiny_problem, spec=spec)
    spared = [
        Judge(History(store, spec), problem, advised(spec.search, size)["from_scratch"])._spared for size in SIZES
    ]
    assert all(spared)


@pytest.mark.parametrize("decay", [0.0, 0.01, [0.0, 0.05], [0.01, 0.05]])
@pytest.mark.parametrize("sizes", [(32,), SIZES])
def test_the_advice_for_each_scenario_is_planned_once_and_spared(
    tmp_path: Path, study_file: Path, tiny_problem: Problem, decay: float | list[float], sizes: tuple[int, ...]
) -> None:
    overrides = {"search.image_size": sizes, "search.refinements": {"weight_decay": decay}, "budget.trials": 40}
    spec, _ = StudySpec.load(str(study_file), {**overrides, "search.recipes": []})
    found = planned(tmp_path, spec, Advice.of(1, "small and similar", spec.search))
    whole = [from_params(params, spec) for params in found if f"learning_rate_{params.get('strategy')}" in params]
    by_kind = {strategy.kind: strategy for strategy in reversed(whole)}
    assert set(by_kind) == set(ARTICLE_KINDS)
    history = History(Store(f"sqlite:///{tmp_path}/study.db"), spec)
    problem = replace(tiny_problem, spec=spec)
    assert all(Judge(history, problem, strategy)._spared for strategy in by_kind.values())
    wanted = 0.01 if decay == [0.01, 0.05] else 0.0  # the advice has none, unless none is not among the values
    assert {strategy.refinements.weight_decay for strategy in by_kind.values()} == {wanted}
    other = replace(by_kind["from_scratch"], learning_rate=2e-3)
    assert not Judge(history, problem, other)._spared


@given(st.sampled_from(SIZES), st.sampled_from(SIZES))
def test_more_pixels_need_more_memory(one: int, other: int) -> None:
    strategy = RECIPES["recipe_partial"]
    sized = [replace(strategy, image_size=size) for size in (one, other)]
    assert sized[0].needs_memory_of(sized[1]) == (one >= other)


def test_a_strategy_names_its_size() -> None:
    assert Strategy("freeze_first_k", 5, "average", (), 0.0, "adam", 3e-4, image_size=96).label() == (
        "freeze_first_k k=5 at 96 px, average, no hidden layer, adam 0.0003"
    )
