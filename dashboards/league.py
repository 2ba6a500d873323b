"""Write the page of the league of rules, and print its table."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dashboards.figures.league import by_set, league_figure, league_numbers
from dashboards.page import TEMPLATES, one_figure, save
from dashboards.terminal import console_of, text_table
from harness.rules.arms import EPOCHS
from harness.rules.league import Standing
from harness.rules.outcomes import Outcomes
from harness.rules.telling import sentences


def write_league(table: Sequence[Standing], outcomes: Outcomes, path: Path) -> None:
    """Write the page to ``path``. Raises StorageError where it cannot be written."""
    compared = outcomes.complete
    text = TEMPLATES.get_template("league.html.j2").render(
        title="The league of rules",
        sentences=sentences(table, outcomes),
        numbers=league_numbers(table),
        by_set=by_set(table, compared),
        n_sets=len(compared.datasets),
        n_arms=len(compared.arms),
        n_places=len(compared.places),
        n_trials=compared.accuracy.size,
        sizes=", ".join(map(str, sorted({place.n_train for place in compared.places}))),
        n_validation=f"{min(compared.n_validation)} to {max(compared.n_validation)}",
        epochs=EPOCHS,
        **one_figure(league_figure(table)),
    )
    save(text, path)


def as_table(table: Sequence[Standing]) -> list[dict[str, Any]]:
    """Return the standings for JSON: shares of the images, TFLOP, the choices without their places."""
    return [
        {
            "rule": standing.rule.name,
            "text": standing.rule.text,
            "needs": standing.rule.needs,
            "behind": asdict(standing.behind),
            "lead": asdict(standing.lead),
            "tflop": standing.tflop,
            "excess": standing.excess,
            "regret": standing.regret,
        }
        for standing in table
    ]


def print_league(table: Sequence[Standing], outcomes: Outcomes) -> None:
    """Print the table and what it says."""
    console, numbers = console_of(140), league_numbers(table)
    shown = [i for i, column in enumerate(numbers.columns) if column != "what it says"]  # the page has it
    columns = (numbers.columns[i] for i in shown)
    console.print(text_table("The league of rules", columns, ((row[i] for i in shown) for row in numbers.rows)))
    for sentence in sentences(table, outcomes):
        console.print(sentence, markup=False, soft_wrap=True)
