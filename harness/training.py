"""The one fit loop. Runs on Keras's TensorFlow and JAX backends."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from harness.backbone import as_numpy
from harness.clock import Clock
from harness.metrics import Scores
from harness.models import Network, Trained
from harness.strategy import OptimizerName

WARM_UP_SHARE = 0.1
OUT_OF_MEMORY = "out of memory"
"""How the reason begins of a trial that failed for it: `harness.search` begins none that needs as much."""

_CHECKED_EVERY = 10  # steps; to look at each loss would make a GPU wait
_ADAM = (0.9, 0.999, 1e-7)
_MOMENTUM = 0.9


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
    steps_per_epoch = len(_even(len(train), schedule.batch_size))
    steps = schedule.epochs * steps_per_epoch
    step = network.steps[schedule.optimizer]
    step.begin()
    done = 0
    try:
        for epoch in range(1, schedule.epochs + 1):
            inputs = train.views[(epoch - 1) % len(train.views)]
            with clock("train"):
                losses = []
                shuffled = order.permutation(len(train))
                for rows, weights in _batches(len(train), schedule.batch_size):
                    rows = shuffled[rows]
                    weights = weights if train.weights is None else weights * train.weights[rows]
                    rate = schedule.rate(done, steps)
                    done += 1
                    losses.append(step.run(inputs[rows], train.labels[rows], weights, rate, done))
                    if done % _CHECKED_EVERY == 0 and not math.isfinite(float(as_numpy(losses[-1]))):
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
        on_tensorflow = keras.backend.backend() == "tensorflow"
        make: Callable[[Network, OptimizerName], _Step] = _TensorFlowStep if on_tensorflow else _JaxStep
        network.steps[schedule.optimizer] = step = make(network, schedule.optimizer)
        if step.is_new:
            rows, weights = next(_batches(len(train), schedule.batch_size))
            step.begin()
            try:
                as_numpy(step.run(train.inputs[rows], train.labels[rows], weights, 0.0, 1))
                step.settle()
            finally:
                step.end()
            rows, _ = next(_batches(len(validation), network.pictures_at_once))
            network.logits(validation.inputs[rows])


def evaluate(network: Network, part: Part) -> tuple[float, Scores, bool]:
    """Mean cross-entropy and scores of ``network`` on ``part``, every picture counting one, and whether all pictures,
    two at least, get the same logits to the last bit."""
    losses, predicted = 0.0, np.empty(len(part), np.int64)
    first, constant = None, len(part) > 1
    for rows, weights in _batches(len(part), network.pictures_at_once):
        logits = network.logits(part.inputs[rows])
        first = logits[0] if first is None else first
        constant = constant and bool((logits == first).all())
        labels = part.labels[rows]
        top = logits.max(axis=1, keepdims=True)
        log_sum = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))
        losses += float(weights @ (log_sum - logits[np.arange(len(labels)), labels]))
        predicted[rows] = logits.argmax(axis=1)
    return losses / len(part), Scores.of(part.labels, predicted), constant


def _even(n: int, batch_size: int) -> list[tuple[int, int]]:
    """First row and end of each batch: as few as ``batch_size`` allows, of sizes that differ by one at most."""
    count = math.ceil(n / batch_size)
    edges = [round(i * n / count) for i in range(count + 1)]
    return list(itertools.pairwise(edges))


def _batches(n: int, batch_size: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Rows and weights of even batches. All have the same length (one shape, one compilation): a short one is filled up
    with a row of weight zero."""
    edges = _even(n, batch_size)
    length = max(last - first for first, last in edges)
    for first, last in edges:
        weights = np.ones(length, np.float32)
        weights[last - first :] = 0
        yield np.minimum(np.arange(first, first + length), last - 1), weights


Rule = Callable[[Any, Any, Any, Any, Any, Any], tuple[Any, Any, Any]]
"""(gradient, value, momentum, mean square, rate, step from 1) -> the new (value, momentum, mean square)."""


def adam(gradient: Any, value: Any, momentum: Any, mean_square: Any, rate: Any, step: Any) -> tuple[Any, Any, Any]:
    """Adam (Kingma and Ba 2015) with Keras's constants.

    Ours, since a Keras optimizer owns its slots for one list of variables: one for each freeze depth would hold the
    14.7 million weights twice over for each, and TensorFlow would never give them back.
    """
    first, second, epsilon = _ADAM
    momentum = first * momentum + (1 - first) * gradient
    mean_square = second * mean_square + (1 - second) * ops.square(gradient)
    corrected = rate * ops.sqrt(1 - ops.power(second, step)) / (1 - ops.power(first, step))
    return value - corrected * momentum / (ops.sqrt(mean_square) + epsilon), momentum, mean_square


def sgd(gradient: Any, value: Any, momentum: Any, mean_square: Any, rate: Any, step: Any) -> tuple[Any, Any, Any]:
    """Stochastic gradient descent with Nesterov momentum .9 as in the article's second recipe."""
    momentum = _MOMENTUM * momentum - rate * gradient
    return value + _MOMENTUM * momentum - rate * gradient, momentum, mean_square


_RULES: dict[OptimizerName, Rule] = {"adam": adam, "sgd": sgd}


class _Step(Protocol):
    is_new: bool
    """Whether nothing compiled was there to make it of."""

    def begin(self) -> None:
        """Start from what the network's variables hold now and empty slots, whatever became of an earlier training."""

    def run(self, inputs: Any, labels: Any, weights: Any, rate: float, step: int) -> Any:
        """One update; gives the loss as a backend scalar."""

    def settle(self) -> None:
        """See to it that the network's variables hold the trained values."""

    def end(self) -> None:
        """Let go of what only training needs."""


def _loss(logits: Any, labels: Any, weights: Any) -> Any:
    losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    rows = ops.sum(ops.cast(weights > 0, losses.dtype))  # a row that fills up a batch weighs nothing
    return ops.sum(losses * weights) / rows


class _TensorFlowStep:
    """Variables change in place, by TensorFlow's own kernels for `adam` and `sgd`: one pass over each.

    XLA's are as fast, but it compiles them anew for every network and never gives the compiled code back.
    """

    def __init__(self, network: Network, optimizer: OptimizerName) -> None:
        template = network.template or network
        self.is_new = optimizer not in template.traced
        if self.is_new:
            template.traced[optimizer] = _Traced(template, optimizer)
        self._traced: _Traced = template.traced[optimizer]
        self._own = network.own_variables()

    def begin(self) -> None:
        self._traced.begin([variable.value for variable in self._own])

    def run(self, inputs: Any, labels: Any, weights: Any, rate: float, step: int) -> Any:
        return self._traced.run(inputs, labels, weights, rate, step)

    def settle(self) -> None:
        for variable, value in zip(self._own, self._traced.values, strict=True):
            variable.assign(value)

    def end(self) -> None:
        self._traced.end()


class _Traced:
    """TensorFlow's step for every network with the layers of ``template``, whatever the widths of the hidden ones: to
    trace and optimize one takes most of a second. It trains variables of its own, of open shape: for those of another
    shape a function is optimized anew."""

    def __init__(self, template: Network, optimizer: OptimizerName) -> None:
        import tensorflow as tf

        def free(variable: keras.Variable) -> Any:
            shape = [None if length == 1 else length for length in variable.shape]
            return tf.Variable(tf.zeros(variable.shape, variable.dtype), shape=shape, trainable=False)

        own = template.own_variables()
        places = {id(variable): place for place, variable in enumerate(own)}
        self._body = [item for item in template.trained if id(item.variable) not in places]
        self._heads = [places[id(item.variable)] for item in template.trained if id(item.variable) in places]
        self.values = [free(variable) for variable in own]
        self._slots = [(free(own[place]), free(own[place])) for place in self._heads]
        self._empty = [tf.zeros(variable.shape, variable.dtype) for variable in own]
        self._tf = tf
        body = [item.variable.value for item in self._body]
        trained = [*body, *(self.values[place] for place in self._heads)]
        slots = [(item.momentum.value, item.mean_square.value) for item in self._body] + self._slots

        def update(gradients: Sequence[Any], rate: Any, step: Any) -> None:
            # What all variables share is made once: each constant is a node for TensorFlow to optimize.
            first, second, epsilon = map(tf.constant, _ADAM)
            powers = {"beta1_power": tf.pow(first, step), "beta2_power": tf.pow(second, step)}
            shared = {"lr": rate, "beta1": first, "beta2": second, "epsilon": epsilon, **powers}
            for value, (momentum, mean_square), gradient in zip(trained, slots, gradients, strict=True):
                if optimizer == "sgd":
                    tf.raw_ops.ResourceApplyKerasMomentum(
                        var=value.handle, accum=momentum.handle, lr=rate, grad=gradient, momentum=_MOMENTUM,
                        use_nesterov=True,
                    )  # fmt: skip
                else:
                    tf.raw_ops.ResourceApplyAdam(
                        var=value.handle, m=momentum.handle, v=mean_square.handle, grad=gradient, **shared
                    )

        @tf.function(autograph=False)  # no control flow in it; looking for some takes 0.1 s
        def run(inputs: Any, labels: Any, weights: Any, rate: Any, step: Any) -> Any:
            values = [variable.read_value() for variable in self.values]
            sources = [*body, *(values[place] for place in self._heads)]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(sources)
                with keras.StatelessScope() as scope:
                    for variable, value in zip(own, values, strict=True):
                        scope.add_update((variable, value))
                    loss = _loss(template.forward(inputs), labels, weights)
            update(tape.gradient(loss, sources), rate, step)
            for mine, variable, value in zip(self.values, own, values, strict=True):
                if (after := scope.get_current_value(variable)) is not value:  # a stream of random numbers
                    mine.assign(after)
            return loss

        self._run = run

    def begin(self, values: Sequence[Any]) -> None:
        """Take ``values`` for the variables, with empty slots."""
        for variable, value in zip(self.values, values, strict=True):
            variable.assign(value)
        for item in self._body:
            item.clear()
        for place, slots in zip(self._heads, self._slots, strict=True):
            for slot in slots:
                slot.assign(self._tf.zeros_like(values[place]))

    def run(self, inputs: Any, labels: Any, weights: Any, rate: float, step: int) -> Any:
        """See `_Step.run`."""
        return self._run(inputs, labels, weights, self._tf.constant(rate), self._tf.constant(float(step)))

    def end(self) -> None:
        """Give back the memory of the values, which are as large as a head can be."""
        for variable, empty in zip(self.values, self._empty, strict=True):
            variable.assign(empty)
        for place, slots in zip(self._heads, self._slots, strict=True):
            for slot in slots:
                slot.assign(self._empty[place])


class _JaxStep:
    """State goes in and comes out, donated, so that it is updated in place; the variables get it back on `settle`."""

    is_new = True  # JAX compiles for each shape

    def __init__(self, network: Network, optimizer: OptimizerName) -> None:
        import jax

        rule = _RULES[optimizer]
        self._trained: list[Trained] = network.trained
        variables = [item.variable for item in network.trained]
        training = {id(variable) for variable in variables}
        everything = [variable for layer in network.layers for variable in layer.variables]
        self._other = [variable for variable in everything if id(variable) not in training]

        def loss_of(values: Any, other: Any, inputs: Any, labels: Any, weights: Any) -> Any:
            mapping = [*zip(variables, values, strict=True), *zip(self._other, other, strict=True)]
            with keras.StatelessScope(state_mapping=mapping) as scope:
                loss = _loss(network.forward(inputs), labels, weights)
            return loss, [scope.get_current_value(variable) for variable in self._other]

        def run(slots: Any, other: Any, inputs: Any, labels: Any, weights: Any, rate: Any, step: Any) -> Any:
            gradient_of = jax.value_and_grad(loss_of, has_aux=True)
            (loss, other), gradients = gradient_of([value for value, _, _ in slots], other, inputs, labels, weights)
            slots = [
                rule(gradient, value, momentum, mean_square, rate, step)
                for gradient, (value, momentum, mean_square) in zip(gradients, slots, strict=True)
            ]
            return slots, other, loss

        self._run = jax.jit(run, donate_argnums=0)
        self._slots: Any = None

    def begin(self) -> None:
        for item in self._trained:
            item.clear()
        self._slots = None

    def run(self, inputs: Any, labels: Any, weights: Any, rate: float, step: int) -> Any:
        if self._slots is None:
            self._slots = [(item.variable.value, item.momentum.value, item.mean_square.value) for item in self._trained]
            self._values = [variable.value for variable in self._other]
        self._slots, self._values, loss = self._run(
            self._slots, self._values, inputs, labels, weights, np.float32(rate), np.float32(step)
        )
        return loss

    def settle(self) -> None:
        for item, (value, momentum, mean_square) in zip(self._trained, self._slots, strict=True):
            item.variable.assign(value)
            item.momentum.assign(momentum)
            item.mean_square.assign(mean_square)
        for variable, value in zip(self._other, self._values, strict=True):
            variable.assign(value)
        self._slots = None

    def end(self) -> None:
        self._slots = None


def out_of_memory(error: Exception) -> str | None:
    """The reason of a trial that failed with ``error``, which begins with `OUT_OF_MEMORY`; None where ``error`` is
    neither the backend's nor Python's way of saying that memory ran out."""
    ran_out = isinstance(error, MemoryError)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        ran_out = ran_out or isinstance(error, tf.errors.ResourceExhaustedError)
    else:
        ran_out = ran_out or "RESOURCE_EXHAUSTED" in str(error)
    if not ran_out:
        return None
    first, *_ = str(error).splitlines() or [""]
    return f"{OUT_OF_MEMORY}: {first[:200]}".rstrip(": ")
