"""What a result was made with: commit, versions, device. Recorded with every session."""

import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

import harness

_PACKAGES = ("tensorflow", "keras", "jax", "optuna", "numpy", "pandas", "scikit-learn", "plotly", "sqlalchemy")


@dataclass(frozen=True, slots=True)
class Environment:
    """Commit of the harness (with ``+dirty`` where the checkout was changed), versions of what it ran on, device."""

    commit: str
    versions: dict[str, str]
    device: str
    platform: str

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values, for storage."""
        return asdict(self)


def describe(device: str) -> Environment:
    """The environment of this process; ``device`` comes from the backend, see `harness.backbone.device`."""
    return Environment(_commit(), _versions(), device, f"{platform.system()} {platform.machine()}")


def cpu() -> str:
    """The processor's name and the cores this process may use."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        name = names[0] if names else name
    return f"{name}, {available_cores()} cores"


def available_cores() -> int:
    """Cores this process may run on: less than the machine's where it is confined."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_started(pid: int) -> float | None:
    """When process ``pid`` of this machine started (Unix seconds), None where there is none: a pid alone is re-used."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.NoSuchProcess:
        return None


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
