"""The search space: drawing a strategy from it, and strategies as Optuna's parameters."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import optuna

from harness.core.spec import StudySpec
from harness.core.strategy import Kind, OptimizerName, Pooling, Strategy, depths


def suggest(trial: optuna.Trial, spec: StudySpec) -> Strategy:
    """Draw a strategy from the study's space.

    A parameter is asked for only where it means something: the image size only where there are several, k only for
    ``freeze_first_k`` and ``two_phase``, dropout only after a hidden layer, pooling only where the last feature map is
    larger than one point.
    """
    space = spec.search
    size = space.image_size[0]
    if len(space.image_size) > 1:
        size = trial.suggest_categorical("image_size", space.image_size)
    kind = cast(Kind, trial.suggest_categorical("strategy", space.strategies))
    frozen, _ = depths(kind)
    if kind == "freeze_first_k":
        frozen = trial.suggest_int("frozen", *space.frozen)
    if kind == "two_phase":
        frozen = trial.suggest_int("frozen_two_phase", 0, space.frozen[1])
    pooling = space.pooling[0]
    if _pooling_matters(size):
        pooling = cast(Pooling, trial.suggest_categorical("pooling", space.pooling))
    hidden = trial.suggest_int("hidden_layers", *space.hidden_layers)
    head = tuple(trial.suggest_int(f"width_{i}", *space.head_width, log=True) for i in range(1, hidden + 1))
    dropout = trial.suggest_float("dropout", *space.dropout) if hidden else 0.0
    optimizer = cast(OptimizerName, trial.suggest_categorical("optimizer", space.optimizer))
    rate = trial.suggest_float(f"learning_rate_{kind}", *space.learning_rate[kind], log=True)
    if kind != "two_phase":
        return Strategy(kind, frozen, pooling, head, dropout, optimizer, rate, image_size=size)
    epochs = trial.suggest_int("head_epochs", *spec.head_epochs)
    factor = trial.suggest_float("rate_factor", *space.rate_factor, log=True)
    return Strategy(kind, frozen, pooling, head, dropout, optimizer, rate, epochs, factor, size)


def as_params(strategy: Strategy, spec: StudySpec) -> dict[str, Any]:
    """Return the parameters from which `suggest` makes ``strategy``."""
    params: dict[str, Any] = {"strategy": strategy.kind}
    if strategy.kind == "freeze_first_k":
        params["frozen"] = strategy.frozen
    if strategy.kind == "two_phase":
        params["frozen_two_phase"] = strategy.frozen
        params |= {"head_epochs": strategy.head_epochs, "rate_factor": strategy.rate_factor}
    if len(spec.search.image_size) > 1:
        params["image_size"] = strategy.image_size
    if _pooling_matters(strategy.image_size):
        params["pooling"] = strategy.pooling
    params["hidden_layers"] = len(strategy.head)
    params |= {f"width_{i}": width for i, width in enumerate(strategy.head, start=1)}
    if strategy.head:
        params["dropout"] = strategy.dropout
    params["optimizer"] = strategy.optimizer
    params[f"learning_rate_{strategy.kind}"] = strategy.learning_rate
    return params


def outside(params: Mapping[str, Any], spec: StudySpec) -> list[str]:
    """Return in words which of ``params`` are outside the study's space.

    Optuna would use them with a warning, or drop them silently.
    """
    space, problems = spec.search, []
    choices: dict[str, Sequence[Any]] = {
        "strategy": space.strategies, "pooling": space.pooling, "optimizer": space.optimizer,
        "image_size": space.image_size,
    }  # fmt: skip
    ranges: dict[str, tuple[float, float]] = {
        "frozen": space.frozen, "frozen_two_phase": (0, space.frozen[1]),
        "hidden_layers": space.hidden_layers, **{f"width_{i}": space.head_width for i in (1, 2, 3)},
        "dropout": space.dropout, "head_epochs": spec.head_epochs, "rate_factor": space.rate_factor,
        **{f"learning_rate_{kind}": range_ for kind, range_ in space.learning_rate.items()},
    }  # fmt: skip
    for name, value in params.items():
        if name in choices:
            if value not in choices[name]:
                problems.append(f"{name} {value}")
            continue
        low, high = ranges.get(name, (value, value))  # a strategy that is left out may have no range of rates
        if not low <= value <= high:
            problems.append(f"{name} {value}")
    return problems


def _pooling_matters(image_size: int) -> bool:
    return image_size >= 64  # below, five halvings leave a single point
