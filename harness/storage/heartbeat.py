"""Which worker processes still live: each gives signs of life, and those who wait for trials watch the others'.

No clock is compared with another, and none is trusted to run forwards: a sign of life is new when it differs from the
one before, and a session is dead after so many looks that found nothing new. While the database is away nobody looks.
"""

import logging
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType

from harness.core import processes
from harness.core.errors import StorageError
from harness.storage.store import SessionRow, Store

BEAT = 10.0
"""Seconds between signs of life, and between looks at least."""

DEAD_AFTER = 12
"""Looks without anything new after which a session of another machine is dead: two minutes."""

log = logging.getLogger(__name__)


class Heartbeat:
    """Signs of life of a session from a thread of its own, as long as the block runs."""

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
                self._store.beat(self._session)
            except StorageError as error:  # whoever runs the trial will find out; this is only a sign of life
                log.info("no sign of life could be given: %s", error)


@dataclass
class _Seen:
    sign: datetime | None
    looked: float
    nothing_new: int = 0


class Watch:
    """Tells which of a study's sessions are dead."""

    def __init__(self, store: Store, study: str) -> None:
        self._store = store
        self._study = study
        self._host = processes.host()
        self._seen: dict[int, _Seen] = {}

    def dead(self) -> list[int]:
        """Sessions that did not end and whose process is gone.

        On this machine that is seen at once. A session of another one is dead when `DEAD_AFTER` calls, `BEAT` seconds
        apart at least, found no new sign of life.
        """
        sessions = self._store.open_sessions(self._study)
        return [session.id for session in sessions if self._is_dead(session)]

    def _is_dead(self, session: SessionRow) -> bool:
        if session.host == self._host:
            return processes.process_started(session.pid) != session.process_started
        now = time.monotonic()
        seen = self._seen.get(session.id)
        if seen is None or seen.sign != session.last_seen:
            self._seen[session.id] = _Seen(session.last_seen, now)
            return False
        if now - seen.looked >= BEAT:
            seen.looked = now
            seen.nothing_new += 1
        return seen.nothing_new >= DEAD_AFTER
