"""The training step on TensorFlow: a graph for each image size, start, freeze depth, kind of head and optimizer.

To trace and optimize a graph takes up to a second, and hardly a head comes twice. So the head's variables are arguments
whose shapes leave its widths open: a graph serves all heads with the same layers.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import compress
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from harness.core.refinements import PLAIN, Refinements
from harness.core.strategy import OptimizerName
from harness.training.networks import Network, variables_of
from harness.training.objective import ADAM, MOMENTUM, cross_entropy, cut, shrunk

_KEPT = 8
"""Graphs, each of up to 10 MB. TensorFlow gives back all of one that is dropped."""
_SLOTS: dict[OptimizerName, int] = {"adam": 2, "sgd": 1}

Layers = tuple[keras.layers.Layer, ...]
State = Sequence[Any]
"""A TensorFlow variable, followed by the slots of the optimizer where it trains."""


class TensorFlowSteps:
    """See `harness.training.fit.Steps`. Keeps the last graphs, and one set of slots for the layers that networks
    share."""

    def __init__(self) -> None:
        self._slots: dict[int, State] = {}
        self._graph = lru_cache(maxsize=_KEPT)(self._trace)

    def of(self, network: Network, optimizer: OptimizerName, refinements: Refinements = PLAIN) -> "TensorFlowStep":
        """Return the step that trains ``network``."""
        layers = tuple(network.frozen_layers), tuple(network.trainable_layers), tuple(network.template)
        graph = self._graph(*layers, network.training_mode, optimizer, network.image_size, refinements.traced)
        return TensorFlowStep(network, optimizer, refinements, graph, self._shared(layers[1], optimizer))

    def _shared(self, layers: Layers, optimizer: OptimizerName) -> list[State]:
        """Return the state of the variables that train in ``layers``. All graphs update the same slots."""
        variables = [variable.value for layer in layers for variable in layer.trainable_variables]
        for variable in variables:
            if id(variable) not in self._slots:
                self._slots[id(variable)] = [tf.Variable(tf.zeros_like(variable), trainable=False) for _ in range(2)]
        return [(variable, *self._slots[id(variable)][: _SLOTS[optimizer]]) for variable in variables]

    def _trace(
        self,
        frozen: Layers,
        trainable: Layers,
        template: Layers,
        training_mode: bool,
        optimizer: OptimizerName,
        image_size: int,
        traced: tuple[bool, ...],
    ) -> Any:
        """Return the graph of a step. Those of two ``image_size`` have nothing in common but the layers; which kinds of
        refinements are ``traced`` decides types of inputs and what is done to updates."""
        shared = self._shared(trainable, optimizer)
        of_stage = [stage for stage, layer in enumerate(trainable) for _ in layer.trainable_variables]
        limited, *_ = traced
        own = variables_of(template)
        trains = [variable.trainable for variable in own]

        def run(
            inputs: Any, labels: Any, weights: Any, rates: Any, limits: Any, step: Any, head: Sequence[State]
        ) -> Any:
            *stages, rate = tf.unstack(rates)
            values = [state[0].read_value() for state in head]
            sources = [*(state[0] for state in shared), *compress(values, trains)]
            outputs = inputs
            for layer in frozen:
                outputs = layer(outputs, training=False)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(sources)
                for layer in trainable:
                    outputs = layer(outputs, training=training_mode)
                with keras.StatelessScope() as scope:
                    for replaced in zip(own, values, strict=True):
                        scope.add_update(replaced)  # unlike a mapping it takes a value of another shape
                    for layer in template:
                        outputs = layer(outputs, training=True)
                loss = cross_entropy(outputs, labels, weights)
            gradients = tape.gradient(loss, sources)
            states = [*shared, *compress(head, trains)]
            each = [*(stages[stage] for stage in of_stage), *(rate for _ in range(sum(trains)))]
            if limited:
                weight_decay, clip_norm = tf.unstack(limits)
                gradients = [cut(gradient, clip_norm) for gradient in gradients]
                for (variable, *_), its_rate in zip(states, each, strict=True):
                    variable.assign(shrunk(variable.read_value(), its_rate, weight_decay))
            _update(optimizer, states, gradients, each, step)
            for state, variable, value in zip(head, own, values, strict=True):
                if (after := scope.get_current_value(variable)) is not value:  # the state of a random generator
                    state[0].assign(after)
            return loss

        return tf.function(run, autograph=False)


class TensorFlowStep:
    """See `harness.training.fit.Step`. All variables train in place."""

    def __init__(
        self,
        network: Network,
        optimizer: OptimizerName,
        refinements: Refinements,
        graph: Any,
        shared: Sequence[State],
    ) -> None:
        self.is_new = graph.experimental_get_tracing_count() == 0
        self._network = network
        self._optimizer: OptimizerName = optimizer
        self._graph = graph
        self._rates = np.array([*refinements.stage_rates(len(network.trainable_layers)), 1.0], np.float32)
        self._limits = tf.constant([refinements.weight_decay, refinements.clip_norm])
        self._shared = shared
        self._head: list[State] = []

    def start(self) -> None:
        """Empty the slots. The head's variables become ones of open shape, as the graph takes them."""
        for _, *slots in self._shared:
            for slot in slots:
                slot.assign(tf.zeros_like(slot))
        self._head = []
        for variable, like in zip(self._network.head_variables(), variables_of(self._network.template), strict=True):
            shape = tf.TensorShape([None if length == 1 else length for length in like.shape])
            if variable.value.shape != shape:  # a copy would take 0.4 GB for a head of 4,096 units on flattened maps
                variable._value = tf.Variable(variable.value, shape=shape, trainable=variable.trainable)
            slots = [
                tf.Variable(tf.zeros_like(variable.value), shape=shape, trainable=False)
                for _ in range(_SLOTS[self._optimizer] if variable.trainable else 0)
            ]
            self._head.append([variable.value, *slots])

    def run(self, inputs: Any, labels: Any, weights: Any, rate: float, step: int) -> Any:
        """Train on a batch and return its loss."""
        rates = tf.constant(self._rates * np.float32(rate))
        return self._graph(inputs, labels, weights, rates, self._limits, tf.constant(float(step)), self._head)

    def write_back(self) -> None:
        """Do nothing: the network's variables hold the trained values."""

    def to_device(self, inputs: Any) -> Any:
        """Return ``inputs``: TensorFlow takes each batch from the processor's memory."""
        return inputs

    def release(self) -> None:
        """Drop the head's slots."""
        self._head = []


def _update(
    optimizer: OptimizerName, states: Sequence[State], gradients: Sequence[Any], rates: Sequence[Any], step: Any
) -> None:
    """Update each variable and its slots in place at its rate, by TensorFlow's own kernels: one pass over the memory.

    ``objective.RULES`` take ten, and XLA compiles for every shape and frees nothing.
    """
    if optimizer == "sgd":
        for (variable, momentum), gradient, rate in zip(states, gradients, rates, strict=True):
            tf.raw_ops.ResourceApplyKerasMomentum(
                var=variable.handle, accum=momentum.handle, lr=rate, grad=gradient, momentum=MOMENTUM, use_nesterov=True
            )
        return
    first, second, epsilon = map(tf.constant, ADAM)  # made once: each constant is a node for TensorFlow to optimize
    powers = {"beta1_power": tf.pow(first, step), "beta2_power": tf.pow(second, step)}
    shared = {"beta1": first, "beta2": second, "epsilon": epsilon, **powers}
    for (variable, momentum, mean_square), gradient, rate in zip(states, gradients, rates, strict=True):
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle, m=momentum.handle, v=mean_square.handle, lr=rate, grad=gradient, **shared
        )
