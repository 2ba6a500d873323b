"""The sessions: the processes that work, or worked, on a study."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from harness.storage import tables
from harness.storage.queries import frame, now, of_study, read, write

_session = tables.session


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session that has not ended.

    ``process_started`` tells a pid that was used again from the process that had it first (see
    `harness.core.processes.process_started`). ``last_seen`` is the time of the last heartbeat by the clock of the
    machine that wrote it: compare it with itself only.
    """

    id: int
    host: str
    pid: int
    process_started: float
    last_seen: datetime


class Sessions:
    """The table ``harness_session``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def begin(
        self,
        study: str,
        *,
        command: str,
        spec: dict[str, Any],
        environment: dict[str, Any],
        host: str,
        pid: int,
        process_started: float,
    ) -> int:
        """Record that a process starts to work on ``study``, and return the session's id.

        Args:
            study: Name of the study.
            command: The command line.
            spec: The resolved spec of this run, as JSON.
            environment: What the run uses, as JSON: ``commit``, ``device`` and whatever else describes it.
            host: The machine's boot, see `harness.core.processes.host`.
            pid: The process.
            process_started: When it started, see `harness.core.processes.process_started`.
        """
        row = {
            "study": study, "command": command, "spec": spec, "environment": environment,
            "commit_hash": environment["commit"], "device": environment["device"], "host": host, "pid": pid,
            "process_started": process_started, "started_at": now(), "last_seen": now(),
        }  # fmt: skip
        with self._engine.begin() as connection:
            return int(connection.execute(_session.insert().values(row).returning(_session.c.id)).scalar_one())

    def end(self, session: int, outcome: str) -> None:
        """Record that the session ended, and how: ``outcome`` in words."""
        ended = {"ended_at": now(), "outcome": outcome}
        write(self._engine, _session.update().where(_session.c.id == session).values(ended))

    def record_heartbeat(self, session: int) -> None:
        """Record a heartbeat of the session. A session that was taken for dead is open again."""
        alive = {"last_seen": now(), "ended_at": None, "outcome": None}
        write(self._engine, _session.update().where(_session.c.id == session).values(alive))

    def unfinished(self, study: str) -> list[SessionRow]:
        """Return the sessions of ``study`` that did not end, oldest first: running ones, and ones that were killed."""
        columns = (_session.c[name] for name in SessionRow.__slots__)
        query = sa.select(*columns).where(_session.c.study == study, _session.c.ended_at.is_(None))
        return [SessionRow(**row._asdict()) for row in read(self._engine, query.order_by(_session.c.id))]

    def frame(self, study: str) -> pd.DataFrame:
        """Return all sessions of ``study``, oldest first, with all columns of the table."""
        return frame(self._engine, of_study(_session, study).order_by("id"))
