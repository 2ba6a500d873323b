"""What a user sees of a running study: a bar where a line can be rewritten, lines elsewhere."""

import io
import os
import sys

import pytest

from harness.core.results import Checkpoint, Standing
from harness.workers.progress import Progress

CHECKPOINT = Checkpoint(
    epoch=2, train_flops=1.0, rated_seconds=1.0, train_loss=1.0, val_loss=1.0, val_accuracy=0.5,
    val_balanced_accuracy=0.5, val_macro_f1=0.5, train_seconds=1.0,
)  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2


def stands(finished: int) -> Standing:
    return Standing(finished, 1, 0, 0.5, work_done=0.0, work_left=0.0, predicted=False)


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> str:
    """What a study writes to standard error."""
    monkeypatch.setattr(sys, "stderr", stream)
    progress = Progress(4, "accuracy", lambda: stands(3))
    progress.note("baselines have run")
    progress.checkpoint(CHECKPOINT)
    progress.trial(2, "a strategy", "complete")
    progress.close()
    return stream.getvalue()


def test_a_terminal_has_a_bar_of_its_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((70, 24)))
    text = shown(monkeypatch, Terminal())
    assert "baselines have run\n" in text and " 75%|" in text and "\x1b[3" not in text
    assert "3 of 4 done, 1 running" in text and text.endswith("\n")
    assert max(len(line) for line in text.replace("\n", "\r").split("\r")) <= 70


def test_a_file_has_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(monkeypatch, io.StringIO()).splitlines()
    assert lines == [
        "baselines have run", "trial 2, a strategy: complete | 3 of 4 done, 1 running, 0 pruned, best 0.5000",
    ]  # fmt: skip


def test_a_notebook_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()
    assert " 75%|" in shown(monkeypatch, stream)
