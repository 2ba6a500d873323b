"""Where the article's table is right: small searches over size and similarity, and the verdict on each scenario.

Everything here is recomputed from what the searches found. The boundaries between small and large, similar and not, are
arguments: who doubts one moves it.
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
    """What one trial of a small search found on ``n_validation`` images: ``accuracy`` for ``flops`` of training.

    The search ran on ``size`` images of ``dataset``, the first of an order that ``seed`` draws: they are nested.
    ``distance`` is the set's kernel distance to ImageNet and ``error`` its standard error. ``epochs`` it trained for.
    ``logme`` and ``h_score`` are those of the layer behind which it trained, None where all layers did.
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
    """A strategy at one place of the map: over the seeds its mean accuracy and what it cost, with its best ``k``."""

    kind: Kind
    k: int
    accuracy: float
    flops: float
    by_seed: dict[int, float]


@dataclass(frozen=True, slots=True)
class Place:
    """A data set at one size: its scenario, what the strategies reached, and by how much the advised one leads.

    ``tried`` holds each strategy once, the most accurate first, so that the first is the winner. ``lead`` is the
    advised strategy's accuracy less that of the best other, seed by seed: its regret where that is negative.
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
        """The strategy of the highest mean accuracy."""
        return self.tried[0]

    @property
    def right(self) -> bool:
        """Whether the advised strategy is the winner."""
        return self.winner.kind == self.advised

    @property
    def compute(self) -> float:
        """Training FLOPs of the best other strategy, in multiples of the advised one's."""
        other = next(tried for tried in self.tried if tried.kind != self.advised)
        return other.flops / next(tried for tried in self.tried if tried.kind == self.advised).flops


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the places of a scenario say of its advice.

    ``lead`` is the mean lead of the advised strategy, with its interval over the seeds: for these sets and sizes.
    ``across`` is the same with the sets as replicates: for other sets of the kind. None where no place is of the
    scenario.
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
    """The places of the map, by data set and size, that have the advised strategy and another.

    Of a strategy tried in several ways that which is best over all seeds counts, not each seed's luckiest. Seeds that
    lack one of the two are left out.
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
    """What the places say of each of the four scenarios, in the article's order."""
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
    whole = [fmean(leads) for leads in by_seed.values() if len(leads) == len(mine)]  # all places, or they are not alike
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
        """Those of these pairs."""
        from scipy.stats import kendalltau, spearmanr  # slow to import, and most pages have no use for it

        if len(set(one)) < 2 or len(set(other)) < 2:
            return cls(math.nan, math.nan, len(one))
        return cls(float(spearmanr(one, other).statistic), float(kendalltau(one, other).statistic), len(one))


@dataclass(frozen=True, slots=True)
class Choice:
    """A way to choose k before training: how often it hits the best of the tried k, and what it gives up in accuracy,
    over the seeds (each the mean of its cells)."""

    name: str
    hits: int
    cells: int
    regret: Interval


def choices(found: Sequence[Found]) -> tuple[Choice, ...]:
    """What the layer scores are worth for the choice of k, beside taking always the same one.

    A cell counts where two k or more that keep some layers frozen were tried, all scored.
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
    told = []
    for name, choose in ways.items():
        by_seed: dict[int, list[float]] = defaultdict(list)
        for (_, _, seed), cell in usable.items():
            if (chosen := choose(cell)) is not None:
                by_seed[seed].append(max(trial.accuracy for trial in cell.values()) - chosen.accuracy)
        regrets = [regret for mine in by_seed.values() for regret in mine]
        hits = sum(regret == 0 for regret in regrets)
        told.append(Choice(name, hits, len(regrets), Interval.of([fmean(mine) for mine in by_seed.values()])))
    return tuple(told)


def _at(k: int, cell: dict[int, Found]) -> Found | None:
    return cell.get(k)
