"""Compare fifty trials of the loop a user would write, with Optuna's MedianPruner, with fifty of the harness.

    python -m benchmarks.whole_job [--trials 50] [--seeds 1]

The loop is Optuna's TPE over the space of the study `mnist` with an objective around Keras's ``fit`` that reports every
epoch. It reuses only what Keras keeps, and clears what a trial left. The harness is `harness.run` from an empty cache
and database, with its baselines and page. Both have the same images, split, epochs and batch size. Each runs in a new
process, one after the other, timed from its start to its end. Writes seconds, peak memory and the best validation
accuracy of any epoch of any trial to benchmarks/results/whole_job.json. The loop takes most of an hour or longer. Needs
VGG16's weights (see docs/usage.md).
"""

import argparse
import os
import resource
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import optuna

from benchmarks.apart import timed
from benchmarks.plain_model import save_weights
from benchmarks.record import machine, write
from benchmarks.rivals.__main__ import Checkpoints, save_images
from benchmarks.rivals.curves import read_reports
from benchmarks.rivals.job import STUDY, Job
from benchmarks.rivals.trial import run
from harness.backbones.weights import load_weights
from harness.core.backbone import BackboneSpec
from harness.core.spec import StudySpec

VGG16 = BackboneSpec.load("vgg16")


class Pruning(keras.callbacks.Callback):
    """Reports the accuracy to Optuna after each epoch and ends the trial if its pruner says so."""

    def __init__(self, trial: optuna.Trial) -> None:
        super().__init__()
        self._trial = trial
        self.accuracy = 0.0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.accuracy = float(logs["val_accuracy"])
        self._trial.report(self.accuracy, epoch)
        if self._trial.should_prune():
            raise optuna.TrialPruned


def loop(job: Job, trials: int) -> None:
    """Run the study of a user without the harness."""

    def objective(trial: optuna.Trial) -> float:
        keras.backend.clear_session()
        drawn: dict[str, Any] = {name: trial.suggest_categorical(name, list(of)) for name, of in job.choices().items()}
        for name, (least, most, logarithmic) in job.ranges().items():
            number: Callable[..., Any] = trial.suggest_int if isinstance(least, int) else trial.suggest_float
            drawn[name] = number(name, least, most, log=logarithmic)
        pruning = Pruning(trial)
        run(drawn, job, str(trial.number), pruning)
        return pruning.accuracy

    sampler, pruner = optuna.samplers.TPESampler(seed=job.seed), optuna.pruners.MedianPruner()
    optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner).optimize(objective, trials)


def harness(job: Job, trials: int) -> None:
    """Run the harness's study, then write reports of what its database holds."""
    command, variables = job.harness("--trials", str(trials))
    subprocess.run(command, env={**os.environ, **variables}, check=True)
    Checkpoints(job.database, Path(job.reports), job.started).look()


def _measured(of: Callable[[Job, int], None], job: Job, trials: int, send: Any) -> None:
    of(job, trials)
    peaks = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    send.send(max(peaks) / 2**20)


def measure(of: Callable[[Job, int], None], job: Job, trials: int) -> dict[str, Any]:
    """Run a whole search in a new process; return its seconds, its memory and what it found."""
    seconds, gigabytes = timed(_measured, of, job, trials)
    reports = read_reports(Path(job.reports), float("inf"))
    found = {
        "seconds": seconds, "gigabytes": gigabytes, "best": max(report.val_accuracy for report in reports),
        "trials": len({report.trial for report in reports}), "epochs": len(reports),
    }  # fmt: skip
    print(f"seed {job.seed}, {of.__name__}:", {name: round(value, 3) for name, value in found.items()}, flush=True)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=1, help="of the split and of the searches (default: 1)")
    asked = parser.parse_args(argv)
    runs: dict[str, list[dict[str, Any]]] = {"loop": [], "harness": []}
    with tempfile.TemporaryDirectory() as temporary:
        weights = Path(temporary) / "vgg16.weights.h5"
        save_weights(load_weights(VGG16).tensors, weights)
        for seed in range(asked.seeds):
            spec, dataset = StudySpec.load(STUDY, {"seed": seed})
            images = Path(temporary) / f"{seed}.npz"
            ruler = save_images(spec, dataset, images)
            for of in (loop, harness):
                job = Job.begun(spec, images, ruler, weights, Path(temporary) / f"{of.__name__}{seed}")
                runs[of.__name__].append(measure(of, job, asked.trials))
    ratios = [theirs["seconds"] / ours["seconds"] for theirs, ours in zip(runs["loop"], runs["harness"], strict=True)]
    print(f"the loop takes {statistics.median(ratios):.1f} times as long")
    write("whole_job", {"machine": machine(), "asked_trials": asked.trials, "ratios": ratios, "runs": runs})


if __name__ == "__main__":
    main()
