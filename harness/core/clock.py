"""Time limits, and wall seconds by kind. Evaluation is never counted as training."""

import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from harness.core.results import Seconds

SecondsKind = Literal["features", "compile", "train", "evaluation"]


_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def seconds_of(text: str) -> float:
    """Return the seconds of a time such as ``900``, ``90s``, ``15m`` or ``1.5h``. Raises ValueError."""
    found = re.fullmatch(r"((?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)\s*([smh]?)", text.strip().lower())
    if found is None or float(found[1]) == 0:
        raise ValueError(f"{text!r} is no time: give seconds, or a number with s, m or h, such as 15m")
    return float(found[1]) * _UNITS[found[2]]


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """A limit of so many ``seconds``, which is over when `time.monotonic` of this machine is ``ends``."""

    seconds: float = math.inf
    ends: float = math.inf

    @classmethod
    def start(cls, seconds: float | None) -> "TimeLimit":
        """Return a limit that begins now; None for no limit."""
        return NO_LIMIT if seconds is None else cls(seconds, time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """The seconds that are left, negative once it is over."""
        return self.ends - time.monotonic()


NO_LIMIT = TimeLimit()


class Clock:
    """A stopwatch for each kind of work: ``with clock("train"): …``."""

    def __init__(self) -> None:
        self._seconds: dict[SecondsKind, float] = {"features": 0.0, "compile": 0.0, "train": 0.0, "evaluation": 0.0}

    @contextmanager
    def __call__(self, kind: SecondsKind) -> Iterator[None]:
        """Count the seconds spent inside the block as ``kind``, also if the block raises."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(kind, time.perf_counter() - start)

    def add(self, kind: SecondsKind, seconds: float) -> None:
        """Add ``seconds`` that were measured elsewhere."""
        self._seconds[kind] += seconds

    def seconds(self) -> Seconds:
        """Return what has been counted so far."""
        return Seconds(**self._seconds)
