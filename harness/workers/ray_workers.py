"""Workers as actors of a Ray cluster (extra ``ray``), on whichever node has room."""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.core.errors import HarnessError, SpecError
from harness.core.results import Checkpoint
from harness.workers.job import Job
from harness.workers.supervise import STOP_SECONDS, Ended
from harness.workers.work import work

_WAIT_SECONDS = 1.0

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
        """Do `harness.workers.work.work`, until `stop`. The job's limit ends in so many seconds from now:
        each node has a clock of its own."""
        try:
            work(
                replace(job, limit=replace(job.limit, ends=time.monotonic() + job.limit.ends)),
                on_checkpoint=self._interrupt_if_stopped,
                stop=self._stopped.is_set,
            )
        except KeyboardInterrupt:
            return

    def stop(self) -> None:
        """Put the running trial back after its epoch, and start no other."""
        self._stopped.set()

    def _interrupt_if_stopped(self, _: Checkpoint) -> None:
        if self._stopped.is_set():
            raise KeyboardInterrupt


class RayPool:
    """See `harness.workers.supervise.Pool`. The harness must be installed on the cluster's nodes."""

    def __init__(self, job: Job, placement: Placement) -> None:
        """Connect to the cluster.

        Raises SpecError where Ray is not installed or no cluster answers at the address.
        """
        self._job, self._ray = job, _connected(placement.address)
        threads = str(max(1, int(placement.cpus)))
        self._actor = self._ray.remote(
            num_cpus=placement.cpus, num_gpus=placement.gpus, max_concurrency=2, max_restarts=0,
            runtime_env={"env_vars": {"TF_NUM_INTRAOP_THREADS": threads, "OMP_NUM_THREADS": threads}},
        )(RayWorker)  # fmt: skip
        self._actors: dict[int, Any] = {}
        self._running: dict[Any, int] = {}

    def start(self, index: int) -> None:
        """Have Ray place an actor where there is room."""
        self._actors[index] = actor = self._actor.remote()
        limit = replace(self._job.limit, ends=self._job.limit.left)
        job = replace(self._job, baselines=self._job.baselines and index == 0, limit=limit)
        self._running[actor.run.remote(job)] = index

    def wait(self) -> Sequence[Ended]:
        """Wait until an actor ends, a second at most."""
        ended, _ = self._ray.wait(list(self._running), timeout=_WAIT_SECONDS)
        return [self._ended(reference) for reference in ended]

    def _ended(self, reference: Any) -> Ended:
        index = self._running.pop(reference)
        del self._actors[index]  # while there is a handle Ray keeps the place, which another worker may wait for
        try:
            self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause
            raise cause if isinstance(cause, HarnessError) else error from None
        except self._ray.exceptions.RayActorError:
            return Ended(index, "the loss of its node or process")
        return Ended(index)

    def stop(self) -> None:
        """Ask all actors to end, and disconnect from the cluster."""
        for index in self._running.values():
            self._actors[index].stop.remote()
        if self._running:
            self._ray.wait(list(self._running), num_returns=len(self._running), timeout=STOP_SECONDS)
        self._ray.shutdown()


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
