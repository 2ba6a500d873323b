"""What the trials of a study have shown so far. A worker keeps it in memory and reads only what is new."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from harness.core.results import Status
from harness.core.spec import StudySpec
from harness.core.strategy import Strategy
from harness.storage.queries import Row
from harness.storage.store import Store
from harness.strategy_search.pruning import OtherCheckpoints, lowest_errors

COMPARABLE = ("complete", "pruned")
"""How trials ended whose curves say what to expect of others."""
MOST_COMPARED = 500
"""Of these trials, the latest: a percentile of their curves needs no more, and what it takes grows with them."""
_NONE = OtherCheckpoints.of([])


@dataclass(frozen=True, slots=True)
class Past:
    """A trial that has begun. ``status`` is None while it runs, and ``score`` where it has none; ``score`` and ``cost``
    are by the study's metric and measure. ``notes`` are the sampler's own."""

    number: int
    strategy: Strategy
    status: Status | None
    device: str
    score: float | None
    cost: float
    notes: dict[str, Any]

    @classmethod
    def of(cls, row: Row, spec: StudySpec) -> "Past":
        """Return the trial of a row of `harness.storage.trials.Trials.since`."""
        cost: float | None = row[spec.search.cost_measure.spent]
        return cls(
            number=row["number"],
            strategy=Strategy.from_row(row),
            status=row["status"],
            device=row["device"],
            score=row[f"val_{spec.metric}"],
            cost=math.nan if cost is None else cost,
            notes=row["sampler_notes"],
        )


class History:
    """The trials of one study: ``finished`` and ``running`` ones by number, and all their checkpoints.

    Finished trials never change and are read once. `read` costs the same however many there are.
    """

    def __init__(self, store: Store, spec: StudySpec) -> None:
        """Read what there is in the store of the study ``spec``."""
        self._store, self._spec = store, spec
        self.finished: dict[int, Past] = {}
        self.running: dict[int, Past] = {}
        self._first = 0  # all trials with lower numbers have finished
        self._points: dict[int, OtherCheckpoints] = {}  # by the epochs of a whole trial
        self._running_points: dict[int, OtherCheckpoints] = {}
        self._front = _NONE
        self._ended: dict[tuple[int, int], list[list[float]]] = {}
        self._out_of_memory: list[Past] = []
        self.read()

    def read(self) -> None:
        """Read what has changed since the last call."""
        name, cost, metric = self._spec.name, self._spec.search.cost_measure, self._spec.metric
        rows = [row for row in self._store.trials.since(name, self._first) if row["number"] not in self.finished]
        curves = self._store.trials.curves(name, self._first)
        self.running = {}
        finished: dict[int, list[tuple[int, float, float]]] = {}
        running: dict[int, list[tuple[int, float, float]]] = {}
        for row in rows:
            past = Past.of(row, self._spec)
            curve = curves.get(past.number, [])
            epochs = self._spec.budget.epochs_of(past.strategy)
            points = [(point.epoch, cost.of(point), point.score(metric)) for point in curve]
            if past.status is None:
                self.running[past.number] = past
                running.setdefault(epochs, []).extend(points)
                continue
            self.finished[past.number] = past
            finished.setdefault(epochs, []).extend(points)
            if past.status == "out_of_memory":
                self._out_of_memory.append(past)
            if past.status in COMPARABLE:
                head_epochs = past.strategy.head_epochs
                ended = self._ended.setdefault((head_epochs, epochs), [])
                ended.append(lowest_errors(curve[head_epochs:], metric))
        while self._first in self.finished:
            self._first += 1
        for epochs, found in finished.items():
            new = OtherCheckpoints.of(found)
            self._points[epochs] = self._points.get(epochs, _NONE) + new
            self._front = (self._front + new).front()
        self._running_points = {epochs: OtherCheckpoints.of(found) for epochs, found in running.items()}

    def checkpoints(self, epochs: int) -> OtherCheckpoints:
        """Return the checkpoints of all trials that have so many ``epochs`` as a whole, also of running ones."""
        return self._points.get(epochs, _NONE) + self._running_points.get(epochs, _NONE)

    def front(self) -> OtherCheckpoints:
        """Return the checkpoints that no other beats in both cost and score."""
        return sum(self._running_points.values(), start=self._front).front()

    def out_of_memory(self, device: str) -> list[Past]:
        """Return the trials that ran out of memory on such a ``device``, by number."""
        return sorted((past for past in self._out_of_memory if past.device == device), key=attrgetter("number"))

    def ended(self, head_epochs: int, epochs: int) -> Sequence[Sequence[float]]:
        """Return the lowest errors by epoch of the last phase of complete and pruned trials (see
        `harness.strategy_search.pruning.lowest_errors`) that had ``head_epochs`` epochs in their first phase, of
        ``epochs`` as a whole: the latest `MOST_COMPARED` of them."""
        return self._ended.get((head_epochs, epochs), [])[-MOST_COMPARED:]
