"""The training step on JAX: what lies before the head is compiled once for a freeze depth, the head for each network.

To compile VGG16's convolutions for a GPU took 24 s on an H200, as XLA tries the algorithms there are for each, and
hardly a head comes twice. So a step is three calls: forward to the head, the head with its update, back and the update.
What the gradients need is handed on from the first to the last in the GPU's memory.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import jax
import keras
import numpy as np
from numpy.typing import NDArray

from harness.backbones.jax_kernels import options
from harness.core.strategy import OptimizerName
from harness.training.networks import Family, Network, Trained
from harness.training.objective import RULES, cross_entropy

_HELD_SHARE = 0.4
"""Of a GPU's free memory, that the inputs of a training may take."""
_PIECE_BYTES = 256 * 2**20  # that are sent there at once


class JaxStep:
    """See `harness.training.fit.Step`. State goes in and comes out, donated, so that it is updated in place; the
    variables get it back on `settle`."""

    is_new = True  # the head is, always

    def __init__(self, network: Network, optimizer: OptimizerName) -> None:
        family = network.family
        if family.step is None:
            family.step = _FamilyStep(family)
        self._before: _FamilyStep = family.step
        self._optimizer: OptimizerName = optimizer
        self._update = _update(optimizer)
        self._all_trained = network.trained
        self._trained = network.trained[len(family.trained) :]
        training = {id(item.variable) for item in self._trained}
        self._other = [variable for variable in network.own_variables() if id(variable) not in training]
        rule = RULES[optimizer]

        def loss_of(values: Any, features: Any, other: Any, labels: Any, weights: Any) -> Any:
            mapping = zip([*(item.variable for item in self._trained), *self._other], [*values, *other], strict=True)
            with keras.StatelessScope(state_mapping=list(mapping)) as scope:
                for layer in network.own:
                    features = layer(features, training=True)
            loss = cross_entropy(features, labels, weights)
            return loss, [scope.get_current_value(variable) for variable in self._other]

        def run(slots: Any, other: Any, features: Any, labels: Any, weights: Any, rate: Any, step: Any) -> Any:
            by = (0, 1) if family.trained else (0,)
            gradient_of = jax.value_and_grad(loss_of, by, has_aux=True)
            values = [value for value, _, _ in slots]
            (loss, other), (gradients, *upstream) = gradient_of(values, features, other, labels, weights)
            return _updated(rule, slots, gradients, rate, step), other, loss, upstream

        self._head = jax.jit(run, donate_argnums=0, compiler_options=options(network.own))
        self._state: Any = None

    def begin(self) -> None:
        """Take over what the network's variables hold, with empty slots."""
        for item in self._all_trained:
            item.clear(self._optimizer)
        self._state = None

    def run(self, inputs: Any, labels: Any, weights: Any, rate: float, step: int) -> Any:
        """One update; gives the loss."""
        if self._state is None:
            other = [variable.value for variable in self._other]
            frozen = [variable.value for variable in self._before.frozen]
            self._state = _taken(self._before.trained), frozen, _taken(self._trained), other
        slots, frozen, own, other = self._state
        now = np.float32(rate), np.float32(step)
        features, back = self._before.forward([value for value, _, _ in slots], frozen, inputs)
        own, other, loss, upstream = self._head(own, other, features, labels, weights, *now)
        if slots:
            slots = self._update(slots, self._before.backward(back, *upstream), *now)
        self._state = slots, frozen, own, other
        return loss

    def settle(self) -> None:
        """Give the network's variables the trained values."""
        slots, _, own, other = self._state
        for item, values in zip(self._all_trained, [*slots, *own], strict=True):
            for variable, value in zip((item.variable, item.momentum, item.mean_square), values, strict=True):
                variable.assign(value)
        for variable, value in zip(self._other, other, strict=True):
            variable.assign(value)
        self._state = None

    def held(self, inputs: Any) -> Any:
        """``inputs`` on the GPU, where one is and they fit: a step there takes less than to gather its batch here."""
        device = jax.devices()[0]
        if device.platform == "cpu":
            return inputs
        memory = device.memory_stats()
        fits = inputs.nbytes <= _HELD_SHARE * (memory["bytes_limit"] - memory["bytes_in_use"])
        return _Held(inputs) if fits else inputs

    def end(self) -> None:
        """Let go of the state."""
        self._state = None


class _FamilyStep:
    """The layers before the head of all networks of ``family``: ``forward`` (values that train, frozen ones, inputs) ->
    features and what ``backward`` needs beside the features' gradient for those of the values."""

    def __init__(self, family: Family) -> None:
        self.trained = family.trained
        variables = [item.variable for item in family.trained]
        training = {id(variable) for variable in variables}
        everything = [variable for layer in family.layers for variable in layer.variables]
        self.frozen = [variable for variable in everything if id(variable) not in training]

        def through(frozen: Any, inputs: Any, values: Any) -> Any:
            mapping = zip([*variables, *self.frozen], [*values, *frozen], strict=True)
            with keras.StatelessScope(state_mapping=list(mapping)):
                for layer in family.layers:
                    inputs = layer(inputs, training=True)
            return inputs

        def forward(values: Any, frozen: Any, inputs: Any) -> Any:
            return jax.vjp(partial(through, frozen, inputs), values)

        def backward(back: Callable[[Any], Any], upstream: Any) -> Any:
            return back(upstream)[0]

        self.forward = jax.jit(forward) if family.layers else lambda values, frozen, inputs: (inputs, None)
        self.backward = jax.jit(backward)


class _Held:
    """Pictures or activations on the device."""

    def __init__(self, inputs: NDArray[Any]) -> None:
        at_once = max(1, _PIECE_BYTES // inputs[0].nbytes)
        self._values = jax.numpy.empty(inputs.shape, inputs.dtype)
        for first in range(0, len(inputs), at_once):
            piece = inputs[min(first, max(0, len(inputs) - at_once)) :][:at_once]
            self._values = _put(self._values, piece, min(first, len(inputs) - len(piece)))

    def __getitem__(self, rows: NDArray[np.int64]) -> Any:
        return _take(self._values, rows)


@partial(jax.jit, donate_argnums=0)
def _put(values: Any, piece: Any, first: int) -> Any:
    return jax.lax.dynamic_update_slice_in_dim(values, piece, first, 0)


@jax.jit
def _take(values: Any, rows: Any) -> Any:
    return values[rows]


@cache
def _update(optimizer: OptimizerName) -> Any:
    """(slots, gradients, rate, step) -> the new slots, compiled; the old ones' memory is used again."""
    return jax.jit(partial(_updated, RULES[optimizer]), donate_argnums=0)


def _updated(rule: Any, slots: Any, gradients: Any, rate: Any, step: Any) -> Any:
    pairs = zip(gradients, slots, strict=True)
    return [rule(gradient, *slot, rate, step) for gradient, slot in pairs]


def _taken(trained: Sequence[Trained]) -> Any:
    return [(item.variable.value, item.momentum.value, item.mean_square.value) for item in trained]
