"""Asking Optuna's sampler for the next trial.

Optuna keeps nothing: for each trial it is shown a study in memory, made of the history in our tables.
"""

import hashlib
import math
import random
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from harness.core.results import Status
from harness.core.spec import StudySpec
from harness.core.strategy import Strategy
from harness.statistics.pareto import fronts
from harness.strategy_search.history import History, Past
from harness.strategy_search.space import as_params, distributions, refine, suggest, unsearched

MOST_SHOWN = 200
"""How many finished trials the sampler is shown at most: what it takes grows with them. docs/notes/sampler.md has what
fewer cost."""

_STATES: dict[Status, TrialState] = {
    "complete": TrialState.COMPLETE, "failed": TrialState.FAIL, "out_of_memory": TrialState.FAIL,
}  # fmt: skip

optuna.logging.set_verbosity(optuna.logging.WARNING)  # progress is ours to show


class Sampler:
    """Draws the strategies of a study's trials."""

    def __init__(self, spec: StudySpec, most_shown: int = MOST_SHOWN) -> None:
        """``most_shown`` finished trials are shown to Optuna's sampler at most."""
        self._spec, self._most_shown = spec, most_shown
        self._trials: dict[int, FrozenTrial] = {}  # finished ones as Optuna takes them

    def draw(
        self, number: int, fixed: Mapping[str, Any], history: History
    ) -> tuple[Strategy, dict[str, Any], dict[str, Any]]:
        """Draw the strategy of trial ``number`` with the ``fixed`` parameters, from the other trials' ``history``.

        Trials that others run are shown too, so that it is not drawn twice.

        Returns:
            The strategy, its parameters, and what the sampler notes on the trial.
        """
        spec = self._spec
        shown = choose(history.finished.values(), trial_seed(spec.seed, number), self._most_shown)
        shown += [past for past in history.running.values() if past.number != number]
        with experimental():
            study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler(spec, number))
            study.add_trials(self._as_trial(past) for past in sorted(shown, key=attrgetter("number")))
            study.enqueue_trial(dict(fixed))
            trial = study.ask()
            strategy = refine(suggest(trial, spec), fixed, spec)
        notes = study.get_trials(deepcopy=False)[trial.number].system_attrs
        return strategy, {**trial.params, **unsearched(strategy, spec)}, notes

    def _as_trial(self, past: Past) -> FrozenTrial:
        if past.status is None:
            return as_trial(past, self._spec)
        if past.number not in self._trials:
            self._trials[past.number] = as_trial(past, self._spec)
        return self._trials[past.number]


def choose(finished: Iterable[Past], seed: int, most: int) -> list[Past]:
    """Return which of the ``finished`` trials the sampler is shown, by number; ``seed`` draws among them.

    These are all that it learns from while they are ``most`` or fewer. Of more they are a sample of the best tenth, for
    a tenth of the places, and a sample of the others: TPE takes the best tenth of what it is shown as good and avoids
    the others, so each trial counts as what it would be if all were shown. Best is the front, then the front of the
    others, and so on, as for TPE.
    """
    learnt = sorted((past for past in finished if _state(past) != TrialState.FAIL), key=attrgetter("number"))
    if len(learnt) <= most:
        return learnt
    draws = random.Random(seed)
    best = _best(learnt, math.ceil(len(learnt) / 10), draws)
    shown = draws.sample(best, min(len(best), math.ceil(most / 10)))
    others = sorted(set(range(len(learnt))).difference(best))
    shown += draws.sample(others, most - len(shown))
    return [learnt[place] for place in sorted(shown)]


def _best(learnt: Sequence[Past], wanted: int, draws: random.Random) -> list[int]:
    """Return the places of the best complete trials, ``wanted`` at most: a front after the other, of the last one that
    is needed some."""
    reached = [(past.cost, past.score) if past.status == "complete" else (math.nan, math.nan) for past in learnt]
    costs, scores = np.array(reached, np.float64).T
    best: list[int] = []
    for on in fronts(costs, scores):
        places = wanted - len(best)
        if len(on) >= places:
            return best + draws.sample(on, places)
        best += on
    return best


def as_trial(past: Past, spec: StudySpec) -> FrozenTrial:
    """Return a trial as Optuna has it. One that was stopped early is PRUNED there, so that it has no values to compare;
    of one over budget it knows that it was not feasible."""
    params = as_params(past.strategy, spec)
    return create_trial(
        state=_state(past),
        params=params,
        distributions=distributions(params, spec),
        values=[past.score, past.cost] if past.status == "complete" and past.score is not None else None,
        constraints={"budget": 1.0} if past.status == "over_budget" else None,
        system_attrs=past.notes,
    )


def _state(past: Past) -> TrialState:
    if past.status is None:
        return TrialState.RUNNING
    return _STATES.get(past.status, TrialState.PRUNED)


def sampler(spec: StudySpec, number: int) -> BaseSampler:
    """Return the study's sampler, seeded by the trial's number: a fixed seed would repeat points on resume and in every
    worker."""
    seed = trial_seed(spec.seed, number) ^ 0x5EED
    kind: type[BaseSampler] = getattr(optuna.samplers, spec.search.sampler.rpartition(".")[2])
    with experimental():
        if kind is TPESampler:
            return TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=10)
        return kind(seed=seed)  # type: ignore[call-arg]  # those that a study may name have one


@contextmanager
def experimental() -> Iterator[None]:
    """Silence Optuna's warnings about experimental features: its version is bounded, and users can do nothing about
    them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def trial_seed(base: int, number: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{base}/{number}".encode()).digest()[:4], "little") >> 1
