"""The one fit loop. Runs on Keras's TensorFlow and JAX backends."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from harness.backbones.activation_cache import Reader
from harness.backbones.batches import batches, edges
from harness.backbones.devices import as_numpy
from harness.core.clock import Clock
from harness.core.metrics import Scores
from harness.core.predictions import Predictions
from harness.core.refinements import PLAIN, Refinements
from harness.core.strategy import OptimizerName
from harness.training.averaging import Average
from harness.training.mixing import Mixing
from harness.training.networks import Network
from harness.training.schedule import Schedule

_CHECKED_EVERY = 10  # steps; to read each loss would make a GPU wait


@dataclass(frozen=True, slots=True)
class Part:
    """A training or validation set.

    Args:
        inputs: Activations or raw images (n, …), maybe memory-mapped.
        labels: Classes (n,).
        weights: What each image counts in the loss that is trained on (n,); None for one each.
        more_views: Other inputs of the same images. The epochs take them in turn with the first.
        flip: Whether a mirrored image is of the same class.
    """

    inputs: NDArray[Any]
    labels: NDArray[np.int64]
    weights: NDArray[np.float32] | None = None
    more_views: tuple[NDArray[Any], ...] = ()
    flip: bool = False

    @property
    def views(self) -> tuple[NDArray[Any], ...]:
        """All inputs of the images, one for each view."""
        return (self.inputs, *self.more_views)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class EpochEnd:
    """Figures after an epoch (counted from 1): mean training loss over it, validation loss and scores, and the
    ``predictions`` they are of; ``constant`` says that all validation images, two at least, were given the very same
    logits."""

    epoch: int
    train_loss: float
    val_loss: float
    scores: Scores
    predictions: Predictions = field(compare=False)  # arrays, which have no one truth value
    constant: bool


class Diverged(Exception):
    """The loss is no longer finite; ``epochs`` (maybe part of one) had been trained."""

    def __init__(self, epochs: float) -> None:
        super().__init__(f"the loss is not finite after {epochs:.3g} epochs")
        self.epochs = epochs


class Step(Protocol):
    """The training step of one network and optimizer."""

    is_new: bool
    """Whether the first batch compiles it."""

    def start(self) -> None:
        """Begin a training from what the network's variables hold, with empty slots of the optimizer."""

    def run(self, inputs: Any, labels: Any, weights: Any, rate: float, step: int) -> Any:
        """Train on a batch and return its loss, a scalar of the backend. ``step`` counts from 1. ``labels`` are classes
        (n,), or shares of classes (n, classes) where the refinements have soft labels."""

    def write_back(self) -> None:
        """Make the network's variables hold the trained values."""

    def to_device(self, inputs: Any) -> Any:
        """Return ``inputs``, or a copy where training runs, to take batches from by their rows."""

    def release(self) -> None:
        """Free what only training needs."""


class Steps(Protocol):
    """Makes training steps, and keeps what is compiled for all networks that can share it."""

    def of(self, network: Network, optimizer: OptimizerName, refinements: Refinements = PLAIN) -> Step:
        """Return the step that trains ``network``."""


def steps() -> Steps:
    """Return the backend's `Steps`, with nothing compiled."""
    if keras.backend.backend() == "tensorflow":
        from harness.training.tensorflow_step import TensorFlowSteps

        return TensorFlowSteps()
    from harness.training.jax_step import JaxSteps

    return JaxSteps()


def fit(
    network: Network,
    step: Step,
    train: Part,
    validation: Part,
    schedule: Schedule,
    clock: Clock,
    *,
    seed: int,
    first_look: int = 1,
) -> Iterator[EpochEnd]:
    """Train ``network``, which has been reset, by its ``step`` and yield after every epoch.

    The caller stops by not asking for more. Epochs before ``first_look`` are not evaluated and yield nothing; the
    training is the same. Raises Diverged soon after the loss has ceased to be finite.
    """
    order = np.random.default_rng([seed, 2])
    mixing = Mixing(schedule.refinements, network.head[-1].units, seed, flip=train.flip)
    average = Average(network)
    steps_per_epoch = len(edges(len(train), schedule.batch_size))
    steps = schedule.epochs * steps_per_epoch
    done = 0
    try:
        with clock("train"):
            step.start()
            views = [Reader(step.to_device(inputs)) for inputs in train.views]
            validation = replace(validation, inputs=step.to_device(validation.inputs))
        for epoch in range(1, schedule.epochs + 1):
            inputs = views[(epoch - 1) % len(views)]
            with clock("train"):
                losses = []
                shuffled = order.permutation(len(train))
                for rows, weights in batches(len(train), schedule.batch_size):
                    rows = shuffled[rows]
                    weights = weights if train.weights is None else weights * train.weights[rows]
                    rate = schedule.rate(done, steps)
                    done += 1
                    losses.append(step.run(*mixing.of(inputs[rows], train.labels[rows], weights), rate, done))
                    if done % _CHECKED_EVERY == 0 and not math.isfinite(float(as_numpy(losses[-1]))):
                        raise Diverged(done / steps_per_epoch)
                train_loss = float(np.mean([as_numpy(loss) for loss in losses]))
                step.write_back()
                if epoch > schedule.epochs - schedule.averaged:
                    average.add()
                if average.n and epoch == schedule.epochs:
                    average.take()
            if not math.isfinite(train_loss):
                raise Diverged(epoch)
            if epoch < first_look:
                continue
            with clock("evaluation"):
                predictions, constant = evaluate(network, validation)
                val_loss, scores = predictions.log_loss(), Scores.of(predictions.labels, predictions.predicted)
            if not math.isfinite(val_loss):
                raise Diverged(epoch)
            yield EpochEnd(epoch, train_loss, val_loss, scores, predictions, constant)
    finally:
        step.release()


def compile_step(
    steps: Steps, network: Network, train: Part, validation: Part, schedule: Schedule, clock: Clock
) -> Step:
    """Return the training step of ``network`` for the schedule's optimizer.

    A new one is run once, and the evaluation too, so that their compiling counts as such. This changes weights: reset
    the network afterwards.
    """
    with clock("compile"):
        step = steps.of(network, schedule.optimizer, schedule.refinements)
        if step.is_new:
            rows, weights = next(batches(len(train), schedule.batch_size))
            step.start()
            mixing = Mixing(schedule.refinements, network.head[-1].units, 0, flip=train.flip)
            try:
                as_numpy(step.run(*mixing.of(train.inputs[rows], train.labels[rows], weights), 0.0, 1))
                step.write_back()
            finally:
                step.release()
            rows, _ = next(batches(len(validation), network.images_at_once))
            any_length = keras.backend.backend() == "tensorflow"
            network.logits(validation.inputs[rows[:1] if any_length else rows])
    return step


def evaluate(network: Network, part: Part) -> tuple[Predictions, bool]:
    """Return the predictions of ``network`` for ``part``, and whether its logits are constant.

    They are where all images, two at least, get the same to the last bit.
    """
    found: list[Predictions] = []
    first, constant = None, len(part) > 1
    inputs = Reader(part.inputs)
    for rows, weights in batches(len(part), network.images_at_once):
        logits = network.logits(inputs[rows])
        first = logits[0] if first is None else first
        constant = constant and bool((logits == first).all())
        real = weights > 0
        found.append(Predictions.of(logits[real], part.labels[rows[real]]))
    return Predictions.join(found), constant


def out_of_memory(error: Exception) -> str | None:
    """Return the reason of a training that ended as out_of_memory with ``error``: the first line of its message.

    None where ``error`` is neither the backend's nor Python's way of saying that memory ran out.
    """
    ran_out = isinstance(error, MemoryError)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        ran_out = ran_out or isinstance(error, tf.errors.ResourceExhaustedError)
    else:
        ran_out = ran_out or "RESOURCE_EXHAUSTED" in str(error)
    if not ran_out:
        return None
    first, *_ = str(error).splitlines() or [""]
    return first[:200] or "memory ran out"
