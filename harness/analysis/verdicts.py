"""Decide where the article's table is right: small searches over size and similarity, a verdict on each scenario.

Everything is computed from the results of the searches. The boundaries between small and large, and between similar and
not similar, are arguments, so that others can be tried.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

from harness.core.spec import AdviceSpec
from harness.core.strategy import Kind
from harness.guidance.advice import SCENARIOS
from harness.statistics.intervals import Interval


@dataclass(frozen=True, slots=True)
class Found:
    """The result of one trial of a small search: ``accuracy`` on ``n_validation`` images for ``flops`` of training.

    The search ran on the first ``size`` images of ``dataset`` in an order drawn with ``seed``: smaller sizes are
    subsets of larger ones. ``distance`` is the data set's kernel distance to ImageNet and ``error`` its standard error.
    The trial trained for ``epochs``. ``logme`` and ``h_score`` are those of the activations after the last frozen
    convolution, None where no layer was frozen.
    """

    dataset: str
    size: int
    seed: int
    distance: float
    error: float
    kind: Kind
    k: int
    learning_rate: float
    accuracy: float
    flops: float
    epochs: int
    n_validation: int
    logme: float | None = None
    h_score: float | None = None


@dataclass(frozen=True, slots=True)
class Tried:
    """A strategy at one place of the map, with its best ``k``: mean accuracy and mean cost over the seeds."""

    kind: Kind
    k: int
    accuracy: float
    flops: float
    by_seed: dict[int, float]


@dataclass(frozen=True, slots=True)
class Place:
    """A data set at one size: its scenario, the results of the strategies, and the lead of the advised one.

    ``tried`` has each strategy once, the most accurate first: the winner. ``lead`` is the advised strategy's accuracy
    minus that of the best other one, by seed; where it is negative, it is the regret of the advice.
    """

    dataset: str
    size: int
    distance: float
    error: float
    scenario: int
    advised: Kind
    tried: tuple[Tried, ...]
    lead: Interval
    n_validation: int

    @property
    def winner(self) -> Tried:
        """The strategy with the highest mean accuracy."""
        return self.tried[0]

    @property
    def right(self) -> bool:
        """Whether the advised strategy is the winner."""
        return self.winner.kind == self.advised

    @property
    def compute(self) -> float:
        """Training FLOPs of the best other strategy as a multiple of those of the advised one."""
        other = next(tried for tried in self.tried if tried.kind != self.advised)
        return other.flops / next(tried for tried in self.tried if tried.kind == self.advised).flops


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the advice of a scenario holds at its places.

    ``lead`` is the mean lead of the advised strategy with its interval over the seeds: it holds for these data sets and
    sizes. ``across`` has the data sets as replicates: it holds for other data sets of the kind. Both are None where the
    scenario has no place.
    """

    scenario: int
    advised: Kind
    places: tuple[Place, ...]
    lead: Interval | None
    across: Interval | None

    @property
    def word(self) -> str:
        """``holds``, ``does not hold`` or ``undecided``, by the interval over the seeds."""
        if self.lead is None or self.lead.low <= 0 <= self.lead.high:
            return "undecided"
        return "holds" if self.lead.low > 0 else "does not hold"


def places(found: Sequence[Found], boundaries: AdviceSpec) -> tuple[Place, ...]:
    """Return the places of the map, by data set and size, that have the advised strategy and another one.

    Where a strategy was tried in several ways, the one that is best over all seeds counts, not the best of each seed.
    Seeds that lack one of the two strategies are left out.
    """
    groups: dict[tuple[str, int], list[Found]] = defaultdict(list)
    for trial in found:
        groups[trial.dataset, trial.size].append(trial)
    placed = [_place(trials, boundaries) for _, trials in sorted(groups.items())]
    return tuple(place for place in placed if place is not None)


def _place(found: Sequence[Found], boundaries: AdviceSpec) -> Place | None:
    ways: dict[tuple[Kind, int, float], dict[int, Found]] = defaultdict(dict)
    for trial in found:
        ways[trial.kind, trial.k, trial.learning_rate][trial.seed] = trial
    best: dict[Kind, Tried] = {}
    for (kind, k, _), trials in ways.items():
        accuracies = {seed: trial.accuracy for seed, trial in sorted(trials.items())}
        tried = Tried(kind, k, fmean(accuracies.values()), fmean(t.flops for t in trials.values()), accuracies)
        if kind not in best or tried.accuracy > best[kind].accuracy:
            best[kind] = tried
    first = found[0]
    scenario, advised = SCENARIOS[first.size >= boundaries.large_at, first.distance < boundaries.similar_below]
    ranked = tuple(sorted(best.values(), key=lambda tried: (-tried.accuracy, tried.flops)))
    others = [tried for tried in ranked if tried.kind != advised]
    if advised not in best or not others:
        return None
    mine, rival = best[advised].by_seed, others[0].by_seed
    leads = [mine[seed] - rival[seed] for seed in mine if seed in rival]
    if not leads:
        return None
    where = (first.dataset, first.size, first.distance, first.error, scenario, advised)
    return Place(*where, ranked, Interval.of(leads), first.n_validation)


def verdicts(placed: Sequence[Place]) -> tuple[Verdict, ...]:
    """Return the verdict on each of the four scenarios, in the article's order."""
    return tuple(
        _verdict(scenario, advised, [place for place in placed if place.scenario == scenario])
        for scenario, advised in sorted(SCENARIOS.values())
    )


def _verdict(scenario: int, advised: Kind, mine: Sequence[Place]) -> Verdict:
    if not mine:
        return Verdict(scenario, advised, (), None, None)
    by_seed: dict[int, list[float]] = defaultdict(list)
    by_set: dict[str, list[float]] = defaultdict(list)
    for place in mine:
        own = next(tried for tried in place.tried if tried.kind == advised).by_seed
        rival = next(tried for tried in place.tried if tried.kind != advised).by_seed
        for seed in own.keys() & rival.keys():
            by_seed[seed].append(own[seed] - rival[seed])
        by_set[place.dataset].append(place.lead.mean)
    whole = [
        fmean(leads) for leads in by_seed.values() if len(leads) == len(mine)
    ]  # seeds without all places are no replicates
    lead = Interval.of(whole or [fmean(place.lead.mean for place in mine)])
    return Verdict(scenario, advised, tuple(mine), lead, Interval.of([fmean(leads) for leads in by_set.values()]))


@dataclass(frozen=True, slots=True)
class Correlation:
    """Rank correlations over ``n`` pairs: Spearman's rho and Kendall's tau-b; NaN where one side is constant."""

    spearman: float
    kendall: float
    n: int

    @classmethod
    def of(cls, one: Sequence[float], other: Sequence[float]) -> "Correlation":
        """Return the correlations of these pairs."""
        from scipy.stats import kendalltau, spearmanr  # slow to import, and few pages need it

        if len(set(one)) < 2 or len(set(other)) < 2:
            return cls(math.nan, math.nan, len(one))
        return cls(float(spearmanr(one, other).statistic), float(kendalltau(one, other).statistic), len(one))


@dataclass(frozen=True, slots=True)
class Choice:
    """A way to choose k before training: how often it chose the best k that was tried, and its regret in accuracy.

    The replicates of the regret are the seeds, each the mean of its cells.
    """

    name: str
    hits: int
    cells: int
    regret: Interval


def choices(found: Sequence[Found]) -> tuple[Choice, ...]:
    """Return how well layer scores choose k, compared with always taking the same k.

    A cell (data set, size, seed) counts where at least two k with frozen layers were tried, all with scores.
    """
    cells: dict[tuple[str, int, int], dict[int, Found]] = defaultdict(dict)
    for trial in found:
        cell = cells[trial.dataset, trial.size, trial.seed]
        if trial.logme is not None and (trial.k not in cell or trial.accuracy > cell[trial.k].accuracy):
            cell[trial.k] = trial
    usable = {where: cell for where, cell in cells.items() if len(cell) > 1}
    if not usable:
        return ()
    ways: dict[str, Callable[[dict[int, Found]], Found | None]] = {
        "the k of the highest LogME": lambda cell: max(cell.values(), key=lambda trial: trial.logme or 0.0),
        "the k of the highest H-score": lambda cell: max(cell.values(), key=lambda trial: trial.h_score or 0.0),
    }
    for k in sorted({k for cell in usable.values() for k in cell}):
        ways[f"always k = {k}"] = partial(_at, k)
    results = []
    for name, choose in ways.items():
        by_seed: dict[int, list[float]] = defaultdict(list)
        for (_, _, seed), cell in usable.items():
            if (chosen := choose(cell)) is not None:
                by_seed[seed].append(max(trial.accuracy for trial in cell.values()) - chosen.accuracy)
        regrets = [regret for mine in by_seed.values() for regret in mine]
        hits = sum(regret == 0 for regret in regrets)
        results.append(Choice(name, hits, len(regrets), Interval.of([fmean(mine) for mine in by_seed.values()])))
    return tuple(results)


def _at(k: int, cell: dict[int, Found]) -> Found | None:
    return cell.get(k)
