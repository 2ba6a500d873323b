"""The trials and their learning curves."""

import math
from dataclasses import asdict, dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from harness.core.results import Checkpoint, Origin, TrialResult
from harness.core.strategy import Strategy
from harness.storage import tables
from harness.storage.predictions import statements
from harness.storage.queries import Row, ending, frame, now, of_study, read
from harness.storage.tickets import hold, is_unfinished, of_trial

_trial, _checkpoint, _summary, _session = tables.trial, tables.checkpoint, tables.trial_summary, tables.session
_ticket = tables.ticket


@dataclass(frozen=True, slots=True)
class TrialStart:
    """What is known of a trial before it runs.

    ``planned_flops`` and ``planned_seconds`` (NaN without rates) are what its whole budget of epochs costs.
    ``predicted_seconds`` is what the whole trial is predicted to take here, None where there is nothing yet to predict
    from. ``params`` are the parameters of the strategy, which the trial keeps if it has to begin again, and
    ``sampler_notes`` what the sampler that drew them wants to know of it later.
    """

    strategy: Strategy
    origin: Origin
    seed: int
    planned_flops: float
    predicted_seconds: float | None = None
    planned_seconds: float = math.nan
    params: dict[str, Any] = field(default_factory=dict)
    sampler_notes: dict[str, Any] = field(default_factory=dict)


class Trials:
    """The tables ``harness_trial`` and ``harness_checkpoint``, and the view ``trial_summary``.

    A session writes to a trial only while it holds the trial's ticket. Else it gets TicketLost and nothing is written.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def begin(self, study: str, number: int, start: TrialStart, *, session: int) -> None:
        """Record that a trial starts, in place of an earlier attempt that did not finish and its checkpoints.

        Raises:
            TicketLost: The session does not hold the trial's ticket.
            sqlalchemy.exc.IntegrityError: The trial has finished.
        """
        row = {
            "study": study, "number": number, "session": session, "started_at": now(), **start.strategy.as_row(),
            "origin": start.origin, "seed": start.seed, "planned_flops": start.planned_flops,
            "planned_seconds": start.planned_seconds, "predicted_seconds": start.predicted_seconds,
            "sampler_notes": start.sampler_notes,
        }  # fmt: skip
        with self._engine.begin() as connection:
            hold(connection, study, number, session)
            connection.execute(of_trial(_ticket.update(), study, number).values(begun=True, params=start.params))
            connection.execute(_trial.delete().where(is_unfinished(study, number)))
            connection.execute(_trial.insert().values(row))

    def record_checkpoint(self, study: str, number: int, checkpoint: Checkpoint, *, session: int) -> None:
        """Record one point of a trial's learning curve, in place of an earlier record of the same epoch.

        Raises:
            TicketLost: The session does not hold the trial's ticket.
        """
        with self._engine.begin() as connection:
            hold(connection, study, number, session)
            there = (_checkpoint.c.study == study, _checkpoint.c.number == number)
            connection.execute(_checkpoint.delete().where(*there, _checkpoint.c.epoch == checkpoint.epoch))
            connection.execute(_checkpoint.insert().values(study=study, number=number, **asdict(checkpoint)))

    def end(self, study: str, number: int, result: TrialResult, *, session: int) -> None:
        """Record how a trial ended, with its predictions. What was recorded first stays, so that the call can be
        repeated.

        The curve of ``result`` is not written: `record_checkpoint` did that point by point.

        Raises:
            TicketLost: The session does not hold the trial's ticket.
            LookupError: The trial has not begun.
        """
        with self._engine.begin() as connection:
            hold(connection, study, number, session)
            ended = connection.execute(_trial.update().where(is_unfinished(study, number)).values(ending(result)))
            begun = connection.execute(of_study(_trial, study).where(_trial.c.number == number)).one_or_none()
            if begun is None:
                raise LookupError(f"study {study!r} has no running trial {number}")
            if ended.rowcount == 1:
                connection.execute(of_trial(_ticket.update(), study, number).values(finished=True))
                for statement in statements(study, f"trial {number}", result.predictions, seed=begun.seed):
                    connection.execute(statement)

    def frame(self, study: str) -> pd.DataFrame:
        """Return the finished trials by number: rows and columns of ``trial_summary``."""
        return frame(self._engine, of_study(_summary, study).order_by("number"))

    def recent(self, study: str, device: str, last: int) -> list[Row]:
        """Return the ``last`` trials that finished on such a ``device``, by number.

        They are rows of ``trial_summary``: this is read before each trial, and a frame takes ten times as long to make.
        """
        query = of_study(_summary, study).where(_summary.c.device == device)
        found = read(self._engine, query.order_by(_summary.c.number.desc()).limit(last))
        return [row._mapping for row in reversed(found)]

    def since(self, study: str, first: int) -> list[Row]:
        """Return the trials from number ``first`` on, running ones too: rows of ``harness_trial`` by number, with the
        ``device`` of their session."""
        query = sa.select(_trial, _session.c.device).join(_session, _session.c.id == _trial.c.session)
        found = read(self._engine, query.where(_trial.c.study == study, _trial.c.number >= first))
        return sorted((row._mapping for row in found), key=itemgetter("number"))

    def curves(self, study: str, first: int) -> dict[int, list[Checkpoint]]:
        """Return the learning curves of the trials from number ``first`` on, of running ones too."""
        columns = (_checkpoint.c[name] for name in Checkpoint.__slots__)
        query = sa.select(_checkpoint.c.number, *columns).where(_checkpoint.c.study == study)
        found = read(self._engine, query.where(_checkpoint.c.number >= first).order_by("number", "epoch"))
        points = (
            (number, Checkpoint(epoch, *(math.nan if value is None else value for value in values)))
            for number, epoch, *values in map(tuple, found)
        )
        return {number: [point for _, point in curve] for number, curve in groupby(points, key=itemgetter(0))}

    def checkpoints(self, study: str) -> pd.DataFrame:
        """Return every point of every learning curve, of running trials too, by trial number and epoch.

        Columns: study, number, epoch, train_flops, rated_seconds and train_seconds (all cumulative), train_loss,
        val_loss, val_accuracy, val_balanced_accuracy, val_macro_f1.
        """
        return frame(self._engine, of_study(_checkpoint, study).order_by("number", "epoch"))
