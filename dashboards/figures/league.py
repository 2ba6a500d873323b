"""The figure and the tables of the league of rules."""

from collections.abc import Sequence

import plotly.graph_objects as go

from dashboards.figures.drawing import Numbers
from dashboards.theme import COLOURS, INK, MUTED, themed_figure
from harness.analysis import formatting
from harness.rules.league import Standing
from harness.rules.outcomes import Outcomes
from harness.rules.rules import RULES
from harness.rules.telling import in_points

_COLUMNS = (
    "rule", "what it says", "needs", "points behind the best (95 %)", "lead on the best constant (95 %)", "TFLOP",
    "excess",
)  # fmt: skip


def league_figure(table: Sequence[Standing]) -> go.Figure:
    """Draw every rule's mean regret with its interval, the best on top."""
    figure = themed_figure()
    for rules, symbol, colour in ((True, "circle", COLOURS["feature_extraction"]), (False, "circle-open", MUTED)):
        shown = [standing for standing in table if (standing.rule in RULES) == rules]
        behind = [standing.behind for standing in shown]
        figure.add_scatter(
            x=[100 * one.mean for one in behind],
            y=[formatting.plotly_text(standing.rule.name, 60) for standing in shown],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [100 * (one.high - one.mean) for one in behind],
                "arrayminus": [100 * (one.mean - one.low) for one in behind],
                "thickness": 1,
                "width": 3,
            },
            mode="markers",
            marker={"symbol": symbol, "color": colour, "size": 9},
            name="rules" if rules else "one way for every set",
            hovertemplate="%{y}: %{x:.1f} points behind<extra></extra>",
        )
    names = [formatting.plotly_text(standing.rule.name, 60) for standing in reversed(table)]
    figure.update_yaxes(categoryorder="array", categoryarray=names, tickfont={"color": INK}, dtick=1)
    figure.update_xaxes(title_text="points behind the best, mean over data sets", rangemode="tozero")
    return figure


def league_numbers(table: Sequence[Standing]) -> Numbers:
    """Return a row for each rule and constant, the best first."""
    return Numbers(_COLUMNS, tuple(_row(standing) for standing in table))


def by_set(table: Sequence[Standing], outcomes: Outcomes) -> Numbers:
    """Return a row for each data set: the regret of each rule, and the best arm of its first place."""
    rules = [standing for standing in table if standing.rule in RULES]
    best = {name: outcomes.arms[outcomes.accuracy[outcomes.rows(name)[0]].argmax()] for name in outcomes.datasets}
    rows = tuple(
        (name, best[name].place(), *(f"{100 * standing.regret[name]:.1f}" for standing in rules))
        for name in outcomes.datasets
    )
    return Numbers(("data set", "best", *(standing.rule.name for standing in rules)), rows)


def _row(standing: Standing) -> tuple[str, ...]:
    rule = standing.rule
    return (
        rule.name, rule.text, rule.needs, in_points(standing.behind), in_points(standing.lead, sign="+"),
        formatting.number(standing.tflop), f"{standing.excess:.1f}x",
    )  # fmt: skip
