"""The league: how far behind the best arm every rule is, on data sets that it has not seen.

A rule chooses at each place knowing the outcomes on all other sets. Its regret is the accuracy of the best arm there
minus that of its choice; the best is selected and measured on the same images, which overstates every regret alike.
Sets count alike, however many places they have. Intervals are of the bootstrap over sets: what to expect of another set
of the kind.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from harness.core.strategy import Strategy
from harness.rules.outcomes import Outcomes
from harness.rules.rules import RULES, Rule

REFERENCE = "best constant"
"""The rule that others are compared with: what is known of a data set has to beat it."""
_RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over data sets and its 95 % interval: percentiles of the bootstrap over sets."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, by_set: NDArray[np.float64]) -> "Estimate":
        """Return the estimate from the mean of each set."""
        draws = np.random.default_rng(0).integers(len(by_set), size=(_RESAMPLES, len(by_set)))
        low, high = np.percentile(by_set[draws].mean(axis=1), [2.5, 97.5])
        return cls(float(by_set.mean()), float(low), float(high))


@dataclass(frozen=True)
class Standing:
    """How a rule did.

    Attributes:
        rule: The rule.
        chosen: Its choice at each place of the outcomes.
        regret: By data set, as a share of the images.
        behind: The mean regret.
        lead: By how much its regret is smaller than that of `REFERENCE`, paired by set.
        tflop: The training FLOPs of its choices, geometric mean.
        excess: These over the FLOPs of the cheapest arm that is as accurate, geometric mean.
    """

    rule: Rule
    chosen: tuple[Strategy, ...]
    regret: dict[str, float]
    behind: Estimate
    lead: Estimate
    tflop: float
    excess: float


@cache
def standings(outcomes: Outcomes) -> list[Standing]:
    """Return every rule and every constant, the smallest mean regret first.

    They are compared where every arm is recorded; the rules know the others of ``outcomes`` too. Rules that choose an
    arm which is not recorded are left out.
    """
    entered = [*RULES, *(Rule(arm.place(), "this arm, always", "nothing", _always(arm)) for arm in outcomes.arms)]
    choices = {rule: _play(rule, outcomes) for rule in entered if rule.possible(outcomes.arms)}
    reference = _regret(choices[next(rule for rule in RULES if rule.name == REFERENCE)], outcomes.complete)
    found = [_standing(rule, chosen, reference, outcomes.complete) for rule, chosen in choices.items()]
    return sorted(found, key=lambda standing: standing.behind.mean)


def trusted(table: Sequence[Standing]) -> Standing:
    """Return the rule to follow: the first of those that lead `REFERENCE` beyond their interval, else that."""
    ahead = [standing for standing in table if standing.lead.low > 0 and standing.rule in RULES]
    return ahead[0] if ahead else next(standing for standing in table if standing.rule.name == REFERENCE)


def _always(arm: Strategy) -> Callable[..., Strategy]:
    return lambda probed, past: arm


def _play(rule: Rule, outcomes: Outcomes) -> NDArray[np.int64]:
    """Return the column of the arm that ``rule`` chooses at each complete place, knowing the outcomes on all other
    sets."""
    where = outcomes.complete
    chosen = np.empty(len(where.places), np.int64)
    for dataset in where.datasets:
        past = outcomes.without(dataset)
        for row in where.rows(dataset):
            chosen[row] = where.arms.index(rule.choose(where.probed[row], past))
    return chosen


def _regret(chosen: NDArray[np.int64], outcomes: Outcomes) -> NDArray[np.float64]:
    """Return the mean regret on each set."""
    regret = outcomes.accuracy.max(axis=1) - outcomes.accuracy[np.arange(len(chosen)), chosen]
    return np.array([regret[outcomes.rows(name)].mean() for name in outcomes.datasets])


def _standing(rule: Rule, chosen: NDArray[np.int64], reference: NDArray[np.float64], outcomes: Outcomes) -> Standing:
    rows = np.arange(len(chosen))
    spent = outcomes.flops[rows, chosen]
    as_good = np.where(outcomes.accuracy >= outcomes.accuracy[rows, chosen][:, None], outcomes.flops, np.inf)
    regret = _regret(chosen, outcomes)
    return Standing(
        rule,
        tuple(outcomes.arms[column] for column in chosen.tolist()),
        dict(zip(outcomes.datasets, regret.tolist(), strict=True)),
        Estimate.of(regret),
        Estimate.of(reference - regret),
        _geometric_mean(spent) / 1e12,
        _geometric_mean(spent / as_good.min(axis=1)),
    )


def _geometric_mean(values: NDArray[np.float64]) -> float:
    return float(np.exp(np.log(values).mean()))
