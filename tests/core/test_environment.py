"""What the machine offers: cores within affinity and quota, GPUs as nvidia-smi lists them."""

import os
from pathlib import Path

import pytest

from harness.core import environment
from harness.core.environment import available_cores, gpus


def write(files: dict[str, str], root: Path) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "6400000 100000\n"}, 8),
        ("0::/\n", {}, 8),
        ("0::/\n", {"cpu.max": "nonsense"}, 8),
        ("0::/user/job\n", {"cpu.max": "max 1", "user/cpu.max": "300000 100000", "user/job/cpu.max": "max 100000"}, 3),
        ("0::/docker/unseen\n", {"cpu.max": "200000 100000\n"}, 2),
        ("3:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ("3:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ("2:cpuset:/x\n3:cpu:/a/b\n", {"cpu/a/cpu.cfs_quota_us": "400000", "cpu/a/cpu.cfs_period_us": "100000"}, 4),
        ("", {"cpu.max": "100000 100000\n"}, 8),
    ],
)
def test_a_quota_of_cpu_time_limits_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, files: dict[str, str], cores: int
) -> None:
    write({"self": groups, **{f"cgroup/{name}": text for name, text in files.items()}}, tmp_path)
    monkeypatch.setattr(environment, "_GROUPS", tmp_path / "self")
    monkeypatch.setattr(environment, "_QUOTAS", tmp_path / "cgroup")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert available_cores() == cores


def test_a_system_without_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_GROUPS", tmp_path / "absent")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5})
    assert available_cores() == 2


TWO_GPUS = "GPU 0: NVIDIA A100 (UUID: GPU-aa)\nGPU 1: NVIDIA A100 (UUID: GPU-bb)\n"
MIG = "GPU 0: NVIDIA A100 (UUID: GPU-aa)\n  MIG 1g.5gb Device 0: (UUID: MIG-c)\n  MIG 1g.5gb Device 1: (UUID: MIG-d)\n"


@pytest.mark.parametrize(
    ("script", "found"),
    [
        (f"printf '{TWO_GPUS}'", ["0", "1"]),
        (f"printf '{MIG}'", ["0"]),
        ("echo 'No devices were found'", []),
        ("echo 'No devices were found'; exit 6", []),
        ("echo 'Failed to initialize NVML: Driver/library version mismatch'", []),
        ("printf 'GPU 3: NVIDIA \\377 (UUID: GPU-aa)\\n'", ["3"]),
        ("exec sleep 600", []),
    ],
)
def test_gpus_are_the_lines_that_name_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, found: list[str]
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if "sleep" in script:
        monkeypatch.setattr(environment, "_ANSWER_SECONDS", 0.2)
    assert gpus() == found


@pytest.mark.parametrize(
    ("visible", "found"),
    [("", []), ("-1", []), ("0, 1", ["0", "1"]), ("1,-1,0", ["1"]), ("MIG-cc,MIG-dd", ["MIG-cc", "MIG-dd"])],
)
def test_the_users_choice_of_gpus_counts(monkeypatch: pytest.MonkeyPatch, visible: str, found: list[str]) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus() == found
