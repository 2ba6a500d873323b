"""What a worker is asked to do. It imports no framework, so that a new process can be handed it before it loads one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.core.clock import NO_LIMIT, TimeLimit
from harness.core.spec import DatasetSpec


@dataclass(frozen=True)
class Job:
    """What a worker needs to know that the storage does not say. ``weights`` are given files by backbone; processes
    that are started for it write to the ``log``."""

    study: str
    storage: str
    dataset: DatasetSpec
    command: str
    weights: Mapping[str, Path] = field(default_factory=dict)
    baselines: bool = False
    limit: TimeLimit = NO_LIMIT
    log: Path | None = None
