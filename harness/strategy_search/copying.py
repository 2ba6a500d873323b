"""Copying a whole study from one database to another, of the same kind or not."""

import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from harness.core.errors import StorageError
from harness.core.processes import host
from harness.storage import tables
from harness.storage.heartbeat import BEAT, DEAD_AFTER, Watch
from harness.storage.sessions import SessionRow
from harness.storage.store import Store
from harness.strategy_search.mirror import mirror

log = logging.getLogger(__name__)


def copy_study(source: Store, target: Store, name: str, new_name: str | None = None) -> None:
    """Copy every row of the study ``name`` to ``target``, optionally under a ``new_name``, and show it to Optuna there.

    Sessions get new ids, which their rows follow; all else stays. All of it is copied or nothing. Raises StorageError
    where the target has a study of that name.
    """
    new_name = new_name or name
    with target.one_at_a_time():
        there = target.studies.find(new_name) is not None or target.is_known_to_optuna(new_name)
    if there:
        raise StorageError(f"there is already a study {new_name!r} in the target: import it --as another name")
    with source.engine.connect() as reading:
        found = _rows(reading, name)
    with target.engine.begin() as writing:  # the two may be one file, which cannot be read and written at once
        _write(writing, found, new_name)
    mirror(target, new_name)


def _rows(reading: sa.Connection, name: str) -> dict[sa.Table, Sequence[sa.Row[Any]]]:
    """Return the rows of a study, of each table; those that others refer to come first."""
    return {
        table: reading.execute(table.select().where(_owner(table) == name).order_by(*table.primary_key)).all()
        for table in tables.metadata.sorted_tables
    }


def _write(writing: sa.Connection, rows: Mapping[sa.Table, Sequence[sa.Row[Any]]], new_name: str) -> None:
    sessions: dict[int, int] = {}
    for table, of_table in rows.items():
        for found in of_table:
            row: dict[str, Any] = {**dict(zip(table.c.keys(), found, strict=True)), _owner(table).key: new_name}
            if table is tables.study:
                row["spec"] = {**row["spec"], "name": new_name}
            if row.get("session") is not None:
                row["session"] = sessions[row["session"]]
            if table is tables.session:
                old = row.pop("id")
                sessions[old] = writing.execute(table.insert().values(row).returning(table.c.id)).scalar_one()
            else:
                writing.execute(table.insert().values(row))


def _owner(table: sa.Table) -> sa.Column[Any]:
    """Return the column that names the study."""
    return table.c["study" if "study" in table.c else "name"]


def nobody_works_on(store: Store, name: str, *, before: float = math.inf) -> None:
    """Raise StorageError where a process still works on the study: what it writes would be lost.

    Only sessions ``before`` the one of that id count: of processes that record a session first and then look, one finds
    nobody. Whether a process of another machine, or of another boot of this one, is alive takes up to two minutes to
    find out.
    """
    watch = Watch(store, name)
    first = {session.id: session.last_seen for session in store.sessions.unfinished(name)}
    for look in range(DEAD_AFTER + 1):
        watch.recover()
        sessions = [session for session in store.sessions.unfinished(name) if session.id < before]
        alive = [
            session for session in sessions if session.host == host() or session.last_seen != first.get(session.id)
        ]
        if alive or not sessions:
            break
        if look == 0:
            log.warning("waiting for a heartbeat from %s: two minutes at most", _names(sessions))
        time.sleep(BEAT)
    if sessions:
        raise StorageError(f"study {name!r} is being worked on from {_names(sessions)}: stop that first")


def _names(sessions: Iterable[SessionRow]) -> str:
    return ", ".join(sorted({session.host.partition("/")[0] for session in sessions}))
