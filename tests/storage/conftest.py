"""What the tests of storage share."""

import pytest

from harness.storage import database, heartbeat


class Clock:
    """A fake of `time.monotonic` and `time.sleep`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (heartbeat, database):
        monkeypatch.setattr(module.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(database.time, "sleep", clock.sleep)
    return clock
