"""Workers on a Ray cluster, without one."""

import math
import sys
import time
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.core.clock import TimeLimit
from harness.core.errors import SpecError
from harness.core.spec import DatasetSpec
from harness.workers import ray_workers
from harness.workers.job import Job


def test_a_deadline_is_sent_as_remaining_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[Job] = []
    monkeypatch.setattr(ray_workers, "work", lambda job, **_: jobs.append(job))
    monkeypatch.setattr(time, "monotonic", lambda: 5000.0)
    dataset = DatasetSpec(name="x", file=Path("x"), similar_to_imagenet=False)
    ray_workers.RayWorker().run(Job("tiny", "", dataset, "test", limit=TimeLimit(900.0, 60.0)))
    ray_workers.RayWorker().run(Job("tiny", "", dataset, "test"))
    assert [job.limit.ends for job in jobs] == [5060.0, math.inf]


def test_ray_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SpecError, match="Ray is not installed: pip install"):
        ray_workers._connected(None)


class Actor:
    """An actor whose work is done as soon as it is asked for."""

    def __init__(self) -> None:
        self.run = SimpleNamespace(remote=lambda _: object())


def test_an_actor_that_has_ended_leaves_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    ray: Any = SimpleNamespace(
        remote=lambda **_: lambda _: SimpleNamespace(remote=Actor),
        wait=lambda running, timeout: (running, []),
        get=lambda _: None,
        exceptions=SimpleNamespace(RayTaskError=KeyError, RayActorError=OSError),
    )
    monkeypatch.setattr(ray_workers, "_connected", lambda _: ray)
    dataset = DatasetSpec(name="x", file=Path("x"), similar_to_imagenet=False)
    pool = ray_workers.RayPool(Job("tiny", "", dataset, "test"), ray_workers.Placement())
    pool.start(0)
    (actor,) = map(weakref.ref, pool._actors.values())
    assert [ended.index for ended in pool.wait()] == [0]
    assert actor() is None, "Ray keeps the place of an actor while there is a handle to it"
