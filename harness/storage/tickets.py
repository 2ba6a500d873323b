"""The tickets: who may run which trial."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from harness.core.results import Origin
from harness.storage import tables
from harness.storage.queries import now, read

_session, _ticket, _trial = tables.session, tables.ticket, tables.trial
_Statement = TypeVar("_Statement", sa.Update, sa.Select[Any])


@dataclass(frozen=True, slots=True)
class Planned:
    """A trial that is to be run: where its strategy comes from, and the parameters that are fixed. The sampler draws
    the others."""

    origin: Origin = "sampler"
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ticket:
    """The right to run trial ``number``; ``retries`` is how often a process that had it was lost. If it has ``begun``
    before, ``planned`` has all of its parameters, so that it keeps them."""

    number: int
    retries: int
    planned: Planned = field(default_factory=Planned)
    begun: bool = False


@dataclass(frozen=True, slots=True)
class Counts:
    """How many trials of a study are planned, and how many of them have finished or are held by a session."""

    planned: int
    finished: int
    held: int

    @property
    def free(self) -> int:
        """How many wait to be claimed."""
        return self.planned - self.finished - self.held


class TicketLost(Exception):
    """The session was silent for too long and its trial was given to another, whose result counts."""


class Tickets:
    """The table ``harness_ticket``: the plan of a study, and who runs what. No two sessions hold the ticket of the same
    trial."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, study: str, trials: Sequence[Planned]) -> None:
        """Let these trials be claimed. They are numbered on from those that there are."""
        count = sa.select(sa.func.count()).where(_ticket.c.study == study)
        with self._engine.begin() as connection:
            first = int(connection.execute(count).scalar_one())
            rows = [
                {
                    "study": study, "number": number, "session": None, "retries": 0, "begun": False,
                    "finished": False, "origin": trial.origin, "params": trial.params,
                }
                for number, trial in enumerate(trials, start=first)
            ]  # fmt: skip
            if rows:
                connection.execute(_ticket.insert(), rows)

    def planned(self, study: str, *, unfinished: bool = False) -> list[Planned]:
        """Return all trials that are planned, by number; with ``unfinished`` without those that have finished."""
        query = sa.select(_ticket.c.origin, _ticket.c.params).where(_ticket.c.study == study)
        if unfinished:
            query = query.where(~_ticket.c.finished)
        return [Planned(row.origin, row.params) for row in read(self._engine, query.order_by(_ticket.c.number))]

    def counts(self, study: str) -> Counts:
        """Return how many trials are planned, finished and held."""
        unfinished = ~_ticket.c.finished
        columns: list[Any] = [
            sa.func.count().label("planned"),
            sa.func.count(sa.case((_ticket.c.finished, 1))).label("finished"),
            sa.func.count(sa.case((unfinished & _ticket.c.session.is_not(None), 1))).label("held"),
        ]
        (row,) = read(self._engine, sa.select(*columns).where(_ticket.c.study == study))
        return Counts(**row._asdict())

    def claim(self, study: str, session: int, below: int, without: Collection[int] = ()) -> Ticket | None:
        """Claim the first free trial with a number under ``below`` for the session, ``without`` those of some numbers.

        A session that holds an unfinished trial gets that one again, so that a claim can be repeated when its answer
        was lost with the connection.

        Returns:
            The ticket, None where no trial is free.
        """
        of_study = sa.and_(_ticket.c.study == study, _ticket.c.number < below)
        unfinished = sa.and_(of_study, ~_ticket.c.finished)
        mine = sa.select(_ticket).where(unfinished, _ticket.c.session == session)
        is_free = sa.and_(unfinished, _ticket.c.session.is_(None), _ticket.c.number.not_in(without))
        free = sa.select(_ticket).where(is_free).order_by(_ticket.c.number).limit(1)
        with self._engine.begin() as connection:
            row = connection.execute(mine).first()
            if row is None:
                # A row that another session is about to take is skipped, so that many workers do not queue for it.
                # SQLite knows no row locks and needs none: a transaction keeps all other writers waiting.
                row = connection.execute(free.with_for_update(skip_locked=True)).first()
                if row is None:
                    return None
                connection.execute(of_trial(_ticket.update(), study, row.number).values(session=session))
        return Ticket(row.number, row.retries, Planned(row.origin, row.params), row.begun)

    def give_back(self, study: str, number: int, *, session: int) -> None:
        """Let others claim the unfinished trial that this session holds. Where it holds none, nothing happens."""
        held = of_trial(_ticket.update(), study, number).where(_ticket.c.session == session, ~_ticket.c.finished)
        with self._engine.begin() as connection:
            if connection.execute(held.values(session=None)).rowcount:
                connection.execute(_trial.delete().where(is_unfinished(study, number)))

    def release_dead_session(self, study: str, session: int) -> list[int]:
        """End a session whose process is gone as ``killed``, and let others claim the trials that it held.

        Returns:
            The numbers of those trials; each has one retry more.
        """
        held = sa.and_(_ticket.c.study == study, _ticket.c.session == session, ~_ticket.c.finished)
        with self._engine.begin() as connection:
            ended = {"ended_at": now(), "outcome": "killed"}
            connection.execute(_session.update().where(_session.c.id == session).values(ended))
            # The rows are locked first: the holder may be about to record its result after all.
            numbers = sorted(connection.scalars(sa.select(_ticket.c.number).where(held).with_for_update()))
            for number in numbers:
                again = {"session": None, "retries": _ticket.c.retries + 1}
                freed = connection.execute(of_trial(_ticket.update(), study, number).where(held).values(again))
                if freed.rowcount:
                    connection.execute(_trial.delete().where(is_unfinished(study, number)))
        return numbers


def hold(connection: sa.Connection, study: str, number: int, session: int) -> None:
    """Keep the ticket with the session until the transaction of ``connection`` ends.

    Raises:
        TicketLost: The session does not hold it.
    """
    query = of_trial(sa.select(_ticket.c.session), study, number).with_for_update()
    if connection.scalar(query) != session:
        raise TicketLost(f"trial {number} of study {study!r} is not session {session}'s to record")


def is_unfinished(study: str, number: int) -> sa.ColumnElement[bool]:
    """Return the condition for the row of ``harness_trial`` of that number, if it has not finished."""
    return sa.and_(_trial.c.study == study, _trial.c.number == number, _trial.c.status.is_(None))


def of_trial(statement: _Statement, study: str, number: int) -> _Statement:
    """Limit a statement on tickets to that of one trial."""
    return statement.where(_ticket.c.study == study, _ticket.c.number == number)
