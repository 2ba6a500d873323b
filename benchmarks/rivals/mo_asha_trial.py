"""Run one trial of `mo_asha`, in a process of its own."""

import argparse
import math
import os
from collections.abc import Mapping

import keras
from syne_tune import Reporter

from benchmarks.rivals.job import Job, strategy_of
from benchmarks.rivals.trial import run

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--job")
    job = Job.read(parser.parse_known_args()[0].job)
    for name in job.choices():
        parser.add_argument(f"--{name}")
    for name, (least, _, _) in job.ranges().items():
        parser.add_argument(f"--{name}", type=type(least))
    drawn = vars(parser.parse_known_args()[0])
    strategy, report = strategy_of(drawn), Reporter()

    def tell(epoch: int, logs: Mapping[str, float]) -> None:
        decades = math.log10(job.ruler.flops(strategy, epoch + 1))
        report(training_iteration=epoch + 1, val_error=1 - logs["val_accuracy"], decades=decades)

    run(drawn, job, str(os.getpid()), keras.callbacks.LambdaCallback(on_epoch_end=tell))
