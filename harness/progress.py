"""The study-wide progress: one line that is rewritten on a terminal, plain lines elsewhere."""

import logging
import math
import sys
import time
from collections.abc import Callable
from typing import TextIO

from dashboards import words
from harness.results import METRIC_NAMES, Checkpoint, Metric, Standing

log = logging.getLogger(__name__)


class Progress:
    """Shows how a study goes on, on stderr."""

    def __init__(self, total: int, metric: Metric, standing: Callable[[], Standing]) -> None:
        """``metric`` is the study's. ``standing`` is asked each time, so that the work of other processes shows too."""
        self._total, self._metric = total, metric
        self._standing = standing
        self._stream: TextIO = sys.stderr
        self._terminal = self._stream.isatty()
        self._start = time.monotonic()
        self._before = standing().finished

    def begin(self) -> None:
        """Trials begin now: what took time before them says nothing of how long they take."""
        self._start = time.monotonic()

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """A running trial has reached a checkpoint."""
        if self._terminal:
            self._rewrite(f"{self._line()} | epoch {checkpoint.epoch}: {checkpoint.score(self._metric):.4f}")

    def trial(self, number: int, strategy: str, how: str) -> None:
        """A trial of ``strategy`` has finished; ``how`` in words."""
        text = f"trial {number}, {strategy}: {how}"
        if self._terminal:
            log.info(text)
            self._rewrite(self._line())
        else:
            self.note(f"{text} | {self._line()}")

    def note(self, text: str) -> None:
        """A line that stays, and goes into the log."""
        log.info(text)
        if self._terminal:
            self._stream.write("\r\x1b[K")
        print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Leave the last line as it is."""
        if self._terminal:
            self._stream.write("\n")

    def _line(self) -> str:
        now = self._standing()
        done_here = now.finished - self._before
        parts = [f"{now.finished} of {self._total} done", f"{now.running} running", f"{now.pruned} pruned"]
        if now.best is not None:
            parts.append(f"best {now.best:.4f}")
        if done_here > 0 and now.finished < self._total:
            left = (time.monotonic() - self._start) / done_here * (self._total - now.finished)
            parts.append(f"about {words.seconds(left)} left")
        return ", ".join(parts)

    def _rewrite(self, line: str) -> None:
        self._stream.write(f"\r\x1b[K{line[:160]}")
        self._stream.flush()


def outcome(status: str, metric: Metric, score: float | None, seconds: float) -> str:
    """How a trial or baseline ended, in a few words: ``complete, validation accuracy 0.9710, 12.3 s``."""
    known = score is not None and not math.isnan(score)
    scored = f", validation {METRIC_NAMES[metric]} {score:.4f}" if known else ""
    return f"{status}{scored}, {words.seconds(seconds)}"
