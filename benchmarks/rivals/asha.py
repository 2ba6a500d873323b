"""Run Ray Tune's ASHA on random trials: ``python -m benchmarks.rivals.asha JOB``."""

import os
from collections.abc import Mapping
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import BasicVariantGenerator

from benchmarks.rivals.job import Job


def train(drawn: Mapping[str, Any], job: Job) -> None:
    """Train one trial, in a process of Ray."""
    import keras

    from benchmarks.rivals.trial import run

    def tell(epoch: int, logs: Mapping[str, float]) -> None:
        tune.report({"val_accuracy": logs["val_accuracy"]})

    run(drawn, job, tune.get_context().get_trial_id(), keras.callbacks.LambdaCallback(on_epoch_end=tell))


def space(job: Job) -> dict[str, Any]:
    """Return the search space of the job in Ray's terms."""
    found: dict[str, Any] = {name: tune.choice(list(values)) for name, values in job.choices().items()}
    for name, (least, most, logarithmic) in job.ranges().items():
        if isinstance(least, int):  # Ray leaves out the upper end of integers
            found[name] = (tune.lograndint if logarithmic else tune.randint)(least, int(most) + 1)
        else:
            found[name] = (tune.loguniform if logarithmic else tune.uniform)(least, most)
    return found


if __name__ == "__main__":
    job = Job.asked_for()
    own = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0"}
    os.environ |= own  # read when it starts: a cluster of this process alone, whose trials run at normal priority
    ray.init(include_dashboard=False, log_to_driver=False, _temp_dir=job.folder)
    tune.Tuner(
        tune.with_parameters(train, job=job),
        param_space=space(job),
        tune_config=tune.TuneConfig(
            metric="val_accuracy",
            mode="max",
            scheduler=ASHAScheduler(max_t=job.ruler.epochs),
            search_alg=BasicVariantGenerator(random_state=job.seed),
            num_samples=-1,
            time_budget_s=job.seconds_left(),
        ),
        run_config=tune.RunConfig(storage_path=job.folder, verbose=0),
    ).fit()
