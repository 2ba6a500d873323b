"""Wall seconds by kind. Evaluation is never counted as training."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from harness.core.results import Seconds

SecondsKind = Literal["features", "compile", "train", "evaluation"]


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
