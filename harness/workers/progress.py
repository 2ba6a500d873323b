"""Progress of a study: a bar on a terminal and in a notebook, plain lines elsewhere."""

import logging
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from tqdm.auto import tqdm

from harness.analysis import formatting
from harness.core.clock import NO_LIMIT, TimeLimit
from harness.core.results import METRIC_NAMES, Checkpoint, Metric, Standing

_BAR = "{percentage:3.0f}%|{bar:20}| {desc}"

log = logging.getLogger(__name__)


class Progress:
    """Shows the progress of a study on stderr."""

    def __init__(
        self, total: int, metric: Metric, standing: Callable[[], Standing], limit: TimeLimit = NO_LIMIT
    ) -> None:
        """``total`` trials are asked for, within the time ``limit``; ``standing`` returns the progress over all
        processes each time it is called."""
        self._total, self._metric, self._limit = total, metric, limit
        self._standing = standing
        self._stream: TextIO = sys.stderr
        self._start = time.monotonic()
        self._last: float | None = None  # when a trial last finished
        self._before = standing().work_done
        # Jupyter's stream is no terminal, but rewrites a line too.
        rewritten = self._stream.isatty() or type(self._stream).__module__.startswith("ipykernel.")
        self._bar: Any = tqdm(total=total, bar_format=_BAR, dynamic_ncols=True) if rewritten else None

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Show that a running trial has reached a checkpoint."""
        if self._bar is not None:
            self._show(f" | epoch {checkpoint.epoch}: {checkpoint.score(self._metric):.4f}")

    def trial(self, number: int, strategy: str, how: str) -> None:
        """Show that a trial of ``strategy`` has finished; ``how`` says it in words."""
        self._last = time.monotonic()
        text = f"trial {number}, {strategy}: {how}"
        if self._bar is None:
            self.note(f"{text} | {self._line(self._standing())}")
        else:
            log.info(text)
            self._show()

    def note(self, text: str) -> None:
        """Print and log a line. Before the first trial has finished this also restarts the clock of the trials."""
        log.info(text)
        if self._last is None:
            self._start = time.monotonic()
        tqdm.write(text, self._stream)
        self._stream.flush()

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()

    def _show(self, running: str = "") -> None:
        now = self._standing()
        self._bar.n = now.finished
        self._bar.set_description_str(self._line(now) + running)

    def _line(self, now: Standing) -> str:
        parts = [f"{now.finished} of {self._total} done", f"{now.running} running", f"{now.pruned} pruned"]
        if now.best is not None:
            parts.append(f"best {now.best:.4f}")
        left = self._left(now)
        if left is not None and now.finished < self._total:
            parts.append(f"about {formatting.seconds(left)} left")
        return ", ".join(parts)

    def _left(self, now: Standing) -> float | None:
        """Return the seconds left, from the work left and the rate of the work done here; None while that is unknown.

        No more than what is left of the time limit, after which no trial begins.
        The rate makes up for what predictions leave out: trials that are stopped, activations that are cached, several
        workers.
        """
        done = now.work_done - self._before
        since = time.monotonic() - (self._last or self._start)
        if self._last is not None and done > 0:
            left = (self._last - self._start) / done * now.work_left
        elif now.predicted:
            left = now.work_left / max(1, now.running)
        else:
            return None
        return max(0.0, min(left - since, self._limit.left))


def outcome(status: str, metric: Metric, score: float | None, seconds: float) -> str:
    """Say in a few words how a trial or baseline ended: ``complete, validation accuracy 0.9710, 12.3 s``."""
    known = score is not None and not math.isnan(score)
    scored = f", validation {METRIC_NAMES[metric]} {score:.4f}" if known else ""
    return f"{status}{scored}, {formatting.seconds(seconds)}"


def log_to(file: Path) -> None:
    """Send warnings to stderr and everything to ``file``."""
    root = logging.getLogger("harness")
    root.setLevel(logging.INFO)
    root.propagate = False
    for handler in root.handlers[:]:  # of an earlier call in this process
        root.removeHandler(handler)
        handler.close()
    details = logging.FileHandler(file, encoding="utf-8", delay=True)
    details.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
    root.addHandler(details)
    warnings = logging.StreamHandler()
    warnings.setLevel(logging.WARNING)
    warnings.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    root.addHandler(warnings)
