"""The league of rules as a table in docs/guidance.md, computed from the recorded rows alone.

    python -m benchmarks.league.standings [--write]

`harness league` prints the same figures.
"""

import argparse
from collections.abc import Sequence

import numpy as np

from benchmarks.league.verdicts import PAGE
from benchmarks.table import placed
from dashboards.figures.league import league_numbers
from harness.rules.expectation import COVERAGE, learn
from harness.rules.league import standings
from harness.rules.outcomes import Outcomes, recorded
from harness.rules.telling import sentences

BEGIN = "<!-- made by python -m benchmarks.league.standings -->"


def report() -> str:
    """Return the table and what it says in Markdown."""
    outcomes = recorded()
    table = standings(outcomes)
    numbers = league_numbers(table)
    lines = [f"| {' | '.join(numbers.columns)} |", "|---" * len(numbers.columns) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in numbers.rows]
    told = [f"- {text}" for text in (*sentences(table, outcomes), expected(outcomes))]
    return "\n".join([*told, "", *lines])


def expected(outcomes: Outcomes) -> str:
    """Return how right the expected accuracies and their intervals are on sets that were left out."""
    inside, errors = [], []
    for name in outcomes.datasets:
        model = learn(outcomes.without(name))
        covered, missed = [], []
        for row in outcomes.rows(name):
            found, there = model.expect(outcomes.probed[row]), ~np.isnan(outcomes.accuracy[row])
            reached = outcomes.accuracy[row][there]
            covered.append(((reached >= found.low[there]) & (reached <= found.high[there])).mean())
            missed.append(np.abs(reached - found.accuracy[there]).mean())
        inside.append(np.mean(covered))
        errors.append(np.mean(missed))
    return (
        f"The accuracy to expect of a way, on sets left out: wrong by {100 * np.mean(errors):.1f} points, on average "
        f"over ways and sets; the {COVERAGE:.0%} intervals hold {np.mean(inside):.0%} of the outcomes."
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table, or write it to the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table to docs/guidance.md")
    if parser.parse_args(argv).write:
        PAGE.write_text(placed(PAGE.read_text(encoding="utf-8"), report(), BEGIN), encoding="utf-8")
    else:
        print(report())


if __name__ == "__main__":
    main()
