"""The training step on TensorFlow, compiled once for all networks of a family.

To trace and optimize a step takes most of a second, and hardly a head comes twice. So the optimizer and the number of
hidden layers are choices at run time, widths are of open shape, and a trial's head is copied in and back.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from harness.models import Family, Network
from harness.objective import ADAM, MOMENTUM, cross_entropy
from harness.strategy import OptimizerName

_traced: Any = tf.function(autograph=False)  # looking for Python's control flow takes 0.1 s, and there is none
_AT_ONCE = 2  # variables updated by one choice of the optimizer: a layer's, as soon as their gradients are there


class TensorFlowStep:
    """See `harness.training.Step`. Variables change in place, by TensorFlow's own kernels: one pass over each.

    XLA's are as fast, but it compiles them anew for every network and never gives the compiled code back.
    """

    def __init__(self, network: Network, optimizer: OptimizerName) -> None:
        family = network.family
        self.is_new = family.step is None
        if self.is_new:
            family.step = _FamilyStep(family)
        self._shared: _FamilyStep = family.step
        self._optimizer: OptimizerName = optimizer
        self._trained = family.trained
        self._own = network.own_variables()
        self._places = self._shared.heads.places[network.hidden]
        with tf.device("CPU"):  # where branches are chosen: a GPU would be waited for
            self._head, self._is_sgd = tf.constant(network.hidden), tf.constant(optimizer == "sgd")

    def begin(self) -> None:
        """Take over what the network's variables hold, with empty slots."""
        for item in self._trained:
            item.clear(self._optimizer)
        values = (variable.value for variable in self._own)
        self._shared.heads.fill(dict(zip(self._places, values, strict=True)))

    def run(self, inputs: Any, labels: Any, weights: Any, rate: float, step: int) -> Any:
        """One update; gives the loss."""
        rate, number = tf.constant(rate), tf.constant(float(step))
        return self._shared.run(inputs, labels, weights, rate, number, self._head, self._is_sgd)

    def settle(self) -> None:
        """Give the network's variables the trained values."""
        for variable, place in zip(self._own, self._places, strict=True):
            variable.assign(self._shared.heads.values[place])

    def held(self, inputs: Any) -> Any:
        """The same: on a processor batches are nowhere nearer."""
        return inputs

    def end(self) -> None:
        """Give back the memory of the values, which are as large as a head can be."""
        self._shared.heads.fill({})


class _FamilyStep:
    """The step of all networks of ``family``."""

    def __init__(self, family: Family) -> None:
        if family.heads.step is None:
            family.heads.step = _Heads(family.heads.layers)
        self.heads: _Heads = family.heads.step
        state = [(item.variable.value, item.momentum.value, item.mean_square.value) for item in family.trained]
        variables = [variable for variable, _, _ in state]

        def run(inputs: Any, labels: Any, weights: Any, rate: Any, step: Any, head: Any, is_sgd: Any) -> Any:
            features = inputs
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(variables)
                for layer in family.layers:
                    features = layer(features, training=True)
                features = tf.cast(features, "float32")  # whatever they come in: the heads are traced once
            loss, upstream, *gradients = self.heads.gradients(features, labels, weights, head)
            self.heads.update(gradients, rate, step, is_sgd)
            if variables:
                upstream.set_shape(features.shape)
                _update(state, tape.gradient(features, variables, upstream), rate, step, is_sgd)
            return loss

        self.run = _traced(run)


class _Heads:
    """What trains in the place of a network's own head: ``values``, of open shape, for the head of most hidden layers.

    Traced once for all families: ``gradients`` (features, labels, weights, head) -> the loss, its gradient by the
    features and those by the values that train; ``update`` (these last, rate, step, is_sgd). ``head`` is a number in
    ``heads``; ``places`` tells for each of them which of ``values`` its variables are.
    """

    def __init__(self, heads: Sequence[Sequence[keras.layers.Layer]]) -> None:
        names, variables = zip(*_named(heads[-1]).items(), strict=True)
        self.places = [[names.index(name) for name in _named(head)] for head in heads]
        self.values = [_open(variable) for variable in variables]
        self._empty = [value.read_value() for value in self.values]
        self._trained = [place for place, variable in enumerate(variables) if variable.trainable]
        self._slots = [(_open(variables[place]), _open(variables[place])) for place in self._trained]

        def through(number: int, features: Any, labels: Any, weights: Any) -> list[Any]:
            variables, places = _named(heads[number]).values(), self.places[number]
            values = {place: self.values[place].read_value() for place in places}
            sources = {place: value for place, value in values.items() if place in self._trained}
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([features, *sources.values()])
                with keras.StatelessScope() as scope:
                    for variable, value in zip(variables, values.values(), strict=True):
                        scope.add_update((variable, value))
                    logits = features
                    for layer in heads[number]:
                        logits = layer(logits, training=True)
                    loss = cross_entropy(logits, labels, weights)
            upstream, *found = tape.gradient(loss, [features, *sources.values()])
            for variable, (place, value) in zip(variables, values.items(), strict=True):
                if (after := scope.get_current_value(variable)) is not value:  # a stream of random numbers
                    self.values[place].assign(after)
            gradients = dict(zip(sources, found, strict=True))
            nothing = [tf.zeros(empty.shape) for empty in self._empty]
            return [loss, upstream, *(gradients.get(place, nothing[place]) for place in self._trained)]

        def gradients(features: Any, labels: Any, weights: Any, head: Any) -> Any:
            given = (features, labels, weights)
            return tf.switch_case(head, [partial(through, number, *given) for number in range(len(heads))])

        def update(gradients: Sequence[Any], rate: Any, step: Any, is_sgd: Any) -> None:
            state = [(self.values[place], *slots) for place, slots in zip(self._trained, self._slots, strict=True)]
            _update(state, gradients, rate, step, is_sgd)

        self.gradients, self.update = _traced(gradients), _traced(update)

    def fill(self, values: Mapping[int, Any]) -> None:
        """Hold ``values``, by place, with empty slots, and nothing in other places."""
        for place, variable in enumerate(self.values):
            variable.assign(values.get(place, self._empty[place]))
        for place, slots in zip(self._trained, self._slots, strict=True):
            for slot in slots:
                slot.assign(tf.zeros_like(self.values[place]))


def _named(layers: Sequence[keras.layers.Layer]) -> dict[tuple[str, int], keras.Variable]:
    """The variables of ``layers`` by their layer's name and their number in it."""
    return {(layer.name, number): variable for layer in layers for number, variable in enumerate(layer.variables)}


def _open(variable: Any) -> Any:
    """A TensorFlow variable like that one, empty where the length is one: there it takes any."""
    empty = tf.zeros([0 if length == 1 else length for length in variable.shape], variable.dtype)
    return tf.Variable(empty, shape=[length or None for length in empty.shape], trainable=False)


def _update(
    variables: Sequence[tuple[Any, Any, Any]], gradients: Sequence[Any], rate: Any, step: Any, is_sgd: Any
) -> None:
    """One step of the optimizer for ``variables``, each with its two slots."""
    first, second, epsilon = map(tf.constant, ADAM)  # made once: each constant is a node for TensorFlow to optimize
    powers = {"beta1_power": tf.pow(first, step), "beta2_power": tf.pow(second, step)}
    shared = {"lr": rate, "beta1": first, "beta2": second, "epsilon": epsilon, **powers}
    ready = list(zip(variables, gradients, strict=True))

    def adam(some: Sequence[Any]) -> None:
        for (value, momentum, mean_square), gradient in some:
            tf.raw_ops.ResourceApplyAdam(
                var=value.handle, m=momentum.handle, v=mean_square.handle, grad=gradient, **shared
            )

    def sgd(some: Sequence[Any]) -> None:
        for (value, momentum, _), gradient in some:
            tf.raw_ops.ResourceApplyKerasMomentum(
                var=value.handle, accum=momentum.handle, lr=rate, grad=gradient, momentum=MOMENTUM, use_nesterov=True
            )

    for start in range(0, len(ready), _AT_ONCE):
        some = ready[start : start + _AT_ONCE]
        tf.cond(is_sgd, partial(sgd, some), partial(adam, some))
