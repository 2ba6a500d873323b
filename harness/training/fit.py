"""The one fit loop. Runs on Keras's TensorFlow and JAX backends."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from harness.backbones.activation_cache import let_go
from harness.backbones.batches import batches, edges
from harness.backbones.vgg16 import as_numpy
from harness.core.clock import Clock
from harness.core.metrics import Scores
from harness.core.strategy import OptimizerName
from harness.training.networks import Network

WARM_UP_SHARE = 0.1

_CHECKED_EVERY = 10  # steps; to look at each loss would make a GPU wait, to let go of each batch takes time


@dataclass(frozen=True, slots=True)
class Part:
    """What a network is fed: ``inputs`` (n, …) activations or raw pictures, maybe memory-mapped; ``labels`` (n,);
    ``weights`` (n,) what each counts in the loss that is trained on, None for one each; ``more_views`` other inputs of
    the same pictures, taken in turn with the first by the epochs."""

    inputs: NDArray[Any]
    labels: NDArray[np.int64]
    weights: NDArray[np.float32] | None = None
    more_views: tuple[NDArray[Any], ...] = ()

    @property
    def views(self) -> tuple[NDArray[Any], ...]:
        """All inputs of the pictures, one a view."""
        return (self.inputs, *self.more_views)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast: ``learning_rate`` is the peak that a linear warm-up reaches and a cosine takes to zero."""

    epochs: int
    batch_size: int
    optimizer: OptimizerName
    learning_rate: float

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of step 0 <= ``step`` < ``steps``. At this size a constant rate swings by two points of
        accuracy between epochs; a decayed one makes the last epoch the good one."""
        warm_up = max(1, round(WARM_UP_SHARE * steps))
        if step < warm_up:
            return self.learning_rate * (step + 1) / warm_up
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


@dataclass(frozen=True, slots=True)
class EpochEnd:
    """Figures after an epoch (counted from 1): mean training loss over it, validation loss and scores; ``constant``
    says that all validation images, two at least, were given the very same logits."""

    epoch: int
    train_loss: float
    val_loss: float
    scores: Scores
    constant: bool


class Diverged(Exception):
    """The loss is no longer finite; ``epochs`` (maybe part of one) had been trained."""

    def __init__(self, epochs: float) -> None:
        super().__init__(f"the loss is not finite after {epochs:.3g} epochs")
        self.epochs = epochs


class Step(Protocol):
    """A network's training step, compiled for one optimizer."""

    is_new: bool
    """Whether nothing compiled was there to make it of."""

    def begin(self) -> None:
        """Start from what the network's variables hold now and empty slots, whatever became of an earlier training."""

    def run(self, inputs: Any, labels: Any, weights: Any, rate: float, step: int) -> Any:
        """One update; gives the loss as a backend scalar."""

    def settle(self) -> None:
        """See to it that the network's variables hold the trained values."""

    def held(self, inputs: Any) -> Any:
        """What batches of ``inputs`` are best taken from, by their rows: these, or their like where training runs."""

    def end(self) -> None:
        """Let go of what only training needs."""


def fit(
    network: Network,
    train: Part,
    validation: Part,
    schedule: Schedule,
    clock: Clock,
    *,
    seed: int,
    first_look: int = 1,
) -> Iterator[EpochEnd]:
    """Train ``network``, which has been reset, and yield after every epoch; the caller stops by not asking for more.
    Before epoch ``first_look`` the validation part is not looked at, and nothing yielded; the training is the same.

    Raises Diverged, soon after the loss has ceased to be finite.
    """
    order = np.random.default_rng([seed, 2])
    steps_per_epoch = len(edges(len(train), schedule.batch_size))
    steps = schedule.epochs * steps_per_epoch
    step = network.steps[schedule.optimizer]
    done = 0
    try:
        with clock("train"):
            step.begin()
            views = [step.held(inputs) for inputs in train.views]
            validation = replace(validation, inputs=step.held(validation.inputs))
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
                    losses.append(step.run(inputs[rows], train.labels[rows], weights, rate, done))
                    if done % _CHECKED_EVERY == 0:
                        let_go(inputs)
                        if not math.isfinite(float(as_numpy(losses[-1]))):
                            raise Diverged(done / steps_per_epoch)
                train_loss = float(np.mean([as_numpy(loss) for loss in losses]))
                step.settle()
            if not math.isfinite(train_loss):
                raise Diverged(epoch)
            if epoch < first_look:
                continue
            with clock("evaluation"):
                val_loss, scores, constant = evaluate(network, validation)
            if not math.isfinite(val_loss):
                raise Diverged(epoch)
            yield EpochEnd(epoch, train_loss, val_loss, scores, constant)
    finally:
        step.end()


def compile_step(network: Network, train: Part, validation: Part, schedule: Schedule, clock: Clock) -> None:
    """Build and warm up the network's training step for the schedule's optimizer, unless it is there, and its
    evaluation. Moves weights: reset the network afterwards."""
    if schedule.optimizer in network.steps:
        return
    with clock("compile"):
        network.steps[schedule.optimizer] = step = _step(network, schedule.optimizer)
        if step.is_new:
            rows, weights = next(batches(len(train), schedule.batch_size))
            step.begin()
            try:
                as_numpy(step.run(train.inputs[rows], train.labels[rows], weights, 0.0, 1))
                step.settle()
            finally:
                step.end()
        any_length = keras.backend.backend() == "tensorflow"
        if not (any_length and network.family.evaluated):
            rows, _ = next(batches(len(validation), network.pictures_at_once))
            network.logits(validation.inputs[rows[:1] if any_length else rows])
            network.family.evaluated = True


def _step(network: Network, optimizer: OptimizerName) -> Step:
    if keras.backend.backend() == "tensorflow":
        from harness.training.tensorflow_step import TensorFlowStep

        return TensorFlowStep(network, optimizer)
    from harness.training.jax_step import JaxStep

    return JaxStep(network, optimizer)


def evaluate(network: Network, part: Part) -> tuple[float, Scores, bool]:
    """Mean cross-entropy and scores of ``network`` on ``part``, every picture counting one, and whether all pictures,
    two at least, get the same logits to the last bit."""
    losses, predicted = 0.0, np.empty(len(part), np.int64)
    first, constant = None, len(part) > 1
    for rows, weights in batches(len(part), network.pictures_at_once):
        logits = network.logits(part.inputs[rows])
        first = logits[0] if first is None else first
        constant = constant and bool((logits == first).all())
        labels = part.labels[rows]
        top = logits.max(axis=1, keepdims=True)
        log_sum = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))
        losses += float(weights @ (log_sum - logits[np.arange(len(labels)), labels]))
        predicted[rows] = logits.argmax(axis=1)
    let_go(part.inputs)
    return losses / len(part), Scores.of(part.labels, predicted), constant


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
