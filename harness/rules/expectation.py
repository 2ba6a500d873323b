"""What accuracy to expect of each arm on a data set: a ridge regression on the recorded outcomes on other sets.

The log odds of an arm's accuracy are linear in what is known of the data set: in the log odds of the probes' accuracies
(those of the features nearest to the arm, and the best of all), in the number of images and of those of a class, the
images' own size, the distance to ImageNet and the share of the largest class. Each arm has a constant of its own, and
each group of arms slopes of its own; both are shrunk towards those of all arms. How much is chosen on the given
outcomes alone, leaving out one set after another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from harness.core.strategy import VGG16, Strategy
from harness.rules.arms import TRAINED_SIZES
from harness.rules.outcomes import Outcomes
from harness.rules.profile import Probe, Probed

COVERAGE = 0.9
"""Of the intervals."""
_SHRINKAGE = tuple(product((0.3, 3.0), (1.0, 10.0, 100.0)))
"""Ridge weights that are tried: of the arms' constants and of the groups' slopes."""
_COMMON = 0.1
"""Ridge weight of what all arms share."""
_ODDS = 0.02
"""Added to both sides of an odds: an accuracy of 1 on a hundred images is no certainty."""
_N_GROUPS = 4
"""Of arms with slopes of their own, see `_groups`."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Expectation:
    """The expected accuracy of each arm on a data set, and its 90 % interval, each (arms,)."""

    accuracy: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Model:
    """A fitted regression. ``spread`` is, for each group of arms, how far the log odds of sets that were left out are
    from the expected ones, at most, in `COVERAGE` of them."""

    arms: tuple[Strategy, ...]
    lowest: Floats
    highest: Floats
    mean: Floats
    deviation: Floats
    weights: Floats
    spread: Floats

    def expect(self, probed: Probed) -> Expectation:
        """Return what to expect on a data set. What is known of it counts as within the range of the recorded sets."""
        known = np.clip(_figures([probed], self.arms), self.lowest, self.highest)
        figures = (known - self.mean) / self.deviation
        odds = (_design(figures, self.arms) @ self.weights)[0]
        half = self.spread[_groups(self.arms)]
        return Expectation(*(_share(value) for value in (odds, odds - half, odds + half)))


@cache
def learn(past: Outcomes) -> Model:
    """Fit the regression to the outcomes on two sets or more."""
    figures, odds = _figures(past.probed, past.arms), _odds(past.accuracy)
    there = ~np.isnan(odds)
    mean, deviation = figures.mean(axis=(0, 1)), figures.std(axis=(0, 1))
    deviation = np.where(deviation > 0, deviation, 1.0)
    design = _design((figures - mean) / deviation, past.arms)
    rows = [past.rows(name) for name in past.datasets]
    cells = [(design[of][there[of]], odds[of][there[of]]) for of in rows]
    # The normal equations of each set by itself, with weights so that all sets count alike.
    weight = [len(past.arms) / len(known) for _, known in cells]
    grams = np.array([w * known.T @ known for w, (known, _) in zip(weight, cells, strict=True)])
    targets = np.array([w * known.T @ found for w, (known, found) in zip(weight, cells, strict=True)])

    def errors(ridge: Floats) -> Floats:
        """Return observed minus expected log odds (places, arms), where each set was left out."""
        found = np.empty_like(odds)
        without = np.linalg.solve(
            grams.sum(axis=0) - grams + np.diag(ridge), (targets.sum(axis=0) - targets)[..., None]
        )
        for of, weights in zip(rows, without[..., 0], strict=True):
            found[of] = odds[of] - design[of] @ weights
        return found

    ridges = [_ridge(figures.shape[2], len(past.arms), *shrinkage) for shrinkage in _SHRINKAGE]
    tried = [errors(ridge) for ridge in ridges]
    best = min(range(len(tried)), key=lambda i: sum(float(np.nanmean(tried[i][of] ** 2)) for of in rows))
    weights = np.linalg.solve(grams.sum(axis=0) + np.diag(ridges[best]), targets.sum(axis=0))
    groups = _groups(past.arms)
    spread = np.zeros(_N_GROUPS)
    for group in np.unique(groups):
        spread[group] = _quantile([_known(np.abs(tried[best][of][:, groups == group])) for of in rows])
    lowest, highest = figures.min(axis=(0, 1)), figures.max(axis=(0, 1))
    return Model(past.arms, lowest, highest, mean, deviation, weights, spread)


def _figures(probed: Sequence[Probed], arms: Sequence[Strategy]) -> Floats:
    """Return what is known (places, arms, figures)."""
    rows = []
    for one in probed:
        best = max(probe.linear for probe in one.probes.values())
        nearest = max(probe.knn for probe in one.probes.values())
        common = [
            _odds(best), _odds(nearest), np.log(one.n_train / one.classes), one.distance, _odds(one.majority),
            np.log(one.own_size), np.log(one.n_train),
        ]  # fmt: skip
        own = [_nearest(one, arm) for arm in arms]
        rows.append([[_odds(probe.linear), _odds(probe.knn), *common] for probe in own])
    return np.array(rows, np.float64)


def _nearest(probed: Probed, arm: Strategy) -> Probe:
    """Return the probe of the features that an arm freezes, or else of the whole network at the nearest size."""
    if arm.place() in probed.probes:
        return probed.probes[arm.place()]
    size = min(TRAINED_SIZES, key=lambda size: abs(size - arm.image_size))
    network = "" if arm.backbone == VGG16 else f" of {arm.backbone}"
    return probed.probes[f"feature_extraction{network} at {size} px"]


def _design(figures: Floats, arms: Sequence[Strategy]) -> Floats:
    """Return the regressors (places, arms, d): a constant, the ``figures``, the arms' constants, the groups' slopes."""
    n_places, n_arms, _ = figures.shape
    groups = _groups(arms)
    slopes = [figures * (groups == group)[None, :, None] for group in range(1, _N_GROUPS)]
    constants = np.broadcast_to(np.eye(n_arms), (n_places, n_arms, n_arms))
    return np.concatenate([np.ones((n_places, n_arms, 1)), figures, constants, *slopes], axis=2)


def _ridge(n_figures: int, n_arms: int, of_arms: float, of_groups: float) -> Floats:
    """Return the ridge weights of the regressors."""
    return np.repeat([1e-6, _COMMON, of_arms, of_groups], [1, n_figures, n_arms, (_N_GROUPS - 1) * n_figures])


def _groups(arms: Sequence[Strategy]) -> NDArray[np.int64]:
    """Return the group of each arm: frozen, from scratch, or training VGG16's weights or another network's."""
    trained = {"feature_extraction": 0, "from_scratch": 1}
    return np.array([trained.get(arm.kind, 2 if arm.backbone == VGG16 else 3) for arm in arms], np.int64)


def _quantile(by_set: Sequence[Floats]) -> float:
    """Return what a new set exceeds in 1 - `COVERAGE` of cases, as split conformal prediction has it: sets alike."""
    values = np.concatenate(by_set)
    weights = np.concatenate([np.full(len(of), 1 / len(of)) for of in by_set])
    order = np.argsort(values)
    share = np.cumsum(weights[order]) / len(by_set)
    wanted = COVERAGE * (len(by_set) + 1) / len(by_set)
    return float(values[order][min(int(np.searchsorted(share, wanted)), len(values) - 1)])


def _known(values: Floats) -> Floats:
    return values[~np.isnan(values)]


def _odds(share: Floats | float) -> Floats:
    share = np.asarray(share, np.float64)
    return np.log((share + _ODDS) / (1 - share + _ODDS))


def _share(odds: Floats) -> Floats:
    return np.clip((1 + 2 * _ODDS) / (1 + np.exp(-odds)) - _ODDS, 0.0, 1.0)
