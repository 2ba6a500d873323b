"""The search space: a strategy as Optuna's parameters and back."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from harness.core.refinements import NAMES, Refinements
from harness.core.spec import StudySpec
from harness.core.strategy import KINDS, N_CONVS, Strategy
from harness.guidance.advice import RECIPES, recipe
from harness.strategy_search.space import as_params, from_params, outside, suggest, unsearched
from tests.helpers.searching import ADVICE


@pytest.mark.parametrize("image_size", [(32,), (64,), (32, 64, 224)])
@pytest.mark.parametrize("name", ["advice", *RECIPES])
def test_suggest_inverts_as_params(study_file: Path, name: Any, image_size: tuple[int, ...]) -> None:
    spec = StudySpec.load(str(study_file), {**TWO_PHASE, "search.image_size": image_size, "budget.epochs": 6})[0]
    strategy = ADVICE.strategy if name == "advice" else recipe(name, spec)
    strategy = replace(strategy, image_size=image_size[-1], planned_epochs=6)
    params = as_params(strategy, spec)
    assert outside(params, spec) == []
    found = from_params({**params, **unsearched(strategy, spec)}, spec)
    if image_size == (32,):  # the last map is a single point, so that pooling makes no difference
        found = Strategy(**{**_fields(found), "pooling": strategy.pooling})
    assert found == strategy


def _fields(strategy: Strategy) -> dict[str, Any]:
    return {name: getattr(strategy, name) for name in Strategy.__slots__}


RATES = dict.fromkeys(KINDS, (1e-05, 0.01))
TWO_PHASE = {"search.strategies": KINDS, "search.learning_rate": RATES, "search.rate_factor": (1e-3, 1.0)}


def test_every_drawn_strategy_lies_in_the_space(study_file: Path) -> None:
    changes = {"search.strategies": KINDS, "search.learning_rate": RATES, "budget.epochs": 5}
    spec = StudySpec.load(str(study_file), changes)[0]
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=optuna.samplers.RandomSampler(0))
    drawn = []
    for _ in range(200):
        trial = study.ask()
        drawn.append(suggest(trial, spec))
        assert outside(trial.params, spec) == []
        assert ("frozen" in trial.params) == (drawn[-1].kind == "freeze_first_k")
        assert ("dropout" in trial.params) == bool(drawn[-1].head)
        assert ("head_epochs" in trial.params) == (drawn[-1].kind == "two_phase")
        assert as_params(drawn[-1], spec) == trial.params
    assert {strategy.kind for strategy in drawn} == set(KINDS)
    assert {strategy.frozen for strategy in drawn if strategy.kind == "freeze_first_k"} == set(range(1, N_CONVS))
    assert {len(strategy.head) for strategy in drawn} == {0, 1, 2, 3}
    two_phase = [strategy for strategy in drawn if strategy.kind == "two_phase"]
    assert {strategy.head_epochs for strategy in two_phase} == {1, 2, 3}
    assert min(strategy.frozen for strategy in two_phase) == 0
    assert max(strategy.rate_factor for strategy in two_phase) <= 0.3


def test_refinements_and_epochs_are_drawn_where_they_mean_something(study_file: Path) -> None:
    searched = {
        "body_rate": (0.01, 1.0), "layer_decay": (0.6, 1.0), "weight_decay": (0.0, 0.05), "label_smoothing": (0.0, 0.1),
        "clip_norm": (0.0, 1.0), "augmentation": (0.0, 0.5), "mixup": (0.0, 0.2), "averaging": (0.0, 0.5),
    }  # fmt: skip
    spec = StudySpec.load(
        str(study_file), {**TWO_PHASE, "budget.epochs": 8, "search.epochs": [2, 4], "search.refinements": searched}
    )[0]
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=optuna.samplers.RandomSampler(0))
    drawn = []
    for _ in range(300):
        trial = study.ask()
        strategy = suggest(trial, spec)
        drawn.append(strategy)
        assert outside(trial.params, spec) == []
        assert as_params(strategy, spec) == trial.params
        assert from_params(trial.params, spec) == strategy
        assert unsearched(strategy, spec) == {}
        asked = {name for name in NAMES if name in trial.params}
        expected = set(NAMES)
        if not strategy.trains_pretrained:
            expected -= {"body_rate", "layer_decay"}
        if strategy.frozen:
            expected -= {"augmentation", "mixup"}
        assert asked == expected
        assert strategy.head_epochs < strategy.planned_epochs
    assert {strategy.planned_epochs for strategy in drawn} == {2, 4, 8}
    for name in NAMES:
        assert len({getattr(strategy.refinements, name) for strategy in drawn}) > 1


def test_a_recipe_gets_the_nearest_of_the_values_that_a_study_searches(study_file: Path) -> None:
    spec = StudySpec.load(str(study_file), {**TWO_PHASE, "search.refinements": {"weight_decay": [0, 0.05, 0.3]}})[0]
    fastai = recipe("recipe_fastai", spec)
    params = {**as_params(fastai, spec), **unsearched(fastai, spec)}
    found = from_params(params, spec).refinements
    assert found == replace(fastai.refinements, weight_decay=0.0)
    assert Refinements() != found, "the rates by layer, which the study does not search, are the recipe's"
