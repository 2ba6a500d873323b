"""Print the result of a study as text or JSON, and the predicted costs of a study that is not run."""

import json
import shlex
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dashboards.table import COMPARED_COLUMNS, CONFIRMED_COLUMNS, compared_rows, confirmed_rows
from harness.analysis import formatting
from harness.analysis.confirmed import Confirmation
from harness.analysis.recommendation import recommend
from harness.analysis.rows import Rows
from harness.analysis.summary import summarise
from harness.core.cost import CostName
from harness.core.paths import recommendation_path
from harness.core.results import METRIC_NAMES, METRICS
from harness.core.spec import StudySpec
from harness.core.strategy import KINDS
from harness.core.strict_json import dumps
from harness.storage import database

_WORDS = ("strategy", "status", "as", "needs")
"""Columns that hold words, which are set to the left."""

_COMPUTE: dict[CostName, str] = {
    "flops": "training FLOPs",
    "seconds": "training seconds, predicted at rates measured when the study began",
}


def print_report(rows: Rows, storage: str, page: Path) -> None:
    """Print the strategies, the baselines, the front, the summary, and where database and page are."""
    console, name = console_of(120), METRIC_NAMES[rows.metric]
    console.print(text_table(
        f"Strategies ({rows.score_name}; compute is {_COMPUTE[rows.cost.name]})",
        ("strategy", "trials", "complete", f"best {name}", "its compute", "its seconds", "all compute", "all seconds"),
        (_strategy_row(rows, kind) for kind in KINDS if kind in set(rows.trials["strategy"])),
    ))  # fmt: skip
    console.print(text_table(
        "Baselines",
        ("baseline", "status", name, "compute", "seconds"),
        ((row["name"], row["status"], formatting.accuracy(row[rows.score]), rows.cost.in_words(row[rows.cost.spent]),
          formatting.seconds(row["seconds_total"])) for row in rows.baselines.to_dict("records")),
    ))  # fmt: skip
    console.print(text_table(
        f"{name[0].upper()}{name[1:]}-versus-compute front (each checkpoint counts)",
        ("compute", name, "trial", "epoch", "strategy"),
        ((rows.cost.in_words(point[rows.cost.spent]), formatting.accuracy(point[rows.score]), str(point["number"]),
          str(point["epoch"]), point["label"]) for point in rows.front().to_dict("records")),
    ))  # fmt: skip
    advised = recommend(rows)
    if advised is not None:
        _print_confirmed(console, advised.confirmed)
    for sentence in summarise(rows).sentences:
        console.print(sentence, markup=False, soft_wrap=True)
    shown = database.shown(database.parse_url(storage))
    look = shlex.join(["python", "-m", "harness.dashboard", "--study", rows.name, "--storage", shown, "--serve"])
    for line in (
        f"\nDatabase: {shown}",
        f"Page: {page}",
        f"Look inside: {look}",
        f"or: {shlex.join(['optuna-dashboard', shown])}",
    ):
        console.print(line, markup=False, soft_wrap=True)


def as_json(rows: Rows, storage: str, page: Path) -> dict[str, Any]:
    """Return the result for scripts: plain values, scores from 0 to 1, FLOPs, seconds."""
    scores = [f"val_{metric}" for metric in METRICS]

    def records(frame: Any) -> Any:
        return json.loads(frame.to_json(orient="records", date_format="iso"))

    return {
        "study": rows.name,
        "storage": database.shown(database.parse_url(storage)),
        "page": str(page),
        "data": rows.data,
        "advice": rows.advice,
        "cost": rows.cost.name,
        "best": records(rows.trials[rows.trials["number"] == best["number"]])[0] if (best := rows.best()) else None,
        "trials": records(rows.trials),
        "baselines": records(rows.baselines),
        "front": records(rows.front()[["number", "epoch", "train_flops", "rated_seconds", *scores, "label"]]),
        "summary": list(summarise(rows).sentences),
        "confirmation": confirmation_as_json(rows),
    }


def print_confirmation(rows: Rows, page: Path) -> None:
    """Print the results of a confirmation, the recommendation, and where both are written."""
    advised = recommend(rows)
    assert advised is not None
    console = console_of(150)
    _print_confirmed(console, advised.confirmed)
    for sentence in advised.sentences:
        console.print(sentence, markup=False, soft_wrap=True)
    console.print(f"\nRecommendation: {recommendation_path(page)}\nPage: {page}", markup=False, soft_wrap=True)


def _print_confirmed(console: Console, found: Confirmation) -> None:
    console.print(text_table("Confirmed on the held-out test set", CONFIRMED_COLUMNS, confirmed_rows(found)))
    console.print(text_table("Compared, in points", COMPARED_COLUMNS, compared_rows(found)))


def confirmation_as_json(rows: Rows) -> dict[str, Any] | None:
    """Return the last finished confirmation for scripts, None where there is none."""
    advised = recommend(rows)
    if advised is None:
        return None
    values = asdict(advised)
    values["confirmed"] |= {
        "opened_at": advised.confirmed.opened_at.isoformat(),
        "optimism": advised.confirmed.optimism(),
    }
    return values | {"study": rows.name, "sentences": list(advised.sentences)}


def plan_as_json(spec: StudySpec, n_train: int, costs: Iterable[tuple[str, float, float]]) -> dict[str, Any]:
    """Return what `print_plan` prints for scripts."""
    predicted = [{"strategy": name, "frozen_flops": frozen, "train_flops": total} for name, frozen, total in costs]
    return {"study": spec.model_dump(mode="json"), "n_train": n_train, "predicted": predicted}


def print_plan(spec: StudySpec, n_train: int, costs: Iterable[tuple[str, float, float]]) -> None:
    """Print the resolved study and what a whole trial of each strategy would cost.

    ``costs`` has for each strategy its name, the FLOPs that are spent once in frozen layers, and all FLOPs of training
    on ``n_train`` images.
    """
    console = console_of(120)
    console.print(dumps(spec.model_dump(mode="json"), indent=2), markup=False)
    console.print(text_table(
        f"Predicted cost of a whole trial ({n_train:,} images, {spec.budget.epochs} epochs, no hidden layer)",
        ("strategy", "of it frozen, once", "training compute"),
        ((strategy, formatting.tflop(frozen), formatting.tflop(total)) for strategy, frozen, total in costs),
    ))  # fmt: skip
    if spec.search.cost == "seconds":
        console.print(
            "The search trades accuracy against seconds of training, at rates that it measures when it begins."
        )


def _strategy_row(rows: Rows, kind: str) -> tuple[str, ...]:
    trials = rows.trials[rows.trials["strategy"] == kind]
    scored = trials.dropna(subset=rows.score).sort_values(rows.score, ascending=False)
    best = scored.iloc[0] if len(scored) else None
    return (
        kind,
        str(len(trials)),
        str(int((trials["status"] == "complete").sum())),
        "–" if best is None else formatting.accuracy(best[rows.score]),
        "–" if best is None else rows.cost.in_words(best[rows.cost.spent]),
        "–" if best is None else formatting.seconds(best["seconds_total"]),
        rows.cost.in_words(trials[rows.cost.spent].sum()),
        formatting.seconds(trials["seconds_total"].sum()),
    )


def console_of(width: int) -> Console:
    """Return a console of the terminal's width, or of so many columns where the output is no terminal."""
    return Console(width=None if Console().is_terminal else width, highlight=False)


def text_table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    """Return a table for the terminal: words to the left, figures to the right."""
    table = Table(title=title, title_justify="left", header_style="bold", title_style="bold")
    for index, column in enumerate(columns):
        table.add_column(
            column, justify="left" if index == 0 or column in ("strategy", "status", "as", "needs") else "right"
        )
    for row in rows:
        table.add_row(*row)
    return table
