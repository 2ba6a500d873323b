"""SIGTERM at random moments of real runs: `benchmarks.signals`, with fewer signals.

HARNESS_FAULT_SIGNALS says how many; four unless told.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SIGNALS = int(os.environ.get("HARNESS_FAULT_SIGNALS", "4"))


@pytest.mark.large
@pytest.mark.timeout(60 * SIGNALS)
def test_runs_that_are_told_to_stop_lose_nothing(tmp_path: Path) -> None:
    results = tmp_path / "signals.json"
    command = [sys.executable, "-m", "benchmarks.signals", "--signals", str(SIGNALS), "--results", results]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(results.read_text())
    assert found["signals"] == SIGNALS
    assert set(found["exit codes"]) <= {"130", "0"}, "killed by a signal, or an error"
    assert found["exit codes"]["130"] > SIGNALS / 2
