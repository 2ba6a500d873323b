"""The mean of a network's weights over the last epochs (Izmailov et al. 2018)."""

from typing import Any

from harness.backbones.devices import as_numpy
from harness.training.networks import Network


class Average:
    """The mean of what the trained variables of a network held, each time that `add` was called."""

    def __init__(self, network: Network) -> None:
        self._variables = network.trainable_variables()
        self._sums: list[Any] = []
        self.n = 0

    def add(self) -> None:
        """Take in what the variables hold now."""
        values = [as_numpy(variable) for variable in self._variables]
        self._sums = [total + value for total, value in zip(self._sums, values, strict=True)] if self.n else values
        self.n += 1

    def take(self) -> None:
        """Give the variables the mean."""
        for variable, total in zip(self._variables, self._sums, strict=True):
            variable.assign(total / self.n)
