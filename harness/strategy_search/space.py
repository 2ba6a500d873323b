"""The search space: drawing a strategy from it, and strategies as Optuna's parameters."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from optuna.distributions import BaseDistribution
from optuna.trial import BaseTrial, FixedTrial

from harness.core.spec import StudySpec
from harness.core.strategy import VGG16, Kind, OptimizerName, Pooling, Strategy, depths


def suggest(trial: BaseTrial, spec: StudySpec) -> Strategy:
    """Draw a strategy from the study's space.

    A parameter is asked for only where it means something: the image size only where there are several, k only for
    ``freeze_first_k`` and ``two_phase``, dropout only after a hidden layer, pooling only where the last feature map is
    larger than one point.
    """
    space = spec.search
    backbone = space.backbones[0].name
    if len(space.backbones) > 1:
        backbone = trial.suggest_categorical("backbone", [declared.name for declared in space.backbones])
    size = space.image_size[0]
    if len(space.image_size) > 1:
        size = trial.suggest_categorical("image_size", space.image_size)
    kind = cast(Kind, trial.suggest_categorical("strategy", space.strategies))
    n_stages = len(space.backbone(backbone).stages)
    frozen, _ = depths(kind, n_stages)
    if kind in _RANGED:
        frozen = trial.suggest_int(depth_name(kind, backbone), *depth_range(kind, backbone, spec))
    pooling = space.pooling[0]
    if _pooling_matters(size):
        pooling = cast(Pooling, trial.suggest_categorical("pooling", space.pooling))
    hidden = trial.suggest_int("hidden_layers", *space.hidden_layers)
    head = tuple(trial.suggest_int(f"width_{i}", *space.head_width, log=True) for i in range(1, hidden + 1))
    dropout = trial.suggest_float("dropout", *space.dropout) if hidden else 0.0
    optimizer = cast(OptimizerName, trial.suggest_categorical("optimizer", space.optimizer))
    rate = trial.suggest_float(f"learning_rate_{kind}", *space.learning_rate[kind], log=True)
    if kind != "two_phase":
        return Strategy(kind, frozen, pooling, head, dropout, optimizer, rate, image_size=size, backbone=backbone)
    epochs = trial.suggest_int("head_epochs", *spec.head_epochs)
    factor = trial.suggest_float("rate_factor", *space.rate_factor, log=True)
    return Strategy(kind, frozen, pooling, head, dropout, optimizer, rate, epochs, factor, size, backbone)


def as_params(strategy: Strategy, spec: StudySpec) -> dict[str, Any]:
    """Return the parameters from which `suggest` makes ``strategy``."""
    params: dict[str, Any] = {"strategy": strategy.kind}
    if strategy.kind in _RANGED:
        params[depth_name(strategy.kind, strategy.backbone)] = strategy.frozen
    if strategy.kind == "two_phase":
        params |= {"head_epochs": strategy.head_epochs, "rate_factor": strategy.rate_factor}
    if len(spec.search.backbones) > 1:
        params["backbone"] = strategy.backbone
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


def from_params(params: Mapping[str, Any], spec: StudySpec) -> Strategy:
    """Return the strategy that has all these parameters."""
    return suggest(FixedTrial(dict(params)), spec)


def distributions(params: Mapping[str, Any], spec: StudySpec) -> dict[str, BaseDistribution]:
    """Return what the parameters of a strategy are drawn from."""
    trial = FixedTrial(dict(params))
    suggest(trial, spec)
    return trial.distributions


def outside(params: Mapping[str, Any], spec: StudySpec) -> list[str]:
    """Return in words which of ``params`` are outside the study's space.

    Optuna would use them with a warning, or drop them silently.
    """
    space, problems = spec.search, []
    choices: dict[str, Sequence[Any]] = {
        "strategy": space.strategies, "pooling": space.pooling, "optimizer": space.optimizer,
        "image_size": space.image_size, "backbone": [backbone.name for backbone in space.backbones],
    }  # fmt: skip
    ranges: dict[str, tuple[float, float]] = {
        **{
            depth_name(kind, backbone.name): depth_range(kind, backbone.name, spec)
            for kind in _RANGED for backbone in space.backbones
        },
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


_RANGED: dict[Kind, str] = {"freeze_first_k": "frozen", "two_phase": "frozen_two_phase"}
"""The strategies with a range of k, and what Optuna calls it."""


def depth_name(kind: Kind, backbone: str) -> str:
    """Return Optuna's name of k. Each backbone has its own: its stages are others."""
    return _RANGED[kind] if backbone == VGG16 else f"{_RANGED[kind]}_{backbone}"


def depth_range(kind: Kind, backbone: str, spec: StudySpec) -> tuple[int, int]:
    """Return the smallest and largest k of a strategy with a range: the study's for VGG16, all stages of others."""
    low, high = depths(kind, len(spec.search.backbone(backbone).stages))
    if backbone != VGG16:
        return low, high
    return (spec.search.frozen[0] if kind == "freeze_first_k" else low), spec.search.frozen[1]


def _pooling_matters(image_size: int) -> bool:
    return image_size >= 64  # below, five halvings leave a single point
