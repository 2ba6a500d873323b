"""What Ctrl-C and SIGTERM do: before a command begins and after it has ended, and while it runs."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

_T = TypeVar("_T")

INTERRUPTED = 130
"""Exit code after Ctrl-C or SIGTERM, as in shells."""


class _State:
    """What signals have asked for."""

    deferring = 0  # blocks of `between_steps` that run
    asked = False  # a signal came, and maybe nothing was interrupted yet


_state = _State()


def exit_on_signals() -> None:
    """Make Ctrl-C and SIGTERM end the process at once, while it is only importing modules.

    An exception would be raised in the middle of an import and print a traceback.
    """
    for number in _signals():
        signal.signal(number, _exit)


@contextmanager
def interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt on Ctrl-C and SIGTERM in the block: at once, or see `between_steps`.

    It changes nothing outside the main thread, which alone can be interrupted: there the signals stay those of the
    program that runs the thread.
    """
    import threading  # not above: a command imports this module first, and until it has, signals print a traceback

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _state.asked = False
    before = {number: signal.signal(number, interrupt) for number in _signals()}
    try:
        yield
    finally:
        _state.asked = False
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


@contextmanager
def between_steps() -> Iterator[None]:
    """Let a signal in the block wait for the next `stop_if_asked`, or for the end of the block.

    A framework's own code is not interrupted well: now and then an exception out of a signal crashes TensorFlow. A
    second signal does not wait.
    """
    _state.deferring += 1
    try:
        yield
    finally:
        _state.deferring -= 1
    stop_if_asked()


def stepwise(items: Iterator[_T]) -> Iterator[_T]:
    """Yield the ``items``. Signals wait as in `between_steps` while the next one is made, and not while it is used."""
    while True:
        with between_steps():
            try:
                item = next(items)
            except StopIteration:
                return
        yield item


def stop_if_asked() -> None:
    """Raise KeyboardInterrupt if a signal has waited for it. Called after each training step and batch.

    Also if a signal has raised one that nobody saw: Python drops what is raised in a destructor. What is done because
    of an interrupt is not interrupted again.
    """
    if _state.asked and not isinstance(sys.exception(), KeyboardInterrupt):
        _state.asked = False
        raise KeyboardInterrupt


def interrupt(*_: object) -> None:
    """Handle a signal as `interrupts` says."""
    waits = _state.deferring and not _state.asked
    _state.asked = True
    if not waits:
        raise KeyboardInterrupt


def _signals() -> list[signal.Signals]:
    # A shell that runs a command in the background lets it ignore Ctrl-C.
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    return [signal.SIGTERM] if ignored else [signal.SIGTERM, signal.SIGINT]


def _exit(*_: object) -> None:
    with suppress(OSError):
        os.write(2, b"stopped.\n")
    os._exit(INTERRUPTED)
