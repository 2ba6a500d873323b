"""Predicting the seconds of a trial before it starts, from what it does; refitted after every trial.

The rates of the machine (`harness.training.counts`) are fitted to the trials before it and to the study's baselines:
they have run by then and serve as calibration.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.strategy import Strategy
from harness.training.counts import KINDS, Counts, Rates, Setting, fit_rates

RECENT = 100
"""How many trials, the last ones, are read for it: a study may have ten thousand."""

_FITTED = 30
"""How many of those on the trial's backbone are fitted. By `_AGEING` the next one would weigh a thousandth."""

_CALIBRATION = 0.3  # weight of a baseline compared with a trial: its network is another one
_AGEING = 0.8  # weight of a trial compared with the next one: a machine's speed changes with its load


@dataclass(frozen=True, slots=True)
class Forecast:
    """The fitted rates of a machine."""

    setting: Setting
    rates: Rates

    @classmethod
    def fit(
        cls, setting: Setting, trials: Sequence[Mapping[Any, Any]], baselines: Sequence[Mapping[Any, Any]] = ()
    ) -> "Forecast | None":
        """Fit rows of ``trial_summary`` and of the baselines, all of one machine; None where none of them has run."""
        counted: list[Counts] = []
        measured: list[NDArray[np.float64]] = []
        weights: list[float] = []
        ended = [row for row in trials if row["status"] in ("complete", "pruned") and row["epochs"] > 0][-_FITTED:]
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
        rates = fit_rates(counted, measured, weights)
        return None if rates is None else cls(setting, rates)

    def seconds(self, strategy: Strategy, epochs: int) -> float:
        """Predict the seconds that ``strategy`` takes in so many epochs, all kinds together."""
        return float((self.setting.counts(strategy, epochs) @ self.rates).sum())
