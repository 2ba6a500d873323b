"""The tickets: who may run which trial."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from harness.storage import tables
from harness.storage.queries import now, read

_session, _ticket, _trial = tables.session, tables.ticket, tables.trial
_Statement = TypeVar("_Statement", sa.Update, sa.Select[Any])


@dataclass(frozen=True, slots=True)
class Ticket:
    """The right to run trial ``number``; ``retries`` is how often a process that had it was lost."""

    number: int
    retries: int


class TicketLost(Exception):
    """The session was silent for too long and its trial was given to another, whose result counts."""


class Tickets:
    """The table ``harness_ticket``. No two sessions hold the ticket of the same trial."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, study: str, numbers: Iterable[int]) -> None:
        """Let the trials of these numbers be claimed. Those that already can be stay as they are."""
        with self._engine.begin() as connection:
            there = set(connection.scalars(sa.select(_ticket.c.number).where(_ticket.c.study == study)))
            rows = [{"study": study, "number": n, "session": None, "retries": 0} for n in numbers if n not in there]
            if rows:
                connection.execute(_ticket.insert(), rows)

    def claim(self, study: str, session: int, below: int, without: Collection[int] = ()) -> Ticket | None:
        """Claim the first free trial with a number under ``below`` for the session, ``without`` those of some numbers.

        A session that holds an unfinished trial gets that one again, so that a claim can be repeated when its answer
        was lost with the connection.

        Returns:
            The ticket, None where no trial is free.
        """
        of_study = sa.and_(_ticket.c.study == study, _ticket.c.number < below)
        mine = sa.select(_ticket).where(of_study, _ticket.c.session == session, ~_finished)
        is_free = sa.and_(of_study, _ticket.c.session.is_(None), _ticket.c.number.not_in(without))
        free = sa.select(_ticket).where(is_free).order_by(_ticket.c.number).limit(1)
        with self._engine.begin() as connection:
            row = connection.execute(mine).first()
            if row is None:
                # A row that another session is about to take is skipped, so that many workers do not queue for it.
                # SQLite knows no row locks and needs none: a transaction keeps all other writers waiting.
                row = connection.execute(free.with_for_update(skip_locked=True)).first()
                if row is None:
                    return None
                connection.execute(_of_trial(_ticket.update(), study, row.number).values(session=session))
        return Ticket(row.number, row.retries)

    def give_back(self, study: str, number: int, *, session: int) -> None:
        """Let others claim the unfinished trial that this session holds. Where it holds none, nothing happens."""
        held = _of_trial(_ticket.update(), study, number).where(_ticket.c.session == session, ~_finished)
        with self._engine.begin() as connection:
            if connection.execute(held.values(session=None)).rowcount:
                connection.execute(_trial.delete().where(is_unfinished(study, number)))

    def release_dead_session(self, study: str, session: int) -> list[int]:
        """End a session whose process is gone as ``killed``, and let others claim the trials that it held.

        Returns:
            The numbers of those trials; each has one retry more.
        """
        held = sa.and_(_ticket.c.study == study, _ticket.c.session == session, ~_finished)
        with self._engine.begin() as connection:
            ended = {"ended_at": now(), "outcome": "killed"}
            connection.execute(_session.update().where(_session.c.id == session).values(ended))
            # The rows are locked first: the holder may be about to record its result after all.
            numbers = sorted(connection.scalars(sa.select(_ticket.c.number).where(held).with_for_update()))
            for number in numbers:
                again = {"session": None, "retries": _ticket.c.retries + 1}
                freed = connection.execute(_of_trial(_ticket.update(), study, number).where(held).values(again))
                if freed.rowcount:
                    connection.execute(_trial.delete().where(is_unfinished(study, number)))
        return numbers

    def free_numbers(self, study: str) -> set[int]:
        """Return the numbers of the trials that no session has claimed."""
        free = sa.select(_ticket.c.number).where(_ticket.c.study == study, _ticket.c.session.is_(None))
        return {row.number for row in read(self._engine, free)}


def hold(connection: sa.Connection, study: str, number: int, session: int) -> None:
    """Keep the ticket with the session until the transaction of ``connection`` ends.

    Raises:
        TicketLost: The session does not hold it.
    """
    query = _of_trial(sa.select(_ticket.c.session), study, number).with_for_update()
    if connection.scalar(query) != session:
        raise TicketLost(f"trial {number} of study {study!r} is not session {session}'s to record")


def is_unfinished(study: str, number: int) -> sa.ColumnElement[bool]:
    """Return the condition for the row of ``harness_trial`` of that number, if it has not finished."""
    return sa.and_(_trial.c.study == study, _trial.c.number == number, _trial.c.status.is_(None))


_finished = sa.exists().where(
    _trial.c.study == _ticket.c.study, _trial.c.number == _ticket.c.number, _trial.c.status.is_not(None)
)


def _of_trial(statement: _Statement, study: str, number: int) -> _Statement:
    return statement.where(_ticket.c.study == study, _ticket.c.number == number)
