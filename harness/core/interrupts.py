"""What Ctrl-C and SIGTERM do: before a command begins and after it has ended, and while it runs."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

INTERRUPTED = 130
"""Exit code after Ctrl-C or SIGTERM, as in shells."""


def exit_on_signals() -> None:
    """Make Ctrl-C and SIGTERM end the process at once, while it is only importing modules.

    An exception would be raised in the middle of an import and print a traceback.
    """
    for number in _signals():
        signal.signal(number, _exit)


@contextmanager
def interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt on Ctrl-C and SIGTERM in the block.

    It changes nothing outside the main thread, which alone can be interrupted: there the signals stay those of the
    program that runs the thread.
    """
    import threading  # not above: a command imports this module first, and until it has, signals print a traceback

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _interrupt) for number in _signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def _signals() -> list[signal.Signals]:
    # A shell that runs a command in the background lets it ignore Ctrl-C.
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    return [signal.SIGTERM] if ignored else [signal.SIGTERM, signal.SIGINT]


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _exit(*_: object) -> None:
    with suppress(OSError):
        os.write(2, b"stopped.\n")
    os._exit(INTERRUPTED)
