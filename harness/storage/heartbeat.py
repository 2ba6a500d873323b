"""Heartbeats: every worker process records them, and those that wait for trials watch the others' and take over what
they leave.

Clocks are not compared, and none is trusted to run forwards. A heartbeat is new when it differs from the one before,
and a session is dead after so many checks that found no new one. While the database is unavailable nothing is checked.
"""

import logging
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType

from harness.core import processes
from harness.core.errors import StorageError
from harness.storage.sessions import SessionRow
from harness.storage.store import Store

BEAT = 10.0
"""Seconds between heartbeats, and at least between checks."""

DEAD_AFTER = 12
"""Checks without a new heartbeat after which a session of another machine is dead: two minutes."""

log = logging.getLogger(__name__)


class Heartbeat:
    """Records heartbeats of a session from a thread of its own while the block runs."""

    def __init__(self, store: Store, session: int) -> None:
        self._store = store
        self._session = session
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            try:
                self._store.sessions.record_heartbeat(self._session)
            except StorageError as error:  # the thread that runs the trial meets the same error and handles it
                log.info("no heartbeat could be recorded: %s", error)


@dataclass
class _Seen:
    heartbeat: datetime
    checked: float  # by time.monotonic
    nothing_new: int = 0


class Watch:
    """Finds the sessions of a study whose process is gone."""

    def __init__(self, store: Store, study: str) -> None:
        self._store = store
        self._study = study
        self._host = processes.host()
        self._seen: dict[int, _Seen] = {}

    def recover(self) -> int:
        """Let others claim the trials of sessions whose process is gone, and return how many these were."""
        taken = [
            number
            for session in self.dead()
            for number in self._store.tickets.release_dead_session(self._study, session)
        ]
        for number in taken:
            log.warning("trial %d was left by a process that is gone: it is run again", number)
        return len(taken)

    def dead(self) -> list[int]:
        """Return the ids of sessions that did not end and whose process is gone.

        On this machine the process itself is looked up. A session of another machine is dead when `DEAD_AFTER` calls,
        at least `BEAT` seconds apart, found no new heartbeat.
        """
        sessions = self._store.sessions.unfinished(self._study)
        return [session.id for session in sessions if self._is_dead(session)]

    def _is_dead(self, session: SessionRow) -> bool:
        if session.host == self._host:
            return processes.process_started(session.pid) != session.process_started
        now = time.monotonic()
        seen = self._seen.get(session.id)
        if seen is None or seen.heartbeat != session.last_seen:
            self._seen[session.id] = _Seen(session.last_seen, now)
            return False
        if now - seen.checked >= BEAT:
            seen.checked = now
            seen.nothing_new += 1
        return seen.nothing_new >= DEAD_AFTER
