"""Which trials a study runs, in which order."""

import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

from harness.backbones.described import architecture_of
from harness.core.results import Origin
from harness.core.spec import StudySpec
from harness.core.strategy import Kind, Strategy, depths
from harness.guidance.advice import ADVISED, Advice, advised, recipe
from harness.storage.store import Store
from harness.storage.tickets import Planned
from harness.strategy_search.space import as_params, as_planned, depth_name, depth_range, outside
from harness.training.flops import prefix_cost

log = logging.getLogger(__name__)


def plan(
    store: Store,
    spec: StudySpec,
    advice: Advice,
    others: Sequence[tuple[Origin, Strategy]] | None = None,
    constant: Strategy | None = None,
) -> None:
    """Add a waiting trial to the storage for each that ``spec.budget.trials`` still lacks.

    First come the study's own recommendation, if it has one, and the advice; then the ``others``, by default
    the study's recipes, at the smallest size; then each frozen backbone at each size and the league's ``constant``,
    where the study searches its backbone and size; then what each strategy lacks of its minimum share, the cheapest
    first, since these cost next to nothing and give the front by which the expensive ones are judged. The rest are left
    to the sampler. Waiting trials are claimed one by one by
    whichever worker is free, so that exactly the number asked for is run. A study that is planned already is left as it
    is. Two runs that plan at the same time do so one after the other.
    """
    with store.one_at_a_time():
        recommended: list[tuple[Origin, Strategy]] = []
        if spec.recommendation is not None:  # counts towards its strategy's minimum share
            recommended.append(("quota", spec.recommendation.strategy))
        space = spec.search
        if others is None:
            others = [(name, recipe(name, spec)) for name in space.recipes]
        small = [(origin, strategy.on(space.advice_backbone, space.image_size[0])) for origin, strategy in others]
        fixed = [*recommended, ("advice", advice.strategy), *small, *_of_the_league(spec, advice, constant)]
        store.tickets.add(spec.name, _missing(store.tickets.planned(spec.name), spec, fixed))


def planned_depths(store: Store, spec: StudySpec) -> Iterator[tuple[str, int, int]]:
    """Yield backbone, image size and freeze depth k of the trials that are planned and have not finished, where the
    plan says all three."""
    space = spec.search
    for params in (trial.params for trial in store.tickets.planned(spec.name, unfinished=True)):
        kind = params.get("strategy")
        backbone = params.get("backbone", space.backbones[0].name)
        if kind is not None:
            shallowest, deepest = depths(kind, len(space.backbone(backbone).stages))
            frozen = shallowest if shallowest == deepest else params.get(depth_name(kind, backbone))
            if frozen is not None:
                yield backbone, params.get("image_size", space.image_size[0]), frozen


def _of_the_league(spec: StudySpec, advice: Advice, constant: Strategy | None) -> list[tuple[Origin, Strategy]]:
    """Return each frozen backbone at each size, the cheapest first, where a study has several: they are cheap, and
    tell what more pixels and another network are worth. The league's ``constant`` is one of them, or follows."""
    space = spec.search
    frozen = {
        ADVISED["feature_extraction"].on(backbone, size): prefix_cost(architecture_of(backbone), size)
        for size in space.image_size
        for backbone in space.backbones
    }
    by_cost = sorted(frozen, key=lambda strategy: frozen[strategy]) if len(frozen) > 1 else []
    if (
        constant is not None
        and constant not in by_cost
        and constant.backbone in {backbone.name for backbone in space.backbones}
        and constant.image_size in space.image_size
    ):
        by_cost.append(constant)
    return [
        ("league" if strategy == constant else "quota", strategy) for strategy in by_cost if strategy != advice.strategy
    ]


def _missing(trials: Sequence[Planned], spec: StudySpec, fixed: Sequence[tuple[Origin, Strategy]]) -> list[Planned]:
    """Return what is to be planned after these ``trials``, the ``fixed`` strategies first."""
    missing = spec.budget.trials - len(trials)
    if missing <= 0:
        return []
    wanted: list[Planned] = []
    planned = Counter(trial.origin for trial in trials)
    for origin, strategy in fixed:
        planned[origin] -= 1
        if planned[origin] >= 0:
            continue
        problems = outside(as_params(strategy, spec), spec)
        if problems:
            log.warning("%s is not tried: the study's search space leaves out %s", origin, "; ".join(problems))
        else:
            wanted.append(Planned(origin, as_planned(strategy, spec)))
    counted = Counter(trial.params.get("strategy") for trial in [*trials, *wanted[:missing]])
    quota = math.ceil(spec.search.minimum_share * spec.budget.trials - 1e-9)
    lacking: Counter[Kind] = Counter()
    while len(wanted) + lacking.total() < missing:
        kind = min(spec.search.strategies, key=lambda kind: counted[kind])
        if counted[kind] >= quota:
            break
        counted[kind] += 1
        lacking[kind] += 1
    wanted += [Planned("quota", params) for params in _cheapest_first(lacking, counted, spec)]
    wanted += [Planned("sampler")] * (missing - len(wanted))
    return wanted[:missing]


def _cheapest_first(lacking: Mapping[Kind, int], counted: Mapping[Any, int], spec: StudySpec) -> list[dict[str, Any]]:
    """Return the parameters of as many trials of each strategy as ``lacking`` says, the cheapest first.

    The first trial of a strategy that has none is what the article would advise for its scenario, at the smallest size.
    Of the others only what decides their cost is fixed, and the sampler draws the rest. Sizes are taken in turn, and
    freeze depths k are the middles of equal parts of their range, so that all sizes and depths are seen early. Trials
    of equal cost come in turn.
    """
    space = spec.search
    smallest = space.image_size[0]
    places = [(size, backbone.name) for size in space.image_size for backbone in space.backbones]
    trials: list[tuple[tuple[int, int, int], dict[str, Any]]] = []
    for kind, count in lacking.items():
        first = advised(space, smallest).get(kind)
        if first is not None and counted[kind] == count and not outside(as_params(first, spec), spec):
            trials.append(((smallest, -first.frozen, 0), as_planned(first, spec)))
            count -= 1
        for turn in range(count):
            params: dict[str, Any] = {"strategy": kind}
            size, backbone = places[turn % len(places)]
            if len(space.backbones) > 1:
                params["backbone"] = backbone
            if len(space.image_size) > 1:
                params["image_size"] = size
            frozen, _ = depths(kind, len(space.backbone(backbone).stages))
            if kind == "freeze_first_k":
                low, high = depth_range(kind, backbone, spec)
                frozen = params[depth_name(kind, backbone)] = round(high - (turn + 0.5) / count * (high - low))
            trials.append(((size, -frozen, turn + 1), params))
    return [params for _, params in sorted(trials, key=itemgetter(0))]
