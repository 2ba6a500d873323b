"""Processes across machines and restarts."""

import os
import socket
from contextlib import suppress
from pathlib import Path

import psutil


def host() -> str:
    """Return an identifier of this boot of the machine and of the PID namespace: within it a PID is unambiguous.

    The host name alone is not enough: containers may share it while each has a PID namespace of its own, and a machine
    keeps it when it reboots.
    """
    parts = [socket.gethostname()]
    with suppress(OSError):  # Linux only
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8])
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return "/".join(parts)


def process_started(pid: int) -> float | None:
    """Return the start time of process ``pid`` on this `host`, or None if it does not run.

    The system reuses PIDs; a PID and its start time identify a process. On Linux the time is in seconds since the boot,
    which setting the system clock does not change; elsewhere it is in Unix seconds.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        with suppress(FileNotFoundError):
            ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
            return int(ticks) / os.sysconf("SC_CLK_TCK")
        return float(process.create_time())
    except (psutil.NoSuchProcess, ProcessLookupError):
        return None
