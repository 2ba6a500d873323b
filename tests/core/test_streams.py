"""Standard output that is closed, full or of another encoding."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import TextIO

import pytest

from harness.core.streams import READER_GONE, printing
from tests.conftest import ROOT

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


def say_much() -> int:
    for _ in range(10_000):
        print("a line")
    return 0


def exit_after_help() -> int:
    print("usage")
    raise SystemExit(0)


def stream(descriptor: int, *, buffered: bool) -> TextIO:
    """Standard output as Python opens it, or with PYTHONUNBUFFERED."""
    raw = os.fdopen(descriptor, "wb", 8192 if buffered else 0)
    return io.TextIOWrapper(raw, "utf-8", write_through=not buffered)  # type: ignore[type-var]


@pytest.fixture
def unread() -> int:
    """A pipe that nobody reads any more."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("run", [say_much, exit_after_help])
def test_a_reader_that_ends_is_no_error(
    unread: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, buffered: bool, run: object
) -> None:
    with stream(unread, buffered=buffered) as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert printing(run) == READER_GONE  # type: ignore[arg-type]
    assert capsys.readouterr().err == ""


@needs_full
@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("run", [say_much, exit_after_help])
def test_a_full_disk_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, buffered: bool, run: object
) -> None:
    with stream(os.open(FULL, os.O_WRONLY), buffered=buffered) as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert printing(run) == 2  # type: ignore[arg-type]
    error = capsys.readouterr().err
    assert error.startswith("error: standard output cannot be written ([Errno 28]") and error.count("\n") == 1


@needs_full
def test_messages_that_cannot_be_written_are_dropped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> int:
        print("a message", file=sys.stderr, flush=True)
        print("a result")
        return 7

    with stream(os.open(FULL, os.O_WRONLY), buffered=True) as full:
        monkeypatch.setattr(sys, "stderr", full)
        assert printing(run) == 7
    assert capsys.readouterr().out == "a result\n"


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("ascii", b"\\xe9 \\u2502 \\U0001f600 \\udcff\n"),
        ("latin-1", b"\xe9 \\u2502 \\U0001f600 \\udcff\n"),
        ("utf-8", "é │ 😀 \\udcff\n".encode()),
    ],
)
def test_characters_that_an_encoding_lacks_are_escaped(
    monkeypatch: pytest.MonkeyPatch, encoding: str, expected: bytes
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding))
    assert printing(lambda: print("é │ 😀 \udcff") or 0) == 0  # type: ignore[func-returns-value]
    assert written.getvalue() == expected


def test_an_error_that_is_not_about_printing_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> int:
        raise BrokenPipeError("of a worker")

    with pytest.raises(BrokenPipeError, match="of a worker"):
        printing(run)


def test_a_command_without_open_streams() -> None:
    """Whatever it opens would take the number of standard error, where libraries print."""
    script = (
        "import os, sys; from harness.core.streams import printing\n"
        "def run():\n"
        "    print('out', file=sys.stdout); print('err', file=sys.stderr)\n"
        "    return os.open(os.devnull, os.O_RDONLY)\n"
        "raise SystemExit(printing(run))"
    )
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", script]
    outcome = subprocess.run(command, cwd=ROOT, check=False)
    assert 3 <= outcome.returncode < 10  # the next free number
