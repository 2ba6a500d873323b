"""Run Syne Tune's multi-objective ASHA, accuracy up and FLOPs down: ``python -m benchmarks.rivals.mo_asha JOB``."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from syne_tune import StoppingCriterion, Tuner, config_space
from syne_tune.backend import LocalBackend
from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA

from benchmarks.rivals.job import Job


def space(job: Job) -> dict[str, Any]:
    """Return the search space of the job in Syne Tune's terms."""
    found: dict[str, Any] = {name: config_space.choice(list(values)) for name, values in job.choices().items()}
    for name, (least, most, logarithmic) in job.ranges().items():
        if isinstance(least, int):
            found[name] = (config_space.lograndint if logarithmic else config_space.randint)(least, int(most))
        else:
            found[name] = (config_space.loguniform if logarithmic else config_space.uniform)(least, most)
    return found


if __name__ == "__main__":
    job = Job.asked_for()
    os.environ["SYNETUNE_FOLDER"] = job.folder
    np.random.seed(job.seed)  # noqa: NPY002 - its trials are drawn from this
    Tuner(
        LocalBackend(entry_point=str(Path(__file__).with_name("mo_asha_trial.py"))),
        MOASHA({**space(job), "job": sys.argv[1]}, ["val_error", "decades"], max_t=job.ruler.epochs),
        StoppingCriterion(max_wallclock_time=job.seconds_left()),
        n_workers=2,
    ).run()
