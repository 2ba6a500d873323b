"""The environment of a result: commit, versions, device. It is recorded with every session."""

import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import harness

_PACKAGES = ("tensorflow", "keras", "jax", "optuna", "numpy", "pandas", "scikit-learn", "plotly", "sqlalchemy")


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
    return f"{name}, {available_cores()} cores"


def multiplies_bfloat16() -> bool:
    """Return whether the processor has instructions for bfloat16 products. Off Linux the answer is always no."""
    info = Path("/proc/cpuinfo")
    flags = set(info.read_text().split()) if info.is_file() else set()
    return bool(flags & {"avx512_bf16", "amx_bf16"})


def available_cores() -> int:
    """Return the number of cores this process may run on; its CPU affinity may be narrower than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """Return the CUDA devices this process may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [device for device in visible.split(",") if device not in ("", "-1")]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(number) for number, _ in enumerate(listed.splitlines())]


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
