"""The environment of a result: commit, versions, device. It is recorded with every session."""

import math
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import takewhile
from pathlib import Path
from typing import Any

import harness

_PACKAGES = ("tensorflow", "keras", "jax", "optuna", "numpy", "pandas", "scikit-learn", "plotly", "sqlalchemy")
_GROUPS, _QUOTAS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
"""Where Linux tells the control groups of a process, and their quotas."""
_ANSWER_SECONDS = 10.0
"""Seconds after which `nvidia-smi` counts as hanging, as it does where a driver is broken."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Commit of the harness (with ``+dirty`` if the checkout has changes), versions of Python and packages, device."""

    commit: str
    versions: dict[str, str]
    device: str
    platform: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, for storage."""
        return asdict(self)


def describe(device: str) -> Environment:
    """Return the environment of this process.

    ``device`` is the backend's name for it, see `harness.backbones.devices.device`.
    """
    return Environment(_commit(), _versions(), device, f"{platform.system()} {platform.machine()}")


def cpu() -> str:
    """Return the processor's name and the number of cores this process may use."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        name = names[0] if names else name
    cores = available_cores()
    return f"{name}, {cores} core{'s' if cores > 1 else ''}"


def multiplies_bfloat16() -> bool:
    """Return whether the processor has instructions for bfloat16 products. Off Linux the answer is always no."""
    info = Path("/proc/cpuinfo")
    flags = set(info.read_text().split()) if info.is_file() else set()
    return bool(flags & {"avx512_bf16", "amx_bf16"})


def available_cores() -> int:
    """Return the number of cores this process may use, 1 or more.

    Its CPU affinity may be narrower than the machine, and a container's quota of CPU time narrower than both: one and a
    half cores count as two.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *map(math.ceil, _quotas())]))


def _quotas() -> Iterator[float]:
    """Yield the CPU quotas, in cores, of this process's control groups and the groups around them."""
    with suppress(OSError):  # Linux only
        for line in _GROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                yield from _limits(_QUOTAS, path, ("cpu.max",))
            elif "cpu" in controllers.split(","):
                yield from _limits(_QUOTAS / "cpu", path, ("cpu.cfs_quota_us", "cpu.cfs_period_us"))


def _limits(mount: Path, path: str, files: tuple[str, ...]) -> Iterator[float]:
    group = mount / path.lstrip("/")
    for folder in (group, *group.parents):
        if folder.is_relative_to(mount):  # a container's own groups may be mounted without what is around them
            with suppress(OSError, ValueError):
                quota, period = " ".join((folder / file).read_text() for file in files).split()
                if quota not in ("max", "-1"):
                    yield int(quota) / int(period)


def gpus() -> list[str]:
    """Return the CUDA devices this process may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        devices = [device.strip() for device in visible.split(",")]
        return list(takewhile(lambda device: device not in ("", "-1"), devices))  # CUDA ignores what follows these
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, errors="replace", check=True, timeout=_ANSWER_SECONDS
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return re.findall(r"^GPU (\d+):", listed, re.MULTILINE)  # the indented lines between are parts of a GPU (MIG)


def _commit() -> str:
    root = Path(harness.__file__).parent.parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    if not (root / ".git").exists():
        return f"version {harness.__version__}"
    try:
        return git("rev-parse", "HEAD") + ("+dirty" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return f"version {harness.__version__}"


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "harness": harness.__version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
