"""Ctrl-C and SIGTERM before, in and after a command, and outside the main thread."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.__main__ import COMMANDS
from harness.core.interrupts import between_steps, interrupts, stop_if_asked
from tests.conftest import ROOT


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_interrupts_the_block_only(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), interrupts():
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_a_signal_waits_for_the_end_of_a_step() -> None:
    done: list[str] = []

    def steps() -> None:
        with interrupts(), between_steps():
            signal.raise_signal(signal.SIGTERM)
            done.append("step")
            stop_if_asked()
            done.append("another")

    with pytest.raises(KeyboardInterrupt):
        steps()
    assert done == ["step"]
    stop_if_asked()  # once


def test_a_signal_in_the_last_step_comes_after_it() -> None:
    done: list[str] = []

    def steps() -> None:
        with interrupts():
            with between_steps():
                signal.raise_signal(signal.SIGTERM)
                done.append("step")
            done.append("after")

    with pytest.raises(KeyboardInterrupt):
        steps()
    assert done == ["step"]


def test_a_second_signal_does_not_wait() -> None:
    done: list[str] = []

    def steps() -> None:
        with interrupts(), between_steps():
            signal.raise_signal(signal.SIGTERM)
            done.append("step")
            signal.raise_signal(signal.SIGTERM)
            done.append("another")

    with pytest.raises(KeyboardInterrupt):
        steps()
    assert done == ["step"]
    stop_if_asked()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_a_destructor_swallows_comes_with_the_next_step() -> None:
    done: list[str] = []

    class Dropped:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    def steps() -> None:
        with interrupts():
            Dropped()
            done.append("went on")
            stop_if_asked()
            done.append("another")

    with pytest.raises(KeyboardInterrupt):
        steps()
    assert done == ["went on"]


def test_what_is_done_because_of_a_signal_is_not_interrupted_by_it() -> None:
    done: list[str] = []

    def steps() -> None:
        with interrupts():
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                stop_if_asked()
                done.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        steps()
    assert done == ["cleaned up"]
    stop_if_asked()  # nothing is left for later


def test_a_command_in_the_background_goes_on_ignoring_ctrl_c() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_leaves_the_signals_alone() -> None:
    found: list[object] = []

    def run() -> None:
        with interrupts():
            found.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [before]


@pytest.mark.parametrize("commands", [("run",), pytest.param(COMMANDS, marks=pytest.mark.large)], ids=["run", "all"])
def test_a_signal_during_imports_ends_a_command_without_a_traceback(tmp_path: Path, commands: Sequence[str]) -> None:
    # Every command imports SQLAlchemy first.
    (tmp_path / "sqlalchemy.py").write_text(
        "import os, time\nos.kill(os.getpid(), int(os.environ['SIGNAL']))\ntime.sleep(60)\nraise SystemExit(1)\n"
    )
    ways = [(["-m", f"harness.{name}"], signal.SIGTERM) for name in commands]
    console = "from harness.__main__ import console; raise SystemExit(console())"
    ways += [(["-m", "harness.run"], signal.SIGINT), (["-m", "harness", "run"], signal.SIGTERM)]
    ways += [(["-c", console, "run"], number) for number in (signal.SIGINT, signal.SIGTERM)]
    processes = [
        subprocess.Popen(
            [sys.executable, *way], stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "SIGNAL": str(int(number))},
        )
        for way, number in ways
    ]  # fmt: skip
    for way, process in zip(ways, processes, strict=True):
        assert (process.communicate(timeout=60)[1], process.returncode) == ("stopped.\n", 130), way
