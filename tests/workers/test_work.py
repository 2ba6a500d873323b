"""Worker processes: heartbeats, retries, supervision, shares of a machine, and failures."""

import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from harness import command, worker
from harness.core import environment
from harness.core.clock import TimeLimit
from harness.core.errors import DataError, HarnessError, SpecError
from harness.core.processes import host, process_started
from harness.core.results import Checkpoint, TrialResult
from harness.core.spec import DatasetSpec, StudySpec
from harness.core.strategy import Strategy
from harness.guidance.advice import Advice
from harness.search import worker as search_worker
from harness.search.optuna_study import open_study, recover
from harness.search.plan import plan
from harness.search.resume import begin_session
from harness.search.worker import Worker
from harness.storage import database, heartbeat, sessions
from harness.storage.database import DatabaseUnavailable, retry_while_unavailable
from harness.storage.heartbeat import DEAD_AFTER, Heartbeat, Watch
from harness.storage.store import Store
from harness.training.problem import Problem
from harness.workers import processes, ray_workers, supervise, work
from tests.conftest import ROOT

ADVICE = Advice(2, Strategy("freeze_first_k", 7, "average", (), 0.0, "adam", 1e-4, image_size=32), "because")


@pytest.fixture
def store(tmp_path: Path, study_file: Path) -> Store:
    spec, _ = StudySpec.load(str(study_file))
    opened = Store(f"sqlite:///{tmp_path}/study.db")
    opened.studies.create("tiny", spec=spec.model_dump(mode="json"), data={"digest": "d", "dataset": "x"}, advice={})
    return opened


def session(store: Store, host: str, pid: int = 1, started: float = 0.0) -> int:
    return store.sessions.begin(
        "tiny",
        command="",
        spec={},
        environment={"commit": "", "device": ""},
        host=host,
        pid=pid,
        process_started=started,
    )


class Clock:
    """A fake of `time.monotonic` and `time.sleep`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (heartbeat, database):
        monkeypatch.setattr(module.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(database.time, "sleep", clock.sleep)
    return clock


class TestHeartbeats:
    def test_a_remote_session_is_dead_after_enough_checks_without_one(self, store: Store, clock: Clock) -> None:
        silent, living = session(store, "elsewhere"), session(store, "elsewhere")
        watch = Watch(store, "tiny")
        for look in range(DEAD_AFTER):
            assert watch.dead() == [], look
            store.sessions.record_heartbeat(living)
            clock.now += heartbeat.BEAT
        assert watch.dead() == [silent]

    def test_checks_in_quick_succession_count_once(self, store: Store, clock: Clock) -> None:
        session(store, "elsewhere")
        watch = Watch(store, "tiny")
        assert [watch.dead() for _ in range(10 * DEAD_AFTER)] == [[]] * 10 * DEAD_AFTER

    def test_after_a_long_gap_between_checks_no_session_is_dead(self, store: Store, clock: Clock) -> None:
        """The database was unavailable or the watching machine suspended, so that nothing was recorded or checked."""
        session(store, "elsewhere")
        watch = Watch(store, "tiny")
        watch.dead()
        clock.now += 100 * DEAD_AFTER * heartbeat.BEAT
        assert watch.dead() == []

    @pytest.mark.parametrize("hours", [-5, 5])
    def test_setting_the_clock_has_no_effect(
        self, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch, hours: int
    ) -> None:
        silent, living = session(store, "elsewhere"), session(store, "elsewhere")
        watch = Watch(store, "tiny")
        watch.dead()
        real = sessions.now
        monkeypatch.setattr(sessions, "now", lambda: real() + timedelta(hours=hours))
        for _ in range(DEAD_AFTER):
            store.sessions.record_heartbeat(living)
            clock.now += heartbeat.BEAT
            dead = watch.dead()
        assert dead == [silent]

    def test_a_dead_process_on_this_machine_is_noticed(self, store: Store) -> None:
        here, own = host(), process_started(os.getpid())
        assert own is not None
        session(store, here, os.getpid(), own)
        gone = session(store, here, 2**22 + 1)
        used_again = session(store, here, os.getpid(), own - 100)
        assert Watch(store, "tiny").dead() == [gone, used_again]

    def test_heartbeats_are_recorded_until_the_block_ends(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(heartbeat, "BEAT", 0.01)
        number = session(store, "here")
        with Heartbeat(store, number):
            signs: set[Any] = set()
            while len(signs) < 3:  # limited by the timeout of the test
                signs.add(store.sessions.unfinished("tiny")[0].last_seen)
        last = store.sessions.unfinished("tiny")[0].last_seen
        time.sleep(0.05)
        assert store.sessions.unfinished("tiny")[0].last_seen == last


class TestRetries:
    def test_calls_are_retried_until_the_database_is_back(self, clock: Clock) -> None:
        calls = 0

        def away_for_a_minute() -> str:
            nonlocal calls
            calls += 1
            if clock.now < 1060:
                raise DatabaseUnavailable("gone")
            return "here"

        assert retry_while_unavailable(away_for_a_minute) == "here"
        assert clock.pauses[:3] == [0.1, 0.2, 0.4] and max(clock.pauses) == 5.0 and calls < 25

    def test_retries_end(self, clock: Clock) -> None:
        def away() -> None:
            raise DatabaseUnavailable("gone")

        with pytest.raises(DatabaseUnavailable):
            retry_while_unavailable(away)
        assert database.RETRY_SECONDS < clock.now - 1000 < database.RETRY_SECONDS + 10

    def test_a_bug_is_not_retried(self, clock: Clock) -> None:
        with pytest.raises(ZeroDivisionError):
            retry_while_unavailable(lambda: 1 // 0)
        assert clock.pauses == []

    def test_a_locked_database_is_retried(self, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(database, "LOCK_WAIT", 0.01)
        impatient = Store(store.url)
        other = sqlite3.connect(tmp_path / "study.db", isolation_level=None)
        other.execute("begin immediate")
        with pytest.raises(DatabaseUnavailable, match="was locked"):
            impatient.sessions.record_heartbeat(1)
        monkeypatch.setattr(database.time, "sleep", lambda _: other.execute("rollback"))
        retry_while_unavailable(lambda: impatient.sessions.record_heartbeat(1))


class TestTrials:
    """Trials of a real study with a stub instead of training."""

    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(search_worker, "_IDLE", 0.01)

    def worker(self, store: Store, problem: Problem) -> Worker:
        number = begin_session(store, problem.spec, command="test", environment={"commit": "", "device": ""})
        return Worker(open_study(store, "tiny"), store, problem, number, lambda _: None)

    def test_a_process_considered_dead_drops_its_result(
        self, store: Store, tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is paused in its first trial until another process has done that trial. Then it runs the rest."""
        study = open_study(store, "tiny")
        plan(study, store, tiny_problem.spec, ADVICE)
        frozen, other = self.worker(store, tiny_problem), self.worker(store, tiny_problem)
        ran: list[str] = []

        def run_trial(*_: object, on_checkpoint: Callable[..., Any], **__: object) -> TrialResult:
            if not ran:
                ran.append("frozen")
                assert store.tickets.release_dead_session("tiny", frozen._session) == [0]
                recover(study, store, Watch(store, "tiny"))
                other.run(lambda *_: None, stop=lambda: len(ran) >= 3)
            ran.append("whole")
            on_checkpoint((Checkpoint(1, 1e9, 1.0, 1.0, 1.0, 0.5),))
            return TrialResult("complete", 1e9, 1e9, val_accuracy=0.5)

        monkeypatch.setattr(search_worker, "run_trial", run_trial)
        finished: list[int] = []
        frozen.run(lambda number, *_: finished.append(number), stop=lambda: False)
        assert "its result is dropped" in caplog.text
        rows = store.trials.frame("tiny")
        assert rows["number"].tolist() == list(range(8)) and 0 not in finished
        assert rows.loc[0, "session"] == other._session and rows["retries"].tolist() == [1] + [0] * 7
        assert Counter(trial.state.name for trial in study.get_trials()) == {"COMPLETE": 8}
        assert frozen._session in {row.id for row in store.sessions.unfinished("tiny")}

    def test_trials_that_need_as_much_memory_as_a_failed_one_are_skipped(
        self, store: Store, tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plan(open_study(store, "tiny"), store, tiny_problem.spec, ADVICE)
        begun: list[Strategy] = []

        def run_trial(strategy: Strategy, *_: object, **__: object) -> TrialResult:
            begun.append(strategy)
            if strategy.frozen <= 7:
                return TrialResult("out_of_memory", 0.0, 1e9, reason="8 GB were asked for")
            return TrialResult("complete", 1e9, 1e9, val_accuracy=0.5)

        monkeypatch.setattr(search_worker, "run_trial", run_trial)
        self.worker(store, tiny_problem).run(lambda *_: None, stop=lambda: False)
        rows = store.trials.frame("tiny").set_index("number")
        assert rows.loc[0, "status"] == "out_of_memory"
        assert open_study(store, "tiny").trials[0].state == TrialState.FAIL, "the sampler does not learn from it"
        refused = rows[rows["status"] == "over_budget"]
        assert len(refused) + len(begun) == 8 and len(refused) > 0
        assert refused["reason"].str.fullmatch(r"needs at least the memory of trial \d, which ran out of it").all()
        for one in begun[1:]:
            assert not one.needs_memory_of(begun[0])

    @pytest.mark.parametrize("workers", [2, pytest.param(8, marks=pytest.mark.large)])
    def test_more_workers_search_the_same_problem(
        self, store: Store, tiny_problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
    ) -> None:
        """The seed and plan of a trial do not depend on the worker."""

        def run_trial(*_: object, **__: object) -> TrialResult:
            return TrialResult("complete", 1e9, 1e9, val_accuracy=0.5)

        monkeypatch.setattr(search_worker, "run_trial", run_trial)
        alone = Store(f"sqlite:///{tmp_path}/alone.db")
        alone.studies.create("tiny", spec={}, data={}, advice={})
        for where, n in ((alone, 1), (store, workers)):
            plan(open_study(where, "tiny"), where, tiny_problem.spec, ADVICE)
            crew = [self.worker(where, tiny_problem) for _ in range(n)]
            done = 0
            while done < 8:
                for one in crew:
                    before = len(where.trials.frame("tiny"))
                    one.run(lambda *_: None, stop=lambda: len(where.trials.frame("tiny")) > before)  # noqa: B023
                done = len(where.trials.frame("tiny"))
        planned = ["number", "seed", "origin", "strategy"]
        first, second = (where.trials.frame("tiny") for where in (alone, store))
        assert second["session"].nunique() == workers
        pinned = first["origin"] != "sampler"
        assert first.loc[pinned, planned].to_numpy().tolist() == second.loc[pinned, planned].to_numpy().tolist()
        assert first["seed"].tolist() == second["seed"].tolist()

    @pytest.mark.large
    def test_two_runs_that_plan_concurrently_plan_once(
        self, store: Store, tiny_problem: Problem, tmp_path: Path
    ) -> None:
        script = """
import sys
from harness.search.optuna_study import open_study
from harness.search.plan import plan
from harness.core.spec import StudySpec
from harness.storage.store import Store
from tests.workers.test_work import ADVICE
store, spec = Store(sys.argv[1]), StudySpec.load(sys.argv[2])[0]
plan(open_study(store, "tiny"), store, spec, ADVICE)
"""
        open_study(store, "tiny")
        command = [sys.executable, "-c", script, store.url, str(tmp_path / "tiny.toml")]
        runs = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
        assert [run.wait() for run in runs] == [0, 0]
        assert len(open_study(store, "tiny").get_trials()) == 8


class TestShares:
    def test_cores_are_split(self) -> None:
        assert processes.share(1, 3, 8, [], {})["TF_NUM_INTRAOP_THREADS"] == "2"
        assert processes.share(0, 4, 2, [], {})["OMP_NUM_THREADS"] == "1"

    def test_gpus_are_assigned_in_turn_and_their_memory_split(self) -> None:
        shares = [processes.share(index, 3, 8, ["0", "GPU-7"], {}) for index in range(3)]
        assert [share["CUDA_VISIBLE_DEVICES"] for share in shares] == ["0", "GPU-7", "0"]
        assert {share["XLA_PYTHON_CLIENT_MEM_FRACTION"] for share in shares} == {"0.450"}

    def test_settings_of_the_user_are_kept(self) -> None:
        given = {"OMP_NUM_THREADS": "5", "CUDA_VISIBLE_DEVICES": "0,1"}
        share = processes.share(1, 2, 8, ["0", "1"], given)
        assert "OMP_NUM_THREADS" not in share and share["CUDA_VISIBLE_DEVICES"] == "1"

    def test_visible_devices(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for value, expected in (("", []), ("-1", []), ("2,GPU-5", ["2", "GPU-5"])):
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
            assert environment.gpus() == expected


def _die_once(job: work.Job) -> None:
    mark = Path(job.storage)
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def test_layers_that_exceed_memory_get_no_score(
    store: Store, tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def layer_scores(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(work, "layer_scores", layer_scores)
    work._score_layers(store, tiny_problem)
    assert "layers are not scored: out of memory" in caplog.text


def _tell(job: work.Job) -> None:
    blocked = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    Path(job.storage).write_text(f"{os.environ['TF_NUM_INTRAOP_THREADS']} {blocked}")


def _die(_: work.Job) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fail(_: work.Job) -> None:
    sys.exit(1)


def _refuse(_: work.Job) -> None:
    sys.exit(2)


def _hang(job: work.Job) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not the handler that this process has from other tests
    if job.baselines:  # the first of them
        time.sleep(1)
        sys.exit(2)
    time.sleep(600)


class TestSupervision:
    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(processes, "_CONTEXT", processes.multiprocessing.get_context("fork"))
        monkeypatch.setattr(supervise, "RESTARTS", 3)

    def job(self, tmp_path: Path) -> work.Job:
        dataset = DatasetSpec(name="x", file=Path("x"), similar_to_imagenet=False)
        return work.Job("tiny", str(tmp_path / "mark"), dataset, "test", baselines=True)

    def supervise(self, tmp_path: Path, workers: int) -> None:
        pool = processes.ProcessPool(self.job(tmp_path), workers)
        supervise.supervise(pool, workers, count_finished=lambda: 0)

    def test_a_dead_process_is_restarted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(processes, "_be_worker", _die_once)
        self.supervise(tmp_path, 1)
        assert "worker 1 died of SIGKILL: it is started again" in caplog.text

    def test_a_process_has_its_share_and_leaves_ctrl_c_to_the_parent(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
        monkeypatch.setattr(environment, "available_cores", lambda: 7)
        monkeypatch.setattr(processes, "_be_worker", _tell)
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
        monkeypatch.setattr(processes, "_be_worker", life)
        with pytest.raises(error, match=message):
            self.supervise(tmp_path, 1)

    def test_all_are_stopped_together(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(processes, "_be_worker", _hang)
        with pytest.raises(HarnessError):
            self.supervise(tmp_path, 3)
        assert processes.multiprocessing.active_children() == []


class TestJoining:
    def test_bad_input(self, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
        for arguments, message in (
            (["--study", "absent"], "there is no study 'absent' in this database. It holds: tiny"),
            (["--study", "tiny", "--workers", "0"], "--workers 0: give 1 or more"),
            (["--study", "tiny", "--data", "mnits"], "did you mean 'mnist'?"),
        ):
            assert worker.main([*arguments, "--storage", store.url]) == 2
            error = capsys.readouterr().err
            assert error.startswith("error: ") and message in error and "Traceback" not in error

    def test_the_data_set_is_that_of_the_study(self, store: Store, digits: DatasetSpec, tmp_path: Path) -> None:
        shipped = {"data": {"dataset": "mnist"}}
        own = {"data": {"dataset": "digits.toml"}}
        store.studies.create("shipped", spec=shipped, data={}, advice={})
        store.studies.create("own", spec=own, data={"declared": digits.model_dump(mode="json")}, advice={})
        assert command.dataset_of(store, "shipped", None).name == "mnist"
        assert command.dataset_of(store, "own", None) == digits
        digits.file.rename(tmp_path / "moved.npz")
        with pytest.raises(SpecError, match=r"digits.npz of study 'own' are not here: give them with --data"):
            command.dataset_of(store, "own", None)

    def test_other_images_are_refused(self, store: Store, tiny_problem: Problem) -> None:
        row = store.studies.find("tiny")
        assert row is not None
        with pytest.raises(DataError, match="are not those that study 'tiny' was begun with"):
            work.check_same_images(row, tiny_problem.split)


def test_a_deadline_is_sent_as_remaining_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[work.Job] = []
    monkeypatch.setattr(ray_workers, "work", lambda job, **_: jobs.append(job))
    monkeypatch.setattr(time, "monotonic", lambda: 5000.0)
    dataset = DatasetSpec(name="x", file=Path("x"), similar_to_imagenet=False)
    ray_workers.RayWorker().run(work.Job("tiny", "", dataset, "test", limit=TimeLimit(900.0, 60.0)))
    ray_workers.RayWorker().run(work.Job("tiny", "", dataset, "test"))
    assert [job.limit.ends for job in jobs] == [5060.0, math.inf]


def test_ray_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SpecError, match="Ray is not installed: pip install"):
        ray_workers._connected(None)
