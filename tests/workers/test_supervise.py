"""Supervision: processes that die are restarted, and failures end the run."""

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from harness.core import environment
from harness.core.errors import HarnessError
from harness.core.spec import DatasetSpec
from harness.storage.tables import SECONDS
from harness.workers import processes, supervise
from harness.workers.job import Job


def _die_once(job: Job) -> None:
    mark = Path(job.storage)
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def _tell(job: Job) -> None:
    blocked = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    Path(job.storage).write_text(f"{os.environ['TF_NUM_INTRAOP_THREADS']} {blocked}")


def _die(_: Job) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fail(_: Job) -> None:
    sys.exit(1)


def _refuse(_: Job) -> None:
    sys.exit(2)


def _hang(job: Job) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not the handler that this process has from other tests
    if job.baselines:  # the first of them
        time.sleep(1)
        sys.exit(2)
    time.sleep(600)


class TestSupervision:
    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(processes, "_CONTEXT", multiprocessing.get_context("fork"))
        monkeypatch.setattr(supervise, "RESTARTS", 3)

    def job(self, tmp_path: Path) -> Job:
        dataset = DatasetSpec(name="x", file=Path("x"), similar_to_imagenet=False)
        return Job("tiny", str(tmp_path / "mark"), dataset, "test", baselines=True)

    def supervise(self, tmp_path: Path, workers: int) -> None:
        pool = processes.ProcessPool(self.job(tmp_path), workers)
        supervise.supervise(pool, workers, count_finished=lambda: 0)

    def test_a_dead_process_is_restarted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(processes, "be_worker", _die_once)
        self.supervise(tmp_path, 1)
        assert "worker 1 died of SIGKILL: it is started again" in caplog.text

    def test_a_process_has_its_share_and_leaves_ctrl_c_to_the_parent(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
        monkeypatch.setattr(environment, "available_cores", lambda: 7)
        monkeypatch.setattr(processes, "be_worker", _tell)
        before = dict(os.environ)
        self.supervise(tmp_path, 2)
        assert (tmp_path / "mark").read_text() == "3 True"
        assert dict(os.environ) == before
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])

    @pytest.mark.parametrize(
        ("life", "error", "message"),
        [
            (_die, RuntimeError, "4 workers died and no trial was finished; the last of SIGKILL"),
            (_fail, RuntimeError, "worker 1 of 1 failed with the error above"),
            (_refuse, HarnessError, "worker 1 of 1 could not go on"),
        ],
    )
    def test_failures_that_restarting_does_not_fix_end_the_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, life: Any, error: type[Exception], message: str
    ) -> None:
        monkeypatch.setattr(processes, "be_worker", life)
        with pytest.raises(error, match=message):
            self.supervise(tmp_path, 1)

    def test_all_are_stopped_together(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(processes, "be_worker", _hang)
        with pytest.raises(HarnessError):
            self.supervise(tmp_path, 3)
        assert multiprocessing.active_children() == []


def test_each_trial_that_finishes_is_shown_once() -> None:
    rows: list[dict[str, Any]] = []
    store: Any = SimpleNamespace(
        studies=SimpleNamespace(get=lambda _: SimpleNamespace(metric="accuracy")),
        trials=SimpleNamespace(
            frame=lambda _: pd.DataFrame({"number": [0, 2]}),
            since=lambda _, first: [row for row in rows if row["number"] >= first],
        ),
        tickets=SimpleNamespace(
            counts=lambda _: SimpleNamespace(finished=2 + sum(row["status"] is not None for row in rows))
        ),
    )
    shown: list[int] = []
    progress: Any = SimpleNamespace(trial=lambda number, *_: shown.append(number))
    finished: list[list[int]] = []
    look = supervise.follow(store, "tiny", progress, lambda: finished.append(list(shown)))
    seconds = dict.fromkeys(SECONDS, 1.0)
    for number, status in ((3, None), (1, "complete"), (4, "pruned")):
        rows.append({"number": number, "status": status, "val_accuracy": 0.5, "strategy": "fine_tune_all", **seconds})
        look()
    rows[0]["status"] = "complete"
    assert look() == look() == 5
    assert shown == [1, 4, 3] and finished == [[1], [1, 4], [1, 4, 3]]
