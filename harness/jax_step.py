"""The training step on JAX, which compiles one for each shape of the network."""

from typing import Any

import jax
import keras
import numpy as np

from harness.models import Network, Trained
from harness.objective import RULES, cross_entropy
from harness.strategy import OptimizerName


class JaxStep:
    """State goes in and comes out, donated, so that it is updated in place; the variables get it back on `settle`."""

    is_new = True  # JAX compiles for each shape

    def __init__(self, network: Network, optimizer: OptimizerName) -> None:
        rule = RULES[optimizer]
        self._trained: list[Trained] = network.trained
        variables = [item.variable for item in network.trained]
        training = {id(variable) for variable in variables}
        everything = [variable for layer in network.layers for variable in layer.variables]
        self._other = [variable for variable in everything if id(variable) not in training]

        def loss_of(values: Any, other: Any, inputs: Any, labels: Any, weights: Any) -> Any:
            mapping = [*zip(variables, values, strict=True), *zip(self._other, other, strict=True)]
            with keras.StatelessScope(state_mapping=mapping) as scope:
                loss = cross_entropy(network.forward(inputs), labels, weights)
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
