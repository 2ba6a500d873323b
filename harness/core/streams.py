"""Standard output and error of a command, which may be closed, full, or of an encoding that lacks characters."""

import os
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from typing import Any, TextIO, cast

READER_GONE = 141
"""Exit code where the reader of standard output has ended, as ``| head`` does: that of a process ended by SIGPIPE."""


class _CannotPrint(Exception):
    """Standard output cannot be written. No OSError: those are about files."""


class _Stream:
    """A text stream that escapes characters that its encoding lacks and reports by ``failed`` that it cannot write."""

    def __init__(self, stream: TextIO, failed: Callable[[OSError], None]) -> None:
        self._stream, self._failed = stream, failed

    def write(self, text: str) -> int:
        encoding = self._stream.encoding or "utf-8"
        try:
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except OSError as error:
            self._failed(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._failed(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def printing(run: Callable[[], int]) -> int:
    """Return the exit code of the command ``run``, which prints to standard output and error.

    Nothing ends in a traceback because of where the output goes. Characters that the encoding lacks are escaped.
    Messages to a standard error that cannot be written are dropped. If standard output cannot be written, the command
    ends: without a word and with `READER_GONE` if its reader has ended, else with a line and 2.
    """
    _open_closed()
    stdout, stderr = sys.stdout or _nowhere(), sys.stderr or _nowhere()
    out, err = _Stream(stdout, _refuse), _Stream(stderr, lambda _: _discard(stderr))
    with redirect_stdout(cast(TextIO, out)), redirect_stderr(cast(TextIO, err)):
        try:
            try:
                code = run()
            except SystemExit:
                out.flush()
                raise
            out.flush()
        except _CannotPrint as failed:
            error = failed.__cause__
            _discard(stdout)
            if isinstance(error, BrokenPipeError):
                return READER_GONE
            print(f"error: standard output cannot be written ({error}): send it elsewhere", file=err)
            return 2
        finally:
            err.flush()
    return code


def _refuse(error: OSError) -> None:
    raise _CannotPrint from error


def _open_closed() -> None:
    """Open what the caller has closed of standard input, output and error: the next file would take its place."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - stays open, as standard output does


def _discard(stream: TextIO) -> None:
    """Drop what ``stream`` still holds, which Python would try to write at its end, and what is written to it later."""
    with suppress(OSError, ValueError):  # of a stream without a descriptor
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
