"""The search space: a strategy as Optuna's parameters and back."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from harness.core.spec import StudySpec
from harness.core.strategy import KINDS, N_CONVS, Strategy
from harness.guidance.advice import RECIPES
from harness.strategy_search.space import as_params, from_params, outside, suggest
from tests.helpers.searching import ADVICE


@pytest.mark.parametrize("image_size", [(32,), (64,), (32, 64, 224)])
@pytest.mark.parametrize("strategy", [ADVICE.strategy, *RECIPES.values()])
def test_suggest_inverts_as_params(spec: StudySpec, strategy: Strategy, image_size: tuple[int, ...]) -> None:
    spec = spec.model_copy(update={"search": spec.search.model_copy(update={"image_size": image_size})})
    strategy = replace(strategy, image_size=image_size[-1])
    params = as_params(strategy, spec)
    assert outside(params, spec) == []
    found = from_params(params, spec)
    if image_size == (32,):  # the last map is a single point, so that pooling makes no difference
        found = Strategy(**{**_fields(found), "pooling": strategy.pooling})
    assert found == strategy


def _fields(strategy: Strategy) -> dict[str, Any]:
    return {name: getattr(strategy, name) for name in Strategy.__slots__}


def test_every_drawn_strategy_lies_in_the_space(study_file: Path) -> None:
    rates = dict.fromkeys(KINDS, (1e-05, 0.01))
    changes = {"search.strategies": KINDS, "search.learning_rate": rates, "budget.epochs": 5}
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
