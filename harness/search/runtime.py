"""Predicting the seconds of a trial before it starts, from what it does; refitted after every trial.

A trial does countable things: it computes activations, takes steps, updates weights, trains layers of so many FLOPs,
evaluates. Its seconds are modelled as linear in these counts, with non-negative rates of the machine (least squares of
the relative errors). With few trials the rates are pulled towards those of a processor (`_DEFAULT_RATES`), scaled to
this machine by what the study's baselines took: they have run by then and serve as calibration.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from harness.backbones.stages import RGB, Architecture
from harness.core.spec import StudySpec
from harness.core.strategy import Strategy
from harness.training.flops import MLP_HIDDEN, cached_start, prefix_cost, step_cost

KINDS = ("features", "compile", "train", "evaluation")
RECENT = 100
"""How many trials, the last ones, are fitted: a study may have ten thousand."""

_DEFAULT_RATES = {
    "step": 5e-3,  # s for a step, whatever is in it
    "weight": 2e-9,  # s to update a weight by Adam
    "stored": 5e-12,  # s for a FLOP of activations that are stored
    "forward": 3e-12,  # s for another FLOP without gradients
    "early": 5e-12,  # s for a FLOP of training in the first stages, whose maps are large (VGG16: blocks 1 and 2)
    "late": 5e-12,  # s for another FLOP of training
    "image": 1e-4,  # s to evaluate one, in addition to its FLOPs
    "layer": 0.05,  # s to build and trace one
}
_EARLY_REDUCTION = 4  # of the image's side, by the last of the first stages
_SGD = 0.5  # of Adam's seconds for a weight: it has one slot, not two
_RIDGE = 0.03
"""Ridge weight that pulls the fitted rates towards the defaults."""
_CALIBRATION = 0.3  # weight of a baseline compared with a trial: its network is another one
_AGEING = 0.8  # weight of a trial compared with the next one: a machine's speed changes with its load

Counts = NDArray[np.float64]
"""(4, 8): how often each of `_DEFAULT_RATES` is done in each of `KINDS`."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What the trials of a study have in common. Baselines run at ``baseline_size`` pixels."""

    architecture: Architecture
    n_classes: int
    n_train: int
    n_validation: int
    batch_size: int
    max_bytes: int
    views: int = 1
    baseline_size: int = 32

    @classmethod
    def of(cls, spec: StudySpec, data: Mapping[str, Any], architecture: Architecture) -> "Setting":
        """Return the setting of a stored study, from its ``spec`` and ``data``."""
        budget = spec.budget
        sizes = data["classes"], data["n_train"], data["n_validation"]
        return cls(
            architecture, *sizes, budget.batch_size, budget.cache_bytes, spec.data.views, spec.search.baseline_size
        )

    def counts(self, strategy: Strategy, epochs: int) -> Counts:
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
        steps = self._steps(int(row["epochs"]))
        updates = (
            steps * self.baseline_size**2 * RGB * MLP_HIDDEN[0] if row["name"] == "mlp" else 0
        )  # of its first layer, most of it
        return _counts(train={"step": steps, "weight": updates, "late": row["train_flops"]})

    def _phase(self, phase: Strategy, epochs: int) -> Counts:
        size, k, architecture = phase.image_size, phase.frozen, self.architecture
        n_stored = self.views * self.n_train + self.n_validation
        start = cached_start(architecture, k, size, n_stored, self.max_bytes)
        prefix, whole = prefix_cost(architecture, size, start), prefix_cost(architecture, size)
        frozen = prefix_cost(architecture, size, k) - prefix
        training = step_cost(architecture, phase, self.n_classes, start) - frozen
        # A step is three forward passes, near enough to tell the blocks apart.
        early = 3 * max(0.0, prefix_cost(architecture, size, _early(architecture)) - prefix_cost(architecture, size, k))
        images = self.n_train * epochs
        weights = self._weights(phase) * (1 if phase.optimizer == "adam" else _SGD)
        return _counts(
            features={"stored": prefix * self.n_train * self.views},
            compile={"layer": len(architecture.stages) - start + len(phase.head) + 1},
            train={
                "step": self._steps(epochs),
                "weight": self._steps(epochs) * weights,
                "forward": frozen * images,
                "early": early * images,
                "late": (training - early) * images,
            },
            evaluation={
                "stored": self.n_validation * prefix,
                "forward": self.n_validation * epochs * (whole - prefix),
                "image": self.n_validation * epochs,
            },
        )

    def _steps(self, epochs: int) -> int:
        return epochs * math.ceil(self.n_train / self.batch_size)

    def _weights(self, strategy: Strategy) -> int:
        """Count the trainable weights."""
        height, width, channels = self.architecture.shape(len(self.architecture.stages), strategy.image_size)
        inputs = channels * (height * width if strategy.pooling == "flatten" else 1)
        trained = sum(stage.weights for stage in self.architecture.stages[strategy.frozen :])
        for units in (*strategy.head, self.n_classes):
            trained += inputs * units
            inputs = units
        return trained


@dataclass(frozen=True, slots=True)
class Forecast:
    """The fitted rates of a machine."""

    setting: Setting
    rates: NDArray[np.float64]

    @classmethod
    def fit(
        cls, setting: Setting, trials: Sequence[Mapping[Any, Any]], baselines: Sequence[Mapping[Any, Any]] = ()
    ) -> "Forecast | None":
        """Fit rows of ``trial_summary`` and of the baselines, all of one machine; None where none of them has run."""
        usual = np.array(list(_DEFAULT_RATES.values()))
        counted: list[Counts] = []
        measured: list[NDArray[np.float64]] = []
        weights: list[float] = []
        ended = [row for row in trials if row["status"] in ("complete", "pruned") and row["epochs"] > 0][-RECENT:]
        for age, row in enumerate(reversed(ended)):
            counted.append(setting.counts(Strategy.from_row(row), int(row["epochs"])))
            measured.append(np.array([row[f"seconds_{kind}"] for kind in KINDS]))
            weights.append(_AGEING**age)
        for row in baselines:
            counts = setting.baseline(row)
            if counts is not None and row["status"] == "complete":
                seconds = np.array([row[f"seconds_{kind}"] for kind in KINDS])
                counted.append(counts)
                measured.append(np.where(counts.any(axis=1), seconds, 0.0))
                weights.append(_CALIBRATION)
        known = [i for i, seconds in enumerate(measured) if seconds.sum() > 0]
        if not known:
            return None
        speed = float(np.median([measured[i].sum() / (counted[i] @ usual).sum() for i in known]))
        # In units of the usual rates at this machine's speed, which makes 1 what is expected of each.
        usual = usual * speed
        scale = [weights[i] / measured[i].sum() for i in known]
        rows = [scale[j] * counted[i] * usual for j, i in enumerate(known)]
        wanted = [scale[j] * measured[i] for j, i in enumerate(known)]
        rows.append(_RIDGE * np.eye(len(usual)))
        wanted.append(np.full(len(usual), _RIDGE))
        rates, _ = nnls(np.concatenate(rows), np.concatenate(wanted))
        return cls(setting, rates * usual)

    def seconds(self, strategy: Strategy, epochs: int) -> float:
        """Predict the seconds that ``strategy`` takes in so many epochs, all kinds together."""
        return float((self.setting.counts(strategy, epochs) @ self.rates).sum())


def _early(architecture: Architecture) -> int:
    """Return how many stages there are up to the first that has `_EARLY_REDUCTION`."""
    return next((k for k, stage in enumerate(architecture.stages, 1) if stage.reduction >= _EARLY_REDUCTION), 0)


def _counts(**by_kind: Mapping[str, float]) -> Counts:
    return np.array([[by_kind.get(kind, {}).get(name, 0.0) for name in _DEFAULT_RATES] for kind in KINDS])
