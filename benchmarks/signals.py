"""Send SIGTERM to real runs at random moments; see how they end and what the next run finds.

    python -m benchmarks.signals [--signals 200] [--seed 0] [--results FILE]

A run is `harness run` on the tiny network of the tests in a fork of this process, which has imported everything: data,
baselines, activations, training steps, records, Optuna's mirror and page are real. Each signal is aimed at one of
`PHASES`: it is sent a random moment after the run has entered it, and counted where it arrived. The next run is the
same command on the same database with more trials; after so many signals one study is brought to its end and a new one
begins.

After every run the database is looked at: it is whole, no trial is running or held, finished trials are those that
finished before and new ones, each once and unchanged. When a study has ended all its trials and baselines are there
once, and Optuna has the same. Writes counts and seconds from signal to exit to benchmarks/results/signals.json after
each study.
"""

import argparse
import json
import mmap
import os
import random
import shutil
import signal
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import dashboards.optuna
import dashboards.page
from benchmarks import record
from harness import run
from harness.backbones.activation_cache import FeatureCache
from harness.core.interrupts import exit_on_signals
from harness.strategy_search import worker
from harness.strategy_search.mirror import Mirror
from harness.workers import work
from tests.helpers import forked_runs  # noqa: F401  # the tiny network
from tests.helpers.drawn_shapes import write_shapes

PHASES = {"start": 0.6, "baselines": 1.5, "activations": 0.05, "training": 3.0, "mirror": 0.03, "page": 0.8}
"""Where a run is, and how many seconds after it gets there a signal is sent at most."""

STUDY = """
name = "tiny"
seed = 0
[data]
dataset = "shapes.toml"
train_size = 96
validation_size = 48
test_size = 30
[search]
image_size = 32
strategies = ["feature_extraction", "freeze_first_k", "fine_tune_all"]
[search.learning_rate]
feature_extraction = [1e-4, 1e-2]
freeze_first_k = [1e-5, 1e-2]
fine_tune_all = [1e-5, 1e-2]
[budget]
trials = 8
epochs = 4
batch_size = 8
[baselines]
epochs = 2
"""
"""Its batches are small, so that an epoch has twelve steps."""

AIMS = (
    "start", "baselines", "baselines", "activations", "training", "training", "activations", "training", "training",
    "mirror", "page", "page",
)  # fmt: skip
"""What the signals of one study are aimed at, one run after another."""

TRIALS_A_RUN = {"mirror": 2, "page": 1}
"""How many trials a run has to do at least: few where the signal is to come after them, else `MANY`."""

MANY = 4

_phase = mmap.mmap(-1, 1)  # shared with the forks: the index of the run's phase


def mark(owner: Any, name: str, phase: str) -> None:
    """Note that a run is in ``phase`` while it is in this function."""
    real: Callable[..., Any] = getattr(owner, name)

    @wraps(real)
    def marked(*arguments: Any, **keywords: Any) -> Any:
        before, _phase[0] = _phase[0], list(PHASES).index(phase)
        try:
            return real(*arguments, **keywords)
        finally:
            _phase[0] = before

    setattr(owner, name, marked)


for owner, name, phase in (
    (work, "_run_baselines", "baselines"), (FeatureCache, "get", "activations"), (worker, "run_trial", "training"),
    (Mirror, "update", "mirror"), (dashboards.page, "write_page", "page"), (dashboards.optuna, "attach", "page"),
):  # fmt: skip
    mark(owner, name, phase)


def start(study: str, trials: int) -> int:
    """Begin or continue the study in a fork; return its process id."""
    _phase[0] = 0
    pid = os.fork()
    if pid == 0:
        descriptor = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        exit_on_signals()
        sys.exit(run.main(["--study", "tiny.toml", "--name", study, "--trials", str(trials)]))
    return pid


def ended(pid: int, seconds: float) -> int | None:
    """Wait so long at most for the run to end; return its exit code, negative for a signal, or None."""
    until = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            return None
        time.sleep(0.002)


def interrupt(pid: int, phase: str, draw: random.Random) -> dict[str, Any]:
    """Send a signal to the run at a random moment of ``phase``, and wait for its end."""
    wanted, code = list(PHASES).index(phase), None
    while code is None and _phase[0] != wanted:
        code = ended(pid, 0.002)
    code = code if code is not None else ended(pid, draw.uniform(0, PHASES[phase]))
    if code is not None:
        return {"phase": "ended before", "code": code}
    arrived = list(PHASES)[_phase[0]]
    os.kill(pid, signal.SIGTERM)
    sent = time.monotonic()
    code = ended(pid, 600)
    assert code is not None, "still running ten minutes after SIGTERM"
    return {"phase": arrived, "code": code, "seconds": time.monotonic() - sent}


def rows(query: str, *values: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query to the runs' database; none where it has not been made yet."""
    file = Path("results/harness.db")
    if not file.exists():
        return []
    with sqlite3.connect(file) as database:
        assert database.execute("pragma integrity_check").fetchall() == [("ok",)]
        if not database.execute("select 1 from sqlite_master where name = 'harness_baseline'").fetchone():
            return []
        return database.execute(query, values).fetchall()


FINISHED = (
    "select number, strategy, seed, learning_rate, val_accuracy, train_flops, status, epochs from trial_summary "
    "where study = ? order by number"
)


def look(study: str, before: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return the finished trials of the study.

    Raises AssertionError where a trial of ``before`` is gone or has changed, or one is running or held.
    """
    found = rows(FINISHED, study)
    assert set(before) <= set(found), f"lost or changed: {set(before) - set(found)}"
    assert rows("select number from harness_trial where study = ? and status is null", study) == []
    assert (
        rows("select number from harness_ticket where study = ? and session is not null and not finished", study) == []
    )
    tickets = rows("select number from harness_ticket where study = ? and finished order by number", study)
    assert tickets == [row[:1] for row in found], "tickets and trials differ"
    return found


def check_end(study: str, trials: int, found: Sequence[tuple[Any, ...]]) -> None:
    """Raise AssertionError unless everything of the study is there once, and Optuna has the same."""
    assert [row[0] for row in found] == list(range(trials))
    names = sorted(row[0] for row in rows("select name from harness_baseline where study = ?", study))
    assert names == ["cnn", "linear_probe", "majority", "mlp"]
    mirrored = rows(
        "select t.number, t.state, v.value from studies s join trials t using (study_id) left join trial_values v on "
        "v.trial_id = t.trial_id and v.objective = 0 where s.study_name = ? order by t.number",
        study,
    )
    states = {"complete": "COMPLETE", "failed": "FAIL", "out_of_memory": "FAIL"}
    ours = [(row[0], states.get(row[6], "PRUNED"), row[4] if row[6] == "complete" else None) for row in found]
    assert mirrored == ours, "Optuna has others"


def campaign(signals: int, seed: int) -> Iterator[dict[str, Any]]:
    """Send so many signals; yield what was seen after each study."""
    draw, after = random.Random(seed), 0
    seen: list[dict[str, Any]] = []
    while len(seen) < signals:
        study, found = f"s{after}", []
        after += 1
        for phase in AIMS[: signals - len(seen)]:
            one = interrupt(start(study, len(found) + TRIALS_A_RUN.get(phase, MANY)), phase, draw)
            now = look(study, found)
            seen.append(one | {"aimed at": phase, "found": len(now) - len(found)})
            found = now
            if one["code"] not in (0, 130):
                print(Path("output.txt").read_text(), flush=True)
            print(len(seen), study, seen[-1], flush=True)
        code = ended(start(study, len(found) + 1), 1800)
        assert code == 0, Path("output.txt").read_text()
        check_end(study, len(found) + 1, look(study, found))
        yield summary(seen) | {"studies that were then finished": after, "seen": seen}


def summary(seen: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Count the exit codes, in all and by the phase that the signals arrived in, with the seconds until the exit."""
    phases = {}
    for phase in (*PHASES, "ended before"):
        those = [one for one in seen if one["phase"] == phase]
        seconds = sorted(one["seconds"] for one in those if "seconds" in one)
        phases[phase] = {
            "runs": len(those),
            "exit codes": Counter(str(one["code"]) for one in those),
            "seconds": {"median": statistics.median(seconds), "longest": seconds[-1]} if seconds else None,
        }
    codes = Counter(str(one["code"]) for one in seen)
    return {
        "signals": len(seen),
        "exit codes": codes,
        "trials finished": sum(one["found"] for one in seen),
        "phases": phases,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Send the signals, print and write what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signals", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=record.RESULTS / "signals.json")
    asked = parser.parse_args(argv)
    file = asked.results.absolute()
    machine = record.machine()
    this, folder = os.getpid(), tempfile.mkdtemp()
    os.chdir(folder)
    os.environ["HARNESS_CACHE"] = f"{folder}/cache"
    write_shapes(Path(folder, "shapes"), 180)
    declared = 'name = "shapes"\nfile = "shapes"\nsimilar_to_imagenet = false\nsource = "drawn"\n'
    Path("shapes.toml").write_text(declared)
    Path("tiny.toml").write_text(STUDY)
    try:
        for found in campaign(asked.signals, asked.seed):
            result = {"machine": machine, "load": os.getloadavg()[0], "seed": asked.seed, **found}
            file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    finally:
        if os.getpid() == this:  # not in a run, which ends as any program does
            shutil.rmtree(folder)
    print(json.dumps({name: value for name, value in found.items() if name != "seen"}, indent=1))


if __name__ == "__main__":
    main()
