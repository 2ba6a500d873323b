"""Workers placed by a Ray cluster (extra ``ray``): the same work as that of processes, on whichever node has room."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from harness.core.errors import HarnessError, SpecError
from harness.core.results import Checkpoint
from harness.workers.work import RESTARTS, Job, work

_LOOK = 1.0  # seconds between looks at the actors
_FAREWELL = 60.0  # seconds that actors get to put away their trial when they are stopped

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Placement:
    """Where workers go: the ``address`` of a running cluster (``host:port``; None: one on this machine, for this run),
    and the processors and GPUs that Ray sets aside for each. Half a GPU is 0.5: two workers share it."""

    address: str | None = None
    cpus: float = 1.0
    gpus: float = 0.0


class RayWorker:
    """One worker, as a Ray actor: Ray calls `stop` from another thread than `run`."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    def run(self, job: Job) -> None:
        """As `harness.workers.work.work`, until `stop`. The job's deadline is in seconds from now: each node has a
        clock of its own."""
        try:
            work(
                replace(job, deadline=time.monotonic() + job.deadline),
                on_checkpoint=self._interrupt_if_stopped,
                stop=self._stopped.is_set,
            )
        except KeyboardInterrupt:
            return

    def stop(self) -> None:
        """Put the running trial back after its epoch, and begin no other."""
        self._stopped.set()

    def _interrupt_if_stopped(self, _: Checkpoint) -> None:
        if self._stopped.is_set():
            raise KeyboardInterrupt


def place(job: Job, workers: int, placement: Placement, *, look: Callable[[], int]) -> None:
    """As `harness.workers.work.supervise`, on a Ray cluster. The harness must be installed on its nodes.

    Raises SpecError where Ray is not installed or no cluster answers at the address, beside what `supervise` raises.
    """
    ray = _connected(placement.address)
    threads = str(max(1, int(placement.cpus)))
    actor = ray.remote(
        num_cpus=placement.cpus, num_gpus=placement.gpus, max_concurrency=2, max_restarts=0,
        runtime_env={"env_vars": {"TF_NUM_INTRAOP_THREADS": threads, "OMP_NUM_THREADS": threads}},
    )(RayWorker)  # fmt: skip
    actors: dict[int, Any] = {}
    running: dict[Any, int] = {}

    def start(index: int) -> None:
        actors[index] = actor.remote()
        left = job.deadline - time.monotonic()
        running[actors[index].run.remote(replace(job, baselines=job.baselines and index == 0, deadline=left))] = index

    deaths, before = 0, look()
    try:
        for index in range(workers):
            start(index)
        while running:
            ended, _ = ray.wait(list(running), timeout=_LOOK)
            now = look()
            if now > before:
                deaths, before = 0, now
            for reference in ended:
                index = running.pop(reference)
                try:
                    ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    cause = error.cause
                    raise cause if isinstance(cause, HarnessError) else error from None
                except ray.exceptions.RayActorError as error:
                    deaths += 1
                    if deaths > RESTARTS * workers:
                        raise RuntimeError(f"{deaths} actors died and no trial was finished") from error
                    log.warning("worker %d died on its node: it is started again", index + 1)
                    start(index)
    finally:
        for index in running.values():
            actors[index].stop.remote()
        if running:
            ray.wait(list(running), num_returns=len(running), timeout=_FAREWELL)
        look()
        ray.shutdown()


def _connected(address: str | None) -> Any:
    try:
        import ray  # an extra that most do without
    except ImportError:
        raise SpecError("--engine ray: Ray is not installed: pip install 'transfer-harness[ray]'") from None
    start = time.monotonic()
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, ValueError) as error:
        raise SpecError(f"--address {address}: no Ray cluster answers there ({error})") from None
    log.info("Ray has %s, connected in %.1f s", ray.cluster_resources(), time.monotonic() - start)
    return ray
