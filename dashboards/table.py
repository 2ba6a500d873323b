"""The rows of the tables: all trials for the page and its downloads, and the confirmed candidates."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from harness.analysis import formatting
from harness.analysis.confirmed import Confirmation, interval
from harness.analysis.rows import Rows
from harness.core.cost import FLOPS
from harness.core.refinements import NAMES
from harness.core.results import METRIC_NAMES
from harness.statistics.comparison import Difference


@dataclass(frozen=True)
class Column:
    """A column of ``trial_summary``: its ``title`` in the table ("" where only downloads have it) and ``format``."""

    name: str
    title: str
    format: str


_SHOWN = (
    Column("number", "trial", "integer"),
    Column("strategy", "strategy", "text"),
    Column("frozen", "k", "integer"),
    Column("image_size", "px", "integer"),
    Column("backbone", "backbone", "text"),
    *(Column(f"val_{metric}", f"validation {name}", "accuracy") for metric, name in METRIC_NAMES.items()),
    Column("train_flops", "training TFLOP", "tflop"),
    Column("saved_flops", "unspent TFLOP", "tflop"),
    Column("rated_seconds", "training s, predicted", "number"),
    Column("saved_seconds", "unspent s, predicted", "number"),
    Column("seconds_total", "total s", "number"),
    Column("epochs", "epochs", "integer"),
    Column("status", "status", "text"),
    Column("origin", "origin", "text"),
    Column("pooling", "pooling", "text"),
    Column("head", "hidden layers", "text"),
    Column("dropout", "dropout", "rate"),
    Column("optimizer", "optimizer", "text"),
    Column("learning_rate", "learning rate", "rate"),
    Column("head_epochs", "epochs on the head", "integer"),
    Column("rate_factor", "rate factor", "rate"),
    Column("planned_epochs", "epochs of a whole training", "integer"),
    *(Column(name, name.replace("_", " "), "rate") for name in NAMES),
    Column("seed", "seed", "integer"),
    Column("reason", "reason", "text"),
)


def trials_table(studies: Sequence[Rows]) -> dict[str, Any]:
    """Return all trials of ``studies`` as JSON: ``columns``, ``rows`` by column, and ``best``, the best of each study.

    Values are those of the view ``trial_summary``, a missing one is null. A text column holds its distinct ``words``
    and, for each row, the index of its word in ``at``.
    """
    frame = pd.concat([rows.trials.drop(columns="label") for rows in studies], ignore_index=True)
    study = Column("study", "study" if len(studies) > 1 else "", "text")
    hidden = {f"val_{metric}" for metric in METRIC_NAMES} - {"val_accuracy", *(rows.score for rows in studies)}
    if not (frame["head_epochs"] > 0).any():
        hidden |= {"head_epochs", "rate_factor"}
    hidden |= {name for name in ("planned_epochs", *NAMES) if frame[name].nunique() <= 1}
    if frame["backbone"].nunique() <= 1:
        hidden.add("backbone")
    if all(rows.cost is FLOPS for rows in studies):
        hidden |= {"rated_seconds", "saved_seconds"}
    known = {c.name: replace(c, title="") if c.name in hidden else c for c in (study, *_SHOWN)}
    rest = [Column(name, "", _format(frame[name])) for name in frame.columns if name not in known]
    columns = [*known.values(), *rest]
    return {
        "columns": [vars(column) for column in columns],
        "rows": {column.name: _values(frame[column.name], column) for column in columns},
        "best": [[rows.name, int(best["number"])] for rows in studies if (best := rows.best()) is not None],
    }


def _format(values: pd.Series) -> str:
    return "number" if values.dtype.kind in "if" else "text"


def _values(values: pd.Series, column: Column) -> Any:
    if column.format != "text":
        return [None if value != value else value for value in values.tolist()]
    texts = [_text(value) for value in values.tolist()]
    words = {text: at for at, text in enumerate(dict.fromkeys(texts))}
    return {"words": list(words), "at": [words[text] for text in texts]}


def _text(value: Any) -> str:
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    return str(value).lower() if isinstance(value, bool) else str(value or "")


CONFIRMED_COLUMNS = (
    "candidate",
    "strategy",
    "as",
    "validation",
    "test accuracy (95 %)",
    "seeds ±",
    "training",
    "seconds",
)
COMPARED_COLUMNS = ("candidate", "against the advice (95 %)", "p", "against the best baseline (95 %)", "p")


def confirmed_rows(found: Confirmation) -> list[tuple[str, ...]]:
    """Return the results of each candidate as text: accuracies, the standard deviation between seeds, mean cost.

    The order is that in which the candidates were fixed.
    """
    return [
        (
            c.candidate.name, c.label, ", ".join(c.candidate.roles).replace("_", " "),
            formatting.accuracy(c.val_accuracy),
            interval(c), "–" if c.test is None else formatting.accuracy(c.test.spread), formatting.tflop(c.train_flops),
            formatting.seconds(c.seconds),
        )
        for c in found.candidates
    ]  # fmt: skip


def compared_rows(found: Confirmation) -> list[tuple[str, ...]]:
    """Return the differences in test accuracy, in points, as text; a star marks one that is significant over all."""
    return [
        (c.candidate.name, *_short(c.against_advice), *_short(c.against_baseline))
        for c in found.candidates
        if c.against_advice or c.against_baseline
    ]


def _short(difference: Difference | None) -> tuple[str, str]:
    if difference is None:
        return "–", ""
    star = " *" if difference.significant else ""
    span = f"({difference.low * 100:+.2f} to {difference.high * 100:+.2f})"
    return f"{difference.mean * 100:+.2f} {span}{star}", formatting.p_value(difference.adjusted)
