"""Calls that are retried while the database is unavailable."""

import sqlite3
from pathlib import Path

import pytest

from harness.storage import database
from harness.storage.database import DatabaseUnavailable, retry_while_unavailable
from harness.storage.store import Store
from tests.storage.conftest import Clock


def test_calls_are_retried_until_the_database_is_back(clock: Clock) -> None:
    calls = 0

    def away_for_a_minute() -> str:
        nonlocal calls
        calls += 1
        if clock.now < 1060:
            raise DatabaseUnavailable("gone")
        return "here"

    assert retry_while_unavailable(away_for_a_minute) == "here"
    assert clock.pauses[:3] == [0.1, 0.2, 0.4] and max(clock.pauses) == 5.0 and calls < 25


def test_retries_end(clock: Clock) -> None:
    def away() -> None:
        raise DatabaseUnavailable("gone")

    with pytest.raises(DatabaseUnavailable):
        retry_while_unavailable(away)
    assert database.RETRY_SECONDS < clock.now - 1000 < database.RETRY_SECONDS + 10


def test_a_bug_is_not_retried(clock: Clock) -> None:
    with pytest.raises(ZeroDivisionError):
        retry_while_unavailable(lambda: 1 // 0)
    assert clock.pauses == []


def test_a_locked_database_is_retried(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCK_WAIT", 0.01)
    impatient = Store(store.url)
    other = sqlite3.connect(tmp_path / "study.db", isolation_level=None)
    other.execute("begin immediate")
    with pytest.raises(DatabaseUnavailable, match="was locked"):
        impatient.sessions.record_heartbeat(1)
    monkeypatch.setattr(database.time, "sleep", lambda _: other.execute("rollback"))
    retry_while_unavailable(lambda: impatient.sessions.record_heartbeat(1))
