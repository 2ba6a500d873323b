"""Keeping N workers at work on one study, in whatever place they run."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from harness.storage.database import retry_while_unavailable
from harness.storage.store import Store
from harness.storage.tables import SECONDS
from harness.workers.progress import Progress, outcome

RESTARTS = 10
"""Workers that may die one after the other without a trial finished in between, for each worker."""

STOP_SECONDS = 60.0
"""Seconds that workers get to put back their trial when they are stopped."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ended:
    """A worker that has ended: having nothing left to do, or killed by ``death`` (a signal's name, a lost node)."""

    index: int
    death: str | None = None


class Pool(Protocol):
    """Where workers run: processes of this machine, or actors of a Ray cluster."""

    def start(self, index: int) -> None:
        """Start worker ``index``, counted from 0."""

    def wait(self) -> Sequence[Ended]:
        """Wait a second at most and return the workers that have ended since the last call.

        Raises HarnessError where one could not go on for a user error, RuntimeError where one ended with a bug.
        """

    def stop(self) -> None:
        """Have all workers put back their trial and end; return when they have, or after `STOP_SECONDS`."""


def supervise(pool: Pool, workers: int, *, count_finished: Callable[[], int]) -> None:
    """Keep ``workers`` workers of ``pool`` at work until none has anything left to do.

    A worker that is killed is started again; its trial is run again too. When this function is interrupted, or a
    worker ends with an error, all are stopped and put their trials back.

    Args:
        pool: where the workers run.
        workers: how many, 1 or more.
        count_finished: called about every second; returns the number of finished trials and may show them.

    Raises:
        HarnessError: a worker could not go on for a user error.
        RuntimeError: a worker ended with a bug, or workers only die.
    """
    running = workers
    try:
        for index in range(workers):
            pool.start(index)
        deaths, before = 0, count_finished()
        while running:
            ended = pool.wait()
            now = count_finished()
            if now > before:
                deaths, before = 0, now
            for worker in ended:
                if worker.death is None:
                    running -= 1
                    continue
                deaths += 1
                if deaths > RESTARTS * workers:
                    raise RuntimeError(f"{deaths} workers died and no trial was finished; the last of {worker.death}")
                log.warning("worker %d died of %s: it is started again", worker.index + 1, worker.death)
                pool.start(worker.index)
    finally:
        pool.stop()
    count_finished()


def follow(
    store: Store, name: str, progress: Progress, on_finished: Callable[[], None] = lambda: None
) -> Callable[[], int]:
    """Return a `supervise` callback that shows the trials of the study ``name`` that have finished since its last call,
    whoever ran them. If there are any, it calls ``on_finished`` after them."""
    seen = set(retry_while_unavailable(lambda: store.trials.frame(name))["number"])
    begun = retry_while_unavailable(lambda: store.studies.get(name))
    metric = begun.metric

    def count_finished() -> int:
        if retry_while_unavailable(lambda: store.tickets.counts(name)).finished > len(seen):
            first = next(number for number in count() if number not in seen)
            for row in retry_while_unavailable(lambda: store.trials.since(name, first)):
                if row["status"] is not None and row["number"] not in seen:
                    seen.add(row["number"])
                    how = outcome(row["status"], metric, row[f"val_{metric}"], sum(row[part] for part in SECONDS))
                    progress.trial(row["number"], row["strategy"], how)
            on_finished()
        return len(seen)

    return count_finished
