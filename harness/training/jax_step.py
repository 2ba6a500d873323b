"""The training step on JAX: the slice of the backbone is compiled once for a start and freeze depth, the head for each
network.

To compile VGG16's convolutions for a GPU took 24 s on an H200, as XLA tries the algorithms there are for each, and
hardly a head comes twice. So a step is three calls: forward to the head, the head with its update, back and the update.
What the gradients need is handed on from the first to the last in the GPU's memory.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any
from weakref import WeakKeyDictionary

import jax
import keras
import numpy as np
from numpy.typing import NDArray

from harness.backbones.jax_kernels import options
from harness.core.refinements import PLAIN, Refinements
from harness.core.strategy import OptimizerName
from harness.training.networks import Network, variables_of
from harness.training.objective import RULES, cross_entropy, cut, shrunk

_HELD_SHARE = 0.4
"""Of a GPU's free memory, that the inputs of a training may take."""
_PIECE_BYTES = 256 * 2**20  # that are sent there in one piece


class JaxSteps:
    """See `harness.training.fit.Steps`. Keeps the slices of all networks, and a head as long as its network is
    there."""

    def __init__(self) -> None:
        self._slices: dict[Any, _Slice] = {}
        self._heads: WeakKeyDictionary[Network, dict[Any, _Head]] = WeakKeyDictionary()

    def of(self, network: Network, optimizer: OptimizerName, refinements: Refinements = PLAIN) -> "JaxStep":
        """Return the step that trains ``network``."""
        layers = tuple(network.frozen_layers), tuple(network.trainable_layers), network.training_mode
        if layers not in self._slices:
            self._slices[layers] = _Slice(*layers)
        heads = self._heads.setdefault(network, {})
        kind = optimizer, refinements.of_updates
        traced = optimizer, refinements.traced
        is_new = traced not in heads
        if is_new:
            heads[traced] = _Head(network.head, *kind, below=bool(self._slices[layers].trained))
        return JaxStep(self._slices[layers], heads[traced], _update(*kind), refinements, is_new)


class JaxStep:
    """See `harness.training.fit.Step`. State goes in and comes out, donated, so that it is updated in place; the
    variables get it back in `write_back`."""

    def __init__(self, before: "_Slice", head: "_Head", update: Any, refinements: Refinements, is_new: bool) -> None:
        self.is_new = is_new
        stages = refinements.stage_rates(len(before.trainable))
        of_stage = [i for i, layer in enumerate(before.trainable) for v in layer.variables if v.trainable]
        self._rates = np.array([stages[stage] for stage in of_stage], np.float32)
        self._limits = np.array([refinements.weight_decay, refinements.clip_norm], np.float32)
        self._slice = before
        self._head = head
        self._update = update
        self._slots: Any = None
        self._state: Any = None

    def start(self) -> None:
        """Take over what the network's variables hold, with empty slots."""
        self._slots = [
            [(jax.numpy.zeros(variable.shape), jax.numpy.zeros(variable.shape)) for variable in part.trained]
            for part in (self._slice, self._head)
        ]
        self._state = None

    def run(self, inputs: Any, labels: Any, weights: Any, rate: float, step: int) -> Any:
        """Train on a batch and return its loss."""
        if self._state is None:
            self._state = self._slice.values(), self._head.values()
        (values, changing, fixed), (own, other, _) = self._state
        slots, own_slots = self._slots
        now = self._limits, np.float32(step)
        features, back, changing = self._slice.forward(values, changing, fixed, inputs)
        rates = np.full(len(own), rate, np.float32)
        own, own_slots, other, loss, upstream = self._head.run(
            own, own_slots, other, features, labels, weights, rates, *now
        )
        if values:
            gradients = self._slice.backward(back, *upstream)
            values, slots = self._update(values, slots, gradients, self._rates * np.float32(rate), *now)
        self._slots = slots, own_slots
        self._state = (values, changing, fixed), (own, other, [])
        return loss

    def write_back(self) -> None:
        """Give the network's variables the trained values."""
        for part, (values, other, _) in zip((self._slice, self._head), self._state, strict=True):
            for variable, value in zip([*part.trained, *part.other], [*values, *other], strict=True):
                variable.assign(value)
        self._state = None

    def to_device(self, inputs: Any) -> Any:
        """Return ``inputs`` on the GPU, where one is and they fit: a step there takes less than to gather its batch
        here."""
        device = jax.devices()[0]
        if device.platform == "cpu":
            return inputs
        memory = device.memory_stats()
        fits = inputs.nbytes <= _HELD_SHARE * (memory["bytes_limit"] - memory["bytes_in_use"])
        return _Held(inputs) if fits else inputs

    def release(self) -> None:
        """Drop the state and the slots."""
        self._slots = self._state = None


class _Part:
    """Layers of a network: those of its variables that ``trained``, ``other`` ones that may change, ``fixed`` ones."""

    def __init__(
        self, frozen: Sequence[keras.layers.Layer], trainable: Sequence[keras.layers.Layer], training_mode: bool = True
    ) -> None:
        variables = variables_of(trainable)
        self.frozen, self.trainable, self.training_mode = frozen, trainable, training_mode
        self.trained = [variable for variable in variables if variable.trainable]
        self.other = [variable for variable in variables if not variable.trainable]
        self.fixed = variables_of(frozen)

    def values(self) -> Any:
        """Return what the three kinds of variables hold."""
        return tuple([variable.value for variable in kind] for kind in (self.trained, self.other, self.fixed))

    def call(self, trained: Any, other: Any, fixed: Any, inputs: Any) -> tuple[Any, Any]:
        """Run the layers on ``inputs`` with these values, and return their output and the new ``other`` ones."""
        mapping = zip([*self.trained, *self.other, *self.fixed], [*trained, *other, *fixed], strict=True)
        with keras.StatelessScope(state_mapping=list(mapping)) as scope:
            for layer in self.frozen:
                inputs = layer(inputs, training=False)
            for layer in self.trainable:
                inputs = layer(inputs, training=self.training_mode)
        return inputs, [scope.get_current_value(variable) for variable in self.other]


class _Slice(_Part):
    """The layers before the head: ``forward`` gives features, what ``backward`` needs next to their gradient for those
    of the trained values, and the changed other values."""

    def __init__(
        self, frozen: Sequence[keras.layers.Layer], trainable: Sequence[keras.layers.Layer], training_mode: bool
    ) -> None:
        super().__init__(frozen, trainable, training_mode)

        def forward(trained: Any, other: Any, fixed: Any, inputs: Any) -> Any:
            return jax.vjp(lambda values: self.call(values, other, fixed, inputs), trained, has_aux=True)

        def backward(back: Callable[[Any], Any], upstream: Any) -> Any:
            return back(upstream)[0]

        self.forward = jax.jit(forward)
        self.backward = jax.jit(backward)


class _Head(_Part):
    """The head, compiled with its update. ``below`` says that layers below it train and need its upstream gradient."""

    def __init__(
        self, layers: Sequence[keras.layers.Layer], optimizer: OptimizerName, limited: bool, *, below: bool
    ) -> None:
        super().__init__([], layers)

        def loss_of(values: Any, features: Any, other: Any, labels: Any, weights: Any) -> Any:
            logits, other = self.call(values, other, [], features)
            return cross_entropy(logits, labels, weights), other

        def run(values: Any, slots: Any, other: Any, features: Any, labels: Any, weights: Any, *now: Any) -> Any:
            gradient_of = jax.value_and_grad(loss_of, (0, 1) if below else (0,), has_aux=True)
            (loss, other), (gradients, *upstream) = gradient_of(values, features, other, labels, weights)
            values, slots = _updated(RULES[optimizer], limited, values, slots, gradients, *now)
            return values, slots, other, loss, upstream

        self.run = jax.jit(run, donate_argnums=(0, 1), compiler_options=options(layers))


class _Held:
    """Images or activations on the device."""

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
def _update(optimizer: OptimizerName, limited: bool) -> Any:
    """Compile (values, slots, gradients, rates, limits, step) -> new values and slots, in the memory of the old ones.

    ``limited`` says whether weight decay and the largest norm of a gradient, the two limits, are used.
    """
    return jax.jit(partial(_updated, RULES[optimizer], limited), donate_argnums=(0, 1))


def _updated(
    rule: Any, limited: bool, values: Any, slots: Any, gradients: Any, rates: Any, limits: Any, step: Any
) -> Any:
    if limited:
        weight_decay, clip_norm = limits
        gradients = [cut(gradient, clip_norm) for gradient in gradients]
        values = [shrunk(value, rate, weight_decay) for value, rate in zip(values, rates, strict=True)]
    new = [
        rule(gradient, value, *pair, rate, step)
        for value, pair, gradient, rate in zip(values, slots, gradients, rates, strict=True)
    ]
    return [value for value, _, _ in new], [(momentum, mean_square) for _, momentum, mean_square in new]
