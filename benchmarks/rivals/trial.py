"""A trial as a user of Keras would write it. Nothing is reused between trials."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from benchmarks.plain_model import plain_model
from benchmarks.rivals.curves import Report, as_line
from benchmarks.rivals.job import Job, strategy_of
from harness.core.strategy import Strategy

WARM_UP_SHARE = 0.1  # of all steps, as in the harness's trials


def parts(job: Job) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Return (images preprocessed for VGG16, classes) of the training and of the validation set."""
    with np.load(job.images) as arrays:
        train, validation = (
            (keras.applications.vgg16.preprocess_input(arrays[f"{part}_pixels"]), arrays[f"{part}_labels"])
            for part in ("train", "validation")
        )
    return train, validation


def network(strategy: Strategy, job: Job) -> keras.Model:
    """Return VGG16 with its first convolutions frozen and a head on it, compiled."""
    model = plain_model(strategy, job.ruler.image_size, job.ruler.n_classes, job.weights)
    sgd = strategy.optimizer == "sgd"
    optimizer = keras.optimizers.SGD(momentum=0.9, nesterov=True) if sgd else keras.optimizers.Adam()
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class Schedule(keras.callbacks.Callback):
    """Linear warm-up to ``peak`` and cosine decay to zero.

    Steps are counted from the first epoch of a trial, because a tuner may continue a trial that it has trained before.
    """

    def __init__(self, peak: float, job: Job) -> None:
        super().__init__()
        self._peak = peak
        self._steps_per_epoch = math.ceil(job.ruler.n_train / job.batch_size)
        self._steps = job.ruler.epochs * self._steps_per_epoch
        self._before = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._before = epoch * self._steps_per_epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        step = self._before + batch
        warm_up = max(1, round(WARM_UP_SHARE * self._steps))
        if step < warm_up:
            factor = (step + 1) / warm_up
        else:
            factor = 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, self._steps - warm_up)))
        self.model.optimizer.learning_rate = self._peak * factor


class Reports(keras.callbacks.Callback):
    """Callback that appends a line to the job's reports after each epoch."""

    def __init__(self, job: Job, trial: str, strategy: Strategy) -> None:
        super().__init__()
        self._job, self._trial, self._strategy = job, trial, strategy

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        seconds = time.monotonic() - self._job.started
        report = Report(seconds, self._trial, epoch + 1, self._strategy, float(logs["val_accuracy"]))
        with Path(self._job.reports).open("a", encoding="utf-8") as file:
            file.write(as_line(report))


def run(drawn: Mapping[str, Any], job: Job, trial: str, *more: keras.callbacks.Callback) -> None:
    """Train a whole trial, for tuners that leave the training to their users."""
    keras.utils.set_random_seed(job.seed)
    strategy = strategy_of(drawn)
    train, validation = parts(job)
    network(strategy, job).fit(
        *train,
        validation_data=validation,
        epochs=job.ruler.epochs,
        batch_size=job.batch_size,
        callbacks=[Schedule(strategy.learning_rate, job), Reports(job, trial, strategy), *more],
        verbose=0,
    )
