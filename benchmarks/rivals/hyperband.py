"""Run KerasTuner's Hyperband repeatedly until the time is over: ``python -m benchmarks.rivals.hyperband JOB``."""

from typing import Any

import keras
import keras_tuner

from benchmarks.rivals.job import Job, strategy_of
from benchmarks.rivals.trial import Reports, Schedule, network, parts


class Trials(keras_tuner.HyperModel):
    """Draws, builds and trains the networks."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._job, self._begun = job, 0

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        for name, values in self._job.choices().items():
            hp.Choice(name, list(values))
        for name, (least, most, logarithmic) in self._job.ranges().items():
            number = hp.Int if isinstance(least, int) else hp.Float
            number(name, least, most, sampling="log" if logarithmic else "linear")
        return network(strategy_of(hp.values), self._job)

    def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, *given: Any, callbacks: Any, **more: Any) -> Any:
        self._begun += 1
        strategy = strategy_of(hp.values)
        schedule = Schedule(strategy.learning_rate, self._job)
        reports = Reports(self._job, str(self._begun), strategy)
        return model.fit(*given, callbacks=[*callbacks, schedule, reports], **more)


if __name__ == "__main__":
    job = Job.asked_for()
    keras.utils.set_random_seed(job.seed)
    train, validation = parts(job)
    tuner = keras_tuner.Hyperband(
        Trials(job),
        objective="val_accuracy",
        max_epochs=job.ruler.epochs,
        hyperband_iterations=1000,
        seed=job.seed,
        directory=job.folder,
    )
    tuner.search(*train, validation_data=validation, batch_size=job.batch_size, verbose=0)
