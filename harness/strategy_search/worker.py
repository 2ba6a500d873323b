"""A worker: claims waiting trials of a study one after the other, runs them and records them."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from harness.core.clock import NO_LIMIT, TimeLimit
from harness.core.errors import StorageError
from harness.core.results import Checkpoint, TrialResult
from harness.core.strategy import Strategy
from harness.storage.database import retry_while_unavailable
from harness.storage.heartbeat import Watch
from harness.storage.store import Store
from harness.storage.tickets import Ticket, TicketLost
from harness.storage.trials import TrialStart
from harness.strategy_search.history import History
from harness.strategy_search.judge import Judge
from harness.strategy_search.runtime import RECENT, Forecast
from harness.strategy_search.sampler import Sampler, trial_seed
from harness.strategy_search.space import as_planned, from_params
from harness.training.problem import Problem
from harness.training.trial import run_trial

log = logging.getLogger(__name__)

MAX_RETRIES = 2
"""How often a trial whose process died is started again before it counts as failed."""

LARGEST_SHARE = 1 / 3
"""A trial that is predicted to take a larger share of the time limit is not run."""

_IDLE = 1.0  # seconds between looks of a worker that waits for the trials of others

OnTrial = Callable[[int, Strategy, TrialResult], None]
"""Callback(number, strategy, result), called after each trial of this process."""


class Worker:
    """Claims waiting trials of one study one after the other, runs and records them."""

    def __init__(
        self,
        store: Store,
        problems: Mapping[str, Problem],
        session: int,
        advance: Callable[[Checkpoint], None],
        limit: TimeLimit = NO_LIMIT,
    ) -> None:
        """``problems`` are the study on each of its backbones; ``session`` is this process's session in the store;
        ``advance`` is called with every checkpoint."""
        self._store = store
        self._problems = problems
        self._spec = next(problem.spec for problem in problems.values())
        self._sampler = Sampler(self._spec)
        self._session = session
        self._advance = advance
        self._limit = limit
        self._too_long: set[int] = set()  # trials that would take more than what is left of the limit
        self._watch = Watch(store, self._spec.name)
        self._running: int | None = None

    @cached_property
    def _device(self) -> str:
        """The device that this process computes on."""
        sessions = self._store.sessions.frame(self._spec.name)
        return str(sessions.loc[sessions["id"] == self._session, "device"].iloc[0])

    @cached_property
    def _history(self) -> History:
        return History(self._store, self._spec)

    def run(self, on_trial: OnTrial, *, stop: Callable[[], bool]) -> None:
        """Run trials until all that were asked for are finished, or ``stop`` says so before a new one.

        With a time limit, a trial that is predicted to take more than what is left of it waits for another run, and
        the next one is looked at.

        When no trial is left to claim, it waits for those that others run, and takes over what a lost process leaves.
        When an exception ends it (Ctrl-C, a bug, a storage that fails), the running trial is put back where the storage
        still answers, and nothing recorded is lost.
        """
        try:
            retry_while_unavailable(self._watch.recover)
            while self._limit.left > 0 and not stop():
                ticket = retry_while_unavailable(self._claim)
                if ticket is None:
                    if len(self._too_long) > 0 or retry_while_unavailable(self._all_finished):
                        return
                    time.sleep(_IDLE)
                    continue
                try:
                    ended = self._run(ticket)
                    if ended is None:
                        self._release()
                        self._too_long.add(ticket.number)
                        continue
                    on_trial(ticket.number, *ended)
                except TicketLost as lost:
                    log.warning("%s: this process was taken for dead and its result is dropped", lost)
                    retry_while_unavailable(lambda: self._store.sessions.record_heartbeat(self._session))
                self._running = None
        except BaseException:
            self._release()
            raise

    def _claim(self) -> Ticket | None:
        name, trials = self._spec.name, self._spec.budget.trials
        ticket = self._store.tickets.claim(name, self._session, trials, without=self._too_long)
        self._running = None if ticket is None else ticket.number
        return ticket

    def _all_finished(self) -> bool:
        self._watch.recover()
        return self._store.tickets.counts(self._spec.name).finished >= self._spec.budget.trials

    def _run(self, ticket: Ticket) -> tuple[Strategy, TrialResult] | None:
        """Run the trial and record its result; None where it takes more time than is left."""
        store, name, number = self._store, self._spec.name, ticket.number
        seed = trial_seed(self._spec.seed, number)
        strategy, predicted = retry_while_unavailable(lambda: self._begin(ticket, seed))
        limit = self._limit.seconds
        if predicted is not None and self._limit.left < predicted <= LARGEST_SHARE * limit:
            return None
        problem = self._problems[strategy.backbone]
        planned = problem.spent(strategy, self._spec.budget.epochs_of(strategy))
        if ticket.retries > MAX_RETRIES:
            died = f"its process died {ticket.retries} times in this trial"
            result = TrialResult.not_run("failed", died, planned)
        elif too_large := self._too_large(strategy):
            result = TrialResult.not_run("over_budget", too_large, planned)
        elif predicted is not None and predicted > LARGEST_SHARE * limit:
            reason = f"predicted to take {predicted:.0f} s, more than a third of the time limit of {limit:.0f} s"
            result = TrialResult.not_run("over_budget", reason, planned)
        else:
            judge = Judge(self._history, problem, strategy)

            def on_checkpoint(curve: Sequence[Checkpoint]) -> str | None:
                retry_while_unavailable(
                    lambda: store.trials.record_checkpoint(name, number, curve[-1], session=self._session)
                )
                self._advance(curve[-1])
                return judge.verdict(curve)

            result = run_trial(strategy, problem, seed=seed, on_checkpoint=on_checkpoint)

        retry_while_unavailable(lambda: store.trials.end(name, number, result, session=self._session))
        return strategy, result

    def _begin(self, ticket: Ticket, seed: int) -> tuple[Strategy, float | None]:
        """Draw the trial's strategy and record that it starts; return it with the seconds it is predicted to take.

        A trial that has begun before keeps its strategy.
        """
        spec, number, params = self._spec, ticket.number, ticket.planned.params
        self._history.read()
        notes: dict[str, Any] = {}
        if ticket.begun:
            strategy = from_params(params, spec)
        else:
            if ticket.planned.origin == "advice":
                params = self._within_the_limit(params)
            strategy, params, notes = self._sampler.draw(number, params, self._history)
        planned = self._problems[strategy.backbone].spent(strategy, spec.budget.epochs_of(strategy))
        predicted = self._predicted(strategy)
        start = TrialStart(
            strategy, ticket.planned.origin, seed, planned.train_flops, predicted, planned.rated_seconds, params, notes
        )
        self._store.trials.begin(spec.name, number, start, session=self._session)
        return strategy, predicted

    def _within_the_limit(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters of the advice at the largest size, up to its own, at which it does not take too large a
        share of the time limit: a search that does not try it has nothing to compare with. Where it takes too long at
        every size they stay as they are."""
        advice = from_params(params, self._spec)
        for size in reversed(self._spec.search.image_size):
            sized = replace(advice, image_size=size)
            if size <= advice.image_size and (self._predicted(sized) or 0.0) <= LARGEST_SHARE * self._limit.seconds:
                if size < advice.image_size:
                    log.warning(
                        "the advice is tried at %d px: at %d it takes more than a third of the time limit of %.0f s",
                        size, advice.image_size, self._limit.seconds,
                    )  # fmt: skip
                return as_planned(sized, self._spec)
        return params

    def _predicted(self, strategy: Strategy) -> float | None:
        """Predict the seconds of a whole trial here, from what trials and baselines on such a device took; before there
        are any, by the study's rates, or None where it has none."""
        store, name, spec = self._store, self._spec.name, self._spec
        problem, epochs = self._problems[strategy.backbone], spec.budget.epochs_of(strategy)
        trials = [
            row for row in store.trials.recent(name, self._device, RECENT) if row["backbone"] == strategy.backbone
        ]
        baselines = store.baselines.measured_on(name, self._device)
        if strategy.backbone != spec.search.backbones[0].name:
            baselines = [row for row in baselines if row["name"] != "linear_probe"]  # which is on the first backbone
        forecast = Forecast.fit(problem.setting, trials, baselines)
        if forecast is not None:
            return forecast.seconds(strategy, epochs)
        rated = problem.spent(strategy, epochs).rated_seconds
        return None if math.isnan(rated) else rated

    def _too_large(self, strategy: Strategy) -> str:
        """Return a reason not to start, or "": a trial that needs no more memory ran out of it on such a device."""
        for past in self._history.out_of_memory(self._device):
            if strategy.needs_memory_of(past.strategy):
                return f"needs at least the memory of trial {past.number}, which ran out of it"
        return ""

    def _release(self) -> None:
        if self._running is None:
            return
        try:
            self._store.tickets.give_back(self._spec.name, self._running, session=self._session)
        except StorageError as error:  # what brought us here says more; the ticket is taken back from a dead session
            log.warning("trial %d could not be given back: %s", self._running, error)
        self._running = None
