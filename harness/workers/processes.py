"""Workers as processes of this machine."""

import math
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from multiprocessing import connection
from typing import Any

from harness.core import environment
from harness.core.errors import HarnessError
from harness.workers.children import SPAWN, be_worker
from harness.workers.job import Job
from harness.workers.supervise import STOP_SECONDS, Ended

_CONTEXT = SPAWN
_WAIT_SECONDS = 1.0


class ProcessPool:
    """See `harness.workers.supervise.Pool`. The first process runs the baselines."""

    def __init__(self, job: Job, workers: int) -> None:
        """Split this machine between ``workers`` processes that work on ``job``."""
        self._job, self._workers = job, workers
        self._cores, self._gpus = environment.available_cores(), environment.gpus()
        self._processes: dict[int, Any] = {}

    def start(self, index: int) -> None:
        """Start a process with its share of the cores and GPUs."""
        job = replace(self._job, baselines=self._job.baselines and index == 0)
        process = _CONTEXT.Process(target=be_worker, args=(job,))
        given = dict(os.environ)
        # Frameworks read these when they are imported, which the new process does before anything else of ours. It
        # keeps what is blocked: Ctrl-C reaches every process of a terminal, and only this one acts on it.
        os.environ.update(share(index, self._workers, self._cores, self._gpus, given))
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
            self._processes[index] = process
        finally:
            os.environ.clear()
            os.environ.update(given)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    def wait(self) -> Sequence[Ended]:
        """Wait until a process ends, a second at most."""
        connection.wait([process.sentinel for process in self._processes.values()], _WAIT_SECONDS)
        ended = [(index, process) for index, process in self._processes.items() if process.exitcode is not None]
        found = []
        for index, process in ended:
            del self._processes[index]
            if process.exitcode == HarnessError.exit_code:
                raise HarnessError(f"worker {index + 1} of {self._workers} could not go on, for the reason given above")
            if process.exitcode > 0:
                raise RuntimeError(f"worker {index + 1} of {self._workers} failed with the error above")
            found.append(Ended(index, signal.Signals(-process.exitcode).name if process.exitcode else None))
        return found

    def stop(self) -> None:
        """Send SIGTERM to all, and SIGKILL to those that do not end in time."""
        for process in self._processes.values():
            process.terminate()
        last = time.monotonic() + STOP_SECONDS
        for process in self._processes.values():
            process.join(max(0.0, last - time.monotonic()))
            process.kill()
            process.join()


def share(index: int, workers: int, cores: int, gpus: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Return environment variables that give worker ``index`` its part of the machine; what the user has ``given``
    stays.

    Cores are split evenly. Workers take turns over the ``gpus``; those on one GPU split its memory: TensorFlow takes
    what it needs as it goes, JAX gets a fixed share.
    """
    threads = str(max(1, cores // workers))
    parts = dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
    if gpus:
        on_one = math.ceil(workers / len(gpus))
        parts |= {
            "CUDA_VISIBLE_DEVICES": gpus[index % len(gpus)],
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",
            "XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 / on_one:.3f}",
        }
    return {name: value for name, value in parts.items() if name == "CUDA_VISIBLE_DEVICES" or name not in given}
