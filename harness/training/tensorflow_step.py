"""The training step on TensorFlow, compiled twice in a search: for heads alone, and for convolutions and heads.

To trace and optimize a step takes a second or two, and hardly a strategy comes twice. So the boundary, the freeze
depth, the optimizer and the number of hidden layers are choices at run time, widths are of open shape, and a trial's
head is copied in and back.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from harness.backbones import kernels
from harness.core.strategy import OptimizerName
from harness.training.networks import Family, Network, Tail
from harness.training.objective import ADAM, MOMENTUM, cross_entropy

_traced: Any = partial(tf.function, autograph=False)  # looking for Python's control flow takes 0.1 s, and there is none
_AT_ONCE = 2  # variables updated by one choice of the optimizer: a layer's, as soon as their gradients are there


class TensorFlowStep:
    """See `harness.training.fit.Step`. Variables change in place, by TensorFlow's own kernels: one pass over each.

    XLA's are as fast, but it compiles them anew for every network and never gives the compiled code back.
    """

    def __init__(self, network: Network, optimizer: OptimizerName) -> None:
        family = network.family
        self._tail = tail = family.tail
        if family.heads.step is None:
            family.heads.step = _Heads(family.heads.layers)
        self._heads: _Heads = family.heads.step
        kind = "heads" if tail is None else "convolutions"
        self.is_new = kind not in self._heads.steps
        if self.is_new:
            self._heads.steps[kind] = _after_layers(family, self._heads) if tail is None else _tail(tail, self._heads)
        self._run = self._heads.steps[kind]
        self._optimizer: OptimizerName = optimizer
        self._trained = family.trained
        self._own = network.own_variables()
        self._places = self._heads.places[network.hidden]
        choices = network.hidden, optimizer == "sgd", *((tail.boundary, tail.frozen) if tail else ())
        with tf.device("CPU"):  # where branches are chosen: a GPU would be waited for
            self._choices = [tf.constant(choice) for choice in choices]

    def begin(self) -> None:
        """Take over what the network's variables hold, with empty slots."""
        for item in self._trained:
            item.clear(self._optimizer)
        values = (variable.value for variable in self._own)
        self._heads.fill(dict(zip(self._places, values, strict=True)))

    def run(self, inputs: Any, labels: Any, weights: Any, rate: float, step: int) -> Any:
        """One update; gives the loss."""
        if self._tail is not None and self._tail.boundary == 0:
            inputs = self._tail.backbone.prepared(inputs)
        return self._run(inputs, labels, weights, tf.constant(rate), tf.constant(float(step)), *self._choices)

    def settle(self) -> None:
        """Give the network's variables the trained values."""
        for variable, place in zip(self._own, self._places, strict=True):
            variable.assign(self._heads.values[place])

    def held(self, inputs: Any) -> Any:
        """The same: on a processor batches are nowhere nearer."""
        return inputs

    def end(self) -> None:
        """Give back the memory of the values, which are as large as a head can be."""
        self._heads.fill({})


def _after_layers(family: Family, heads: "_Heads") -> Any:
    """The step of networks whose heads follow the family's layers, if any, of which none trains."""

    def run(inputs: Any, labels: Any, weights: Any, rate: Any, step: Any, head: Any, is_sgd: Any) -> Any:
        for layer in family.layers:
            inputs = layer(inputs, training=True)
        loss, _, *gradients = heads.gradients(tf.cast(inputs, "float32"), labels, weights, head)
        heads.update(gradients, rate, step, is_sgd)
        return loss

    return _traced(run)


def _tail(tail: Tail, heads: "_Heads") -> Any:
    """The step of networks that run convolutions, from any boundary and to any freeze depth.

    ``inputs`` are what lies behind convolution ``boundary`` (prepared pictures behind 0); those behind convolution
    ``frozen`` train. What `_where` does not let pass is dead, and TensorFlow passes over all that would be made of it,
    which takes 1 ms a step where one convolution of thirteen is run. Gradients are written down, since the place to let
    them pass, between those of the kernel and of the input, lies inside of what TensorFlow derives at once.
    """
    convs = tail.backbone.convs
    dtype = convs[0].compute_dtype
    slots = [(item.variable.value, item.momentum.value, item.mean_square.value) for item in tail.variables]
    pieces = [tail.backbone.piece(number) for number in range(len(convs))]

    def run(
        inputs: Any, labels: Any, weights: Any, rate: Any, step: Any, head: Any, is_sgd: Any, boundary: Any, frozen: Any
    ) -> Any:
        values: Any = None
        forward = []
        for number, (conv, *pool) in enumerate(pieces):
            given = tf.cast(_where(tf.equal(boundary, number), inputs), dtype)
            values = given if number == 0 else tf.raw_ops.Merge(inputs=[values, given])[0]  # whichever is not dead
            values.set_shape(conv.input.shape)
            kernel = tf.cast(_where(boundary <= number, conv.kernel.value.read_value()), dtype)
            bias = tf.cast(conv.bias.value.read_value(), dtype)
            activated = after = conv.activation(conv.convolution_op(values, kernel) + bias)
            for layer in pool:
                after = layer(activated, training=True)
            forward.append((values, kernel, activated, after))
            values = after
        features = tf.cast(values, "float32")  # whatever they come in: the heads are traced once
        loss, upstream, *gradients = heads.gradients(features, labels, weights, head)
        heads.update(gradients, rate, step, is_sgd)
        upstream.set_shape(features.shape)
        upstream = tf.cast(_where(frozen < len(pieces), upstream), dtype)
        for number in reversed(range(len(pieces))):
            conv, *pool = pieces[number]
            values, kernel, activated, after = forward[number]
            input_gradient, filter_gradient = kernels.gradients(conv)
            if pool:
                upstream = _pool_gradient(pool[0], activated, after, upstream)
            upstream = tf.raw_ops.ReluGrad(gradients=upstream, features=activated)
            found = filter_gradient(values, upstream), tf.raw_ops.BiasAddGrad(out_backprop=upstream)
            gradients = [tf.cast(gradient, "float32") for gradient in found]
            _update(slots[2 * number : 2 * number + 2], gradients, rate, step, is_sgd)
            if number:
                upstream = input_gradient(kernel, _where(frozen < number, upstream))
                upstream.set_shape(values.shape)
        return loss

    flags = [tf.TensorSpec([], kind) for kind in ("float32", "float32", "int32", "bool", "int32", "int32")]
    batch = [tf.TensorSpec([None] * 4), tf.TensorSpec([None], "int64"), tf.TensorSpec([None])]
    return _traced(run, input_signature=[*batch, *flags])


def _where(condition: Any, values: Any) -> Any:
    """``values``, dead unless ``condition``."""
    return tf.raw_ops.Switch(data=values, pred=condition)[1]


def _pool_gradient(layer: Any, before: Any, after: Any, upstream: Any) -> Any:
    """Gradient of the max-pooling ``layer``'s input, from its input, its output and the gradient of this."""
    return tf.raw_ops.MaxPoolGrad(
        orig_input=before, orig_output=after, grad=upstream, ksize=[1, *layer.pool_size, 1],
        strides=[1, *layer.strides, 1], padding=layer.padding.upper(),
    )  # fmt: skip


class _Heads:
    """What trains in the place of a network's own head: ``values``, of open shape, for the head of most hidden layers.

    Traced once for all families: ``gradients`` (features, labels, weights, head) -> the loss, its gradient by the
    features and those by the values that train; ``update`` (these last, rate, step, is_sgd). ``head`` is a number in
    ``heads``; ``places`` tells for each of them which of ``values`` its variables are. ``steps`` are the whole steps
    with these heads, where "convolutions" train below them and where "heads" do alone.
    """

    def __init__(self, heads: Sequence[Sequence[keras.layers.Layer]]) -> None:
        names, variables = zip(*_named(heads[-1]).items(), strict=True)
        self.places = [[names.index(name) for name in _named(head)] for head in heads]
        self.values = [_open(variable) for variable in variables]
        self.steps: dict[str, Any] = {}
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
