"""Heartbeats of sessions, and which sessions are dead."""

import os
import time
from datetime import timedelta
from typing import Any

import pytest

from harness.core.processes import host, process_started
from harness.storage import heartbeat, sessions
from harness.storage.heartbeat import DEAD_AFTER, Heartbeat, Watch
from harness.storage.store import Store
from tests.storage.conftest import Clock


def session(store: Store, host: str, pid: int = 1, started: float = 0.0) -> int:
    return store.sessions.begin(
        "tiny",
        command="",
        spec={},
        environment={"commit": "", "device": ""},
        host=host,
        pid=pid,
        process_started=started,
    )


def test_a_remote_session_is_dead_after_enough_checks_without_one(store: Store, clock: Clock) -> None:
    silent, living = session(store, "elsewhere"), session(store, "elsewhere")
    watch = Watch(store, "tiny")
    for look in range(DEAD_AFTER):
        assert watch.dead() == [], look
        store.sessions.record_heartbeat(living)
        clock.now += heartbeat.BEAT
    assert watch.dead() == [silent]


def test_checks_in_quick_succession_count_once(store: Store, clock: Clock) -> None:
    session(store, "elsewhere")
    watch = Watch(store, "tiny")
    assert [watch.dead() for _ in range(10 * DEAD_AFTER)] == [[]] * 10 * DEAD_AFTER


def test_after_a_long_gap_between_checks_no_session_is_dead(store: Store, clock: Clock) -> None:
    """The database was unavailable or the watching machine suspended, so that nothing was recorded or checked."""
    session(store, "elsewhere")
    watch = Watch(store, "tiny")
    watch.dead()
    clock.now += 100 * DEAD_AFTER * heartbeat.BEAT
    assert watch.dead() == []


@pytest.mark.parametrize("hours", [-5, 5])
def test_setting_the_clock_has_no_effect(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    silent, living = session(store, "elsewhere"), session(store, "elsewhere")
    watch = Watch(store, "tiny")
    watch.dead()
    real = sessions.now
    monkeypatch.setattr(sessions, "now", lambda: real() + timedelta(hours=hours))
    for _ in range(DEAD_AFTER):
        store.sessions.record_heartbeat(living)
        clock.now += heartbeat.BEAT
        dead = watch.dead()
    assert dead == [silent]


def test_a_dead_process_on_this_machine_is_noticed(store: Store) -> None:
    here, own = host(), process_started(os.getpid())
    assert own is not None
    session(store, here, os.getpid(), own)
    gone = session(store, here, 2**22 + 1)
    used_again = session(store, here, os.getpid(), own - 100)
    assert Watch(store, "tiny").dead() == [gone, used_again]


def test_heartbeats_are_recorded_until_the_block_ends(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "BEAT", 0.01)
    number = session(store, "here")
    with Heartbeat(store, number):
        signs: set[Any] = set()
        while len(signs) < 3:  # limited by the timeout of the test
            signs.add(store.sessions.unfinished("tiny")[0].last_seen)
    last = store.sessions.unfinished("tiny")[0].last_seen
    time.sleep(0.05)
    assert store.sessions.unfinished("tiny")[0].last_seen == last
