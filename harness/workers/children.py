"""New processes for a study: what they do first. Nothing here imports a framework, which they load quietly."""

import multiprocessing
import os
import signal
import sys
from typing import Any

from harness.core.errors import HarnessError, SpecError
from harness.core.framework import loading
from harness.core.interrupts import interrupt
from harness.storage import database
from harness.workers.job import Job
from harness.workers.progress import log_to

SPAWN: Any = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork

_REPEATED = 3
"""Exit code of a process that would run the command of its parent again."""


def exit_if_repeated() -> None:
    """End this process if it is a new one that only imports the script of its parent, which has no main guard."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # multiprocessing's own test of this
        sys.exit(_REPEATED)


def check_main_guard(option: str) -> None:
    """Start a process as a trial, if the main module is a script. A new process imports that again.

    Raises:
        SpecError: the script would run its command in each process; the error names the ``option`` that needs them.
    """
    script = sys.modules["__main__"]
    if getattr(script, "__spec__", None) is not None or not hasattr(script, "__file__"):
        return
    process = SPAWN.Process(target=int)
    process.start()
    process.join()
    if process.exitcode == _REPEATED:
        raise SpecError(
            f"{option} starts processes that import {script.__file__} and would run all of it again: put what it does "
            "under `if __name__ == '__main__':`"
        )


def load_keras() -> None:
    """Load Keras quietly, in a process that then calls functions that need it."""
    with loading():
        pass


def be_worker(job: Job) -> None:
    """Do `harness.workers.work.work` as a process of its own, until SIGTERM or the end of the parent process."""
    signal.signal(signal.SIGTERM, _interrupt)
    if job.log is not None:
        log_to(job.log)
    parent = os.getppid()
    try:
        with database.closing():
            with loading():
                from harness.workers.work import work  # heavy: TensorFlow or JAX is loaded
            work(job, stop=lambda: os.getppid() != parent)
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:  # the first process prints the message
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)


def _interrupt(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once: the trial is being put back
    interrupt()
