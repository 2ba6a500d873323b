"""Estimate which hyperparameters change the score, compared with chance."""

import random
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean
from typing import Any

import optuna
import pandas as pd

from harness.analysis import formatting
from harness.analysis.rows import Rows
from harness.core.refinements import NAMES

optuna.logging.set_verbosity(optuna.logging.WARNING)  # else it logs each study made here

CHANCE = "a random number"
_LOG_SCALE = ("learning rate", "rate factor", "body rate", "layer decay")
LEAST, MOST, HALVES = 20, 400, 12
"""The fewest and the most complete trials that are used, and the number of random halves of them."""


@dataclass(frozen=True)
class Importance:
    """The importance of a hyperparameter: mean, least and most over the random halves.

    ``above_chance``: it was more important than `CHANCE` in each of them.
    """

    name: str
    mean: float
    low: float
    high: float
    above_chance: bool


@dataclass(frozen=True)
class ImportanceInfo:
    """Importances, the largest first, from ``used`` of ``complete`` trials.

    One of them is `CHANCE`, a column of random numbers, drawn again for each half. A hyperparameter that is no more
    important than this column has not been shown to matter.
    """

    importances: tuple[Importance, ...]
    used: int
    complete: int

    @property
    def headline(self) -> str:
        """The result in words."""
        if not self.importances:
            done = formatting.count(self.complete, "complete trial")
            return f"{done}: {LEAST} that differ in score are needed for this."
        above = ", ".join(i.name for i in self.importances if i.above_chance)
        halves = f"in each of {HALVES} random halves of {formatting.count(self.used, 'complete trial')}"
        return f"{'Above chance' if above else 'Nothing is above chance'} {halves}{': ' + above if above else ''}."


def importance_info(rows: Rows) -> ImportanceInfo:
    """Return the mean decrease in impurity of random forests (Breiman 2001; Optuna's evaluator).

    The forests are fitted to random halves of the complete trials; of more than `MOST` trials a random sample is used.
    """
    complete = rows.trials[rows.trials["status"] == "complete"]
    if len(complete) < LEAST or complete[rows.score].nunique() < 2:
        return ImportanceInfo((), 0, len(complete))
    columns = tuple((name, tuple(values)) for name, values in _parameters(complete).items())
    return ImportanceInfo(*_measured(columns, tuple(complete[rows.score].tolist())), len(complete))


@lru_cache(maxsize=8)  # the page and optuna-dashboard show the same trials, and forests take half the time of a page
def _measured(
    columns: tuple[tuple[str, tuple[Any, ...]], ...], scores: tuple[float, ...]
) -> tuple[tuple[Importance, ...], int]:
    """Return the importances, the largest first, and the number of trials that were used."""
    draw = random.Random(0)
    chosen = sorted(draw.sample(range(len(scores)), min(MOST, len(scores))))
    frame = pd.DataFrame({name: [values[i] for i in chosen] for name, values in columns})
    distributions = _distributions(frame) | {CHANCE: optuna.distributions.FloatDistribution(0, 1)}
    known = list(zip(frame.to_dict("records"), [scores[i] for i in chosen], strict=True))
    halves = []
    for seed in range(HALVES):
        half = [
            optuna.trial.create_trial(
                params={name: params.get(name, draw.random()) for name in distributions},
                distributions=distributions,
                value=score,
            )
            for params, score in draw.sample(known, len(known) // 2)
        ]
        halves.append(_importances(half, seed))
    found = []
    for name in distributions:
        shares = [half.get(name, 0.0) for half in halves]
        above = all(half.get(name, 0.0) > half.get(CHANCE, 0.0) for half in halves)
        found.append(Importance(name, fmean(shares), min(shares), max(shares), above))
    return tuple(sorted(found, key=lambda i: -i.mean)), len(chosen)


def _parameters(trials: pd.DataFrame) -> dict[str, list[Any]]:
    widths = [[int(width) for width in head.split("-") if width] for head in trials["head"]]
    return {
        "strategy": trials["strategy"].tolist(),
        "backbone": trials["backbone"].tolist(),
        "image size": trials["image_size"].tolist(),
        "k": trials["frozen"].tolist(),
        "pooling": trials["pooling"].tolist(),
        "hidden layers": [len(head) for head in widths],
        "hidden units": [sum(head) for head in widths],
        "dropout": trials["dropout"].tolist(),
        "optimizer": trials["optimizer"].tolist(),
        "learning rate": trials["learning_rate"].tolist(),
        "epochs on the head": trials["head_epochs"].tolist(),
        "rate factor": trials["rate_factor"].tolist(),
        "epochs": trials["planned_epochs"].tolist(),
        **{name.replace("_", " "): trials[name].tolist() for name in NAMES},
    }


def _distributions(frame: pd.DataFrame) -> dict[str, optuna.distributions.BaseDistribution]:
    """Return a distribution for each column that varies."""
    found: dict[str, optuna.distributions.BaseDistribution] = {}
    for name in frame.columns[frame.nunique() > 1]:
        column = frame[name]
        if column.dtype.kind not in "if":
            found[name] = optuna.distributions.CategoricalDistribution(sorted(column.unique()))
        elif column.dtype.kind == "i":
            found[name] = optuna.distributions.IntDistribution(int(column.min()), int(column.max()))
        else:
            found[name] = optuna.distributions.FloatDistribution(
                float(column.min()), float(column.max()), log=name in _LOG_SCALE
            )
    return found


def _importances(trials: list[Any], seed: int) -> dict[str, float]:
    if len({trial.value for trial in trials}) < 2:
        return {}
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    evaluator = optuna.importance.MeanDecreaseImpurityImportanceEvaluator(n_trees=32, seed=seed)
    return {k: float(v) for k, v in optuna.importance.get_param_importances(study, evaluator=evaluator).items()}
