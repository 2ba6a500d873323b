"""Measurements in a new process, timed from its start to its end."""

import multiprocessing
import time
from collections.abc import Callable
from typing import Any


def timed(function: Callable[..., None], *given: Any) -> tuple[float, Any]:
    """Call ``function(*given, connection)`` in a new process; return its seconds, imports included, and what it sends.

    Raises:
        RuntimeError: the process failed.
    """
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=function, args=(*given, send))
    start = time.perf_counter()
    process.start()
    process.join()
    seconds = time.perf_counter() - start
    if process.exitcode:
        raise RuntimeError(f"{function.__name__} of {given} ended with exit code {process.exitcode}")
    return seconds, receive.recv()
