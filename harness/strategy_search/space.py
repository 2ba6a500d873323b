"""The search space: drawing a strategy from it, and strategies as Optuna's parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from optuna.distributions import BaseDistribution
from optuna.trial import BaseTrial, FixedTrial

from harness.core.refinements import NAMES, OF_IMAGES, RATES, Refinements
from harness.core.search_space import RefinementSpace
from harness.core.spec import StudySpec
from harness.core.strategy import TRAINING_PRETRAINED, VGG16, Kind, OptimizerName, Pooling, Strategy, depths


def suggest(trial: BaseTrial, spec: StudySpec) -> Strategy:
    """Draw a strategy from the study's space.

    A parameter is asked for only where it means something: the image size only where there are several, k only for
    ``freeze_first_k`` and ``two_phase``, dropout only after a hidden layer, pooling only where the last feature map is
    larger than one point, a refinement only where `refined` says so.
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
    epochs = spec.budget.epochs
    if len(spec.epochs) > 1:
        epochs = trial.suggest_categorical("epochs", spec.epochs)
    head_epochs, factor = 0, 1.0
    if kind == "two_phase":
        head_epochs = trial.suggest_int("head_epochs", *spec.head_epochs(epochs))
        factor = trial.suggest_float("rate_factor", *space.rate_factor, log=True)
    values = {name: _value(trial, name, space.refinements) for name in NAMES if refined(name, kind, frozen)}
    return Strategy(
        kind, frozen, pooling, head, dropout, optimizer, rate, head_epochs, factor, size, backbone, epochs,
        Refinements(**values),
    )  # fmt: skip


def _value(trial: BaseTrial, name: str, space: RefinementSpace) -> float:
    choices: tuple[float, ...] = getattr(space, name)
    if not space.searched(name):
        return choices[0]
    if name in RATES:
        return trial.suggest_float(name, choices[0], choices[1], log=True)
    return trial.suggest_categorical(name, choices)


def refined(name: str, kind: Kind, frozen: int) -> bool:
    """Return whether the refinement of that name means something for a strategy: rates of layers where pretrained ones
    train, changes to images where nothing is frozen, the others everywhere."""
    if name in RATES:
        return kind in TRAINING_PRETRAINED
    return frozen == 0 if name in OF_IMAGES else True


def as_params(strategy: Strategy, spec: StudySpec) -> dict[str, Any]:
    """Return the parameters from which `suggest` makes ``strategy``."""
    params: dict[str, Any] = {"strategy": strategy.kind}
    if strategy.kind in _RANGED:
        params[depth_name(strategy.kind, strategy.backbone)] = strategy.frozen
    if strategy.kind == "two_phase":
        params |= {"head_epochs": strategy.head_epochs, "rate_factor": strategy.rate_factor}
    if len(spec.epochs) > 1:
        params["epochs"] = spec.budget.epochs_of(strategy)
    for name in NAMES:
        if spec.search.refinements.searched(name) and refined(name, strategy.kind, strategy.frozen):
            params[name] = _nearest(getattr(strategy.refinements, name), name, spec)
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


def unsearched(strategy: Strategy, spec: StudySpec) -> dict[str, float]:
    """Return the refinements of ``strategy`` that its study does not search: a recipe's, which `as_params` lacks."""
    space = spec.search.refinements
    found = {name: getattr(strategy.refinements, name) for name in NAMES if not space.searched(name)}
    return {name: value for name, value in found.items() if value != getattr(space, name)[0]}


def as_planned(strategy: Strategy, spec: StudySpec) -> dict[str, Any]:
    """Return the parameters with which a study plans ``strategy``, and from which `from_params` makes it."""
    return {**as_params(strategy, spec), **unsearched(strategy, spec)}


def from_params(params: Mapping[str, Any], spec: StudySpec) -> Strategy:
    """Return the strategy that has all these parameters, those of `unsearched` too."""
    return refine(suggest(FixedTrial(dict(params)), spec), params, spec)


def refine(strategy: Strategy, params: Mapping[str, Any], spec: StudySpec) -> Strategy:
    """Return ``strategy`` with those of ``params`` that are refinements which its study does not search."""
    space = spec.search.refinements
    fixed = {name: params[name] for name in NAMES if name in params and not space.searched(name)}
    return replace(strategy, refinements=replace(strategy.refinements, **fixed))


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
        "epochs": spec.epochs,
    }  # fmt: skip
    ranges: dict[str, tuple[float, float]] = {
        **{
            depth_name(kind, backbone.name): depth_range(kind, backbone.name, spec)
            for kind in _RANGED for backbone in space.backbones
        },
        "hidden_layers": space.hidden_layers, **{f"width_{i}": space.head_width for i in (1, 2, 3)},
        "dropout": space.dropout, "rate_factor": space.rate_factor,
        "head_epochs": spec.head_epochs(params.get("epochs", spec.budget.epochs)),
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


def _nearest(value: float, name: str, spec: StudySpec) -> float:
    """Return what the study may draw for that refinement that is nearest to ``value``, which only a recipe's is not."""
    choices: tuple[float, ...] = getattr(spec.search.refinements, name)
    if name in RATES:
        return min(max(choices[0], value), choices[1])
    return min(choices, key=lambda choice: abs(choice - value))


def _pooling_matters(image_size: int) -> bool:
    return image_size >= 64  # below, five halvings leave a single point
