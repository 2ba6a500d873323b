"""Counting what a training does, and fitting how long a machine takes for it.

A training does countable things: it computes activations, takes steps, updates weights, trains layers of so many FLOPs,
evaluates. Its seconds are modelled as linear in these counts, with non-negative rates of the machine.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from harness.backbones.stages import RGB, Architecture
from harness.core.spec import Budget, StudySpec
from harness.core.strategy import Strategy
from harness.training.flops import MLP_HIDDEN, cached_start, head_cost, prefix_cost, step_cost

KINDS = ("features", "compile", "train", "evaluation")

_DEFAULT_RATES = {
    "step": 5e-3,  # s for a step, whatever is in it
    "weight": 2e-9,  # s to update a weight by Adam
    "stored": 5e-12,  # s for a FLOP of activations that are stored
    "forward": 3e-12,  # s for another FLOP without gradients
    "early": 5e-12,  # s for a FLOP of training in the first stages, whose maps are large (VGG16: blocks 1 and 2)
    "late": 5e-12,  # s for another FLOP of training the backbone
    "head": 5e-12,  # s for a FLOP of training the head: its products are fast, depthwise convolutions are slow
    "image": 1e-4,  # s to evaluate one, in addition to its FLOPs
    "layer": 0.05,  # s to build and trace one
}
OPERATIONS = tuple(_DEFAULT_RATES)
"""What a training does, as rates name it."""
_EARLY_REDUCTION = 4  # of the image's side, by the last of the first stages
_SGD = 0.5  # of Adam's seconds for a weight: it has one slot, not two
_RIDGE = 0.03
"""Ridge weight that pulls the fitted rates towards the defaults."""

Counts = NDArray[np.float64]
"""(4, 9): how often each of `OPERATIONS` is done in each of `KINDS`."""
Rates = NDArray[np.float64]
"""(9,): a machine's seconds for one of each of `OPERATIONS`."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What the trials of a study have in common. Baselines run at ``baseline_size`` pixels."""

    architecture: Architecture
    n_classes: int
    n_train: int
    n_validation: int
    budget: Budget
    max_bytes: int
    views: int = 1
    baseline_size: int = 32

    @classmethod
    def of(cls, spec: StudySpec, data: Mapping[str, Any], architecture: Architecture) -> "Setting":
        """Return the setting of a stored study, from its ``spec`` and ``data``."""
        sizes = data["classes"], data["n_train"], data["n_validation"]
        return cls(
            architecture, *sizes, spec.budget, spec.budget.cache_bytes, spec.data.views, spec.search.baseline_size
        )

    def counts(self, strategy: Strategy, epochs: float) -> Counts:
        """Count what ``strategy`` does in so many epochs on its own, as it is charged for."""
        *head, last = strategy.phases(len(self.architecture.stages))
        first = min(epochs, strategy.head_epochs)
        total = sum((self._phase(phase, first) for phase in head), start=_counts())
        return total + self._phase(last, epochs - first) if epochs > first else total

    def baseline(self, row: Mapping[Any, Any]) -> Counts | None:
        """Count what the baseline of a stored result did that a trial does too; None where that is nothing."""
        if row["name"] == "linear_probe":
            prefix = prefix_cost(self.architecture, self.baseline_size)
            return _counts(
                features={"stored": prefix * self.n_train * self.views},
                evaluation={"stored": prefix * self.n_validation},
            )
        if row["name"] not in ("mlp", "cnn"):
            return None
        steps = self._steps(row["epochs"], self.baseline_size)
        if row["name"] == "cnn":
            return _counts(train={"step": steps, "late": row["train_flops"]})
        first = self.baseline_size**2 * RGB * MLP_HIDDEN[0]  # weights of its first layer, most of them
        return _counts(train={"step": steps, "weight": steps * first, "head": row["train_flops"]})

    def _phase(self, phase: Strategy, epochs: float) -> Counts:
        size, k, architecture = phase.image_size, phase.frozen, self.architecture
        n_stored = self.views * self.n_train + self.n_validation
        start = cached_start(architecture, k, size, n_stored, self.max_bytes)
        prefix, whole = prefix_cost(architecture, size, start), prefix_cost(architecture, size)
        frozen = prefix_cost(architecture, size, k) - prefix
        head = head_cost(architecture, phase, self.n_classes)
        training = step_cost(architecture, phase, self.n_classes, start) - frozen - head
        # A step is three forward passes, near enough to tell the blocks apart.
        early = 3 * max(0.0, prefix_cost(architecture, size, _early(architecture)) - prefix_cost(architecture, size, k))
        images = self.n_train * epochs
        weights = self._weights(phase) * (1 if phase.optimizer == "adam" else _SGD)
        return _counts(
            features={"stored": prefix * self.n_train * self.views},
            compile={"layer": len(architecture.stages) - start + len(phase.head) + 1},
            train={
                "step": self._steps(epochs, size),
                "weight": self._steps(epochs, size) * weights,
                "forward": frozen * images,
                "early": early * images,
                "late": (training - early) * images,
                "head": head * images,
            },
            evaluation={
                "stored": self.n_validation * prefix,
                "forward": self.n_validation * epochs * (whole - prefix),
                "image": self.n_validation * epochs,
            },
        )

    def _steps(self, epochs: float, image_size: int) -> float:
        return epochs * math.ceil(self.n_train / self.budget.batch_size_at(image_size))

    def _weights(self, strategy: Strategy) -> int:
        """Count the trainable weights."""
        height, width, channels = self.architecture.shape(len(self.architecture.stages), strategy.image_size)
        inputs = channels * (height * width if strategy.pooling == "flatten" else 1)
        trained = sum(stage.weights for stage in self.architecture.stages[strategy.frozen :])
        for units in (*strategy.head, self.n_classes):
            trained += inputs * units
            inputs = units
        return trained


def fit_rates(
    counted: Sequence[Counts], measured: Sequence[NDArray[np.float64]], weights: Sequence[float]
) -> Rates | None:
    """Fit rates to trainings that took ``measured`` seconds (4,) each, by kind; None where none took any.

    Least squares of the relative errors, each with its weight. With few trainings the rates are pulled towards those of
    a processor (`_DEFAULT_RATES`), scaled to this machine.
    """
    known = [i for i, seconds in enumerate(measured) if seconds.sum() > 0]
    if not known:
        return None
    usual = np.array(list(_DEFAULT_RATES.values()))
    speed = float(np.median([measured[i].sum() / (counted[i] @ usual).sum() for i in known]))
    # In units of the usual rates at this machine's speed, which makes 1 what is expected of each.
    usual = usual * speed
    scale = [weights[i] / measured[i].sum() for i in known]
    rows = [scale[j] * counted[i] * usual for j, i in enumerate(known)]
    wanted = [scale[j] * measured[i] for j, i in enumerate(known)]
    rows.append(_RIDGE * np.eye(len(usual)))
    wanted.append(np.full(len(usual), _RIDGE))
    rates, _ = nnls(np.concatenate(rows), np.concatenate(wanted))
    return np.asarray(rates * usual, np.float64)


def rates_of_pass(flops: float, seconds: float) -> dict[str, float]:
    """Return rates by operation of a machine on which a forward pass of ``flops`` took ``seconds``: those of a usual
    processor, scaled to it."""
    rates = fit_rates([_counts(features={"stored": flops})], [np.array([seconds, 0.0, 0.0, 0.0])], [1.0])
    assert rates is not None  # a pass takes time
    return dict(zip(OPERATIONS, rates.tolist(), strict=True))


def training_seconds(counts: Counts, rates: Mapping[str, float]) -> float:
    """Return the seconds of features and training of what was counted, at ``rates`` by operation.

    Compiling and evaluation are not training; rates of what only they do need not be there.
    """
    trained = counts[KINDS.index("features")] + counts[KINDS.index("train")]
    return sum(float(count) * rates[name] for name, count in zip(OPERATIONS, trained, strict=True) if count)


def _early(architecture: Architecture) -> int:
    """Return how many stages there are up to the first that has `_EARLY_REDUCTION`."""
    return next((k for k, stage in enumerate(architecture.stages, 1) if stage.reduction >= _EARLY_REDUCTION), 0)


def _counts(**by_kind: Mapping[str, float]) -> Counts:
    return np.array([[by_kind.get(kind, {}).get(name, 0.0) for name in _DEFAULT_RATES] for kind in KINDS])
