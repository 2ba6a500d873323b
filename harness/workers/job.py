"""What a worker is asked to do. It imports no framework, so that a new process can be handed it before it loads one."""

import math
from dataclasses import dataclass
from pathlib import Path

from harness.core.spec import DatasetSpec


@dataclass(frozen=True)
class Job:
    """What a worker needs to know that the storage does not say. ``deadline`` is on this machine's `time.monotonic`;
    processes that are started for it write to the ``log``."""

    study: str
    storage: str
    dataset: DatasetSpec
    command: str
    weights: Path | None = None
    baselines: bool = False
    deadline: float = math.inf
    log: Path | None = None
