"""A study as experiment trackers show one: a run for each trial, and one for the study itself."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from harness.analysis.rows import Rows
from harness.storage.tables import STRATEGY

_CURVE = (
    "train_flops", "rated_seconds", "train_seconds", "train_loss", "val_loss", "val_accuracy", "val_balanced_accuracy",
    "val_macro_f1",
)  # fmt: skip
_COSTS = ("saved_flops", "saved_seconds", "predicted_seconds", "seconds_total")


@dataclass(frozen=True, slots=True)
class Run:
    """One run. ``part`` identifies it in its study: ``study``, ``trial 3``.

    ``parameters`` are the strategy and the seed, ``tags`` what is known besides, in words. ``metrics`` are finite
    values (name, value, step): the learning curve by epoch and, at the last epoch, the costs.
    """

    part: str
    name: str
    started: datetime
    metrics: list[tuple[str, float, int]]
    finished: datetime | None = None
    status: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


def study_run(rows: Rows, created: datetime) -> Run:
    """Return the study's own run: the best trial's score and cost and those of the baselines."""
    best = rows.best() or {}
    values = {f"best_{name}": best.get(name) for name in (rows.score, rows.cost.spent)}
    for baseline in rows.baselines.to_dict("records"):
        values |= {f"baseline_{baseline['name']}_{name}": baseline[name] for name in (rows.score, rows.cost.spent)}
    return Run("study", rows.name, created, _known((name, value, len(rows.trials)) for name, value in values.items()))


def trial_runs(rows: Rows) -> Iterator[Run]:
    """Yield a run for each finished trial, by number."""
    for trial in rows.trials.to_dict("records"):
        part = f"trial {trial['number']}"
        points = rows.checkpoints[rows.checkpoints["number"] == trial["number"]].to_dict("records")
        metrics = [(key, point[key], point["epoch"]) for point in points for key in _CURVE]
        yield Run(
            part,
            f"{part}: {trial['label']}",
            trial["started_at"],
            _known([*metrics, *((key, trial[key], trial["epochs"]) for key in _COSTS)]),
            trial["finished_at"],
            trial["status"],
            {key: trial[key] for key in (*STRATEGY, "seed")},
            {
                "device": trial["device"],
                "status": trial["status"],
                "origin": trial["origin"],
                "strategy": trial["label"],
                **({"reason": trial["reason"]} if isinstance(trial["reason"], str) else {}),
            },
        )


def _known(metrics: Iterable[tuple[str, Any, Any]]) -> list[tuple[str, float, int]]:
    return [
        (name, float(value), int(step)) for name, value, step in metrics if value is not None and math.isfinite(value)
    ]
