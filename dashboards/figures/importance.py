"""Hyperparameter importance as bars."""

import plotly.graph_objects as go

from dashboards.figures.drawing import Drawing, Numbers, View
from dashboards.figures.points import UNITS, rounded
from dashboards.theme import MUTED, themed_figure
from harness.analysis import formatting
from harness.analysis.importance import CHANCE, HALVES, ImportanceInfo, importance_info
from harness.analysis.rows import Rows


def importance_figure(info: ImportanceInfo) -> go.Figure:
    """Draw a bar for each hyperparameter with its range; chance is grey."""
    figure = themed_figure()
    shown = info.importances
    figure.add_bar(
        y=[i.name for i in shown],
        x=rounded(i.mean for i in shown),
        orientation="h",
        marker={"color": [MUTED if i.name == CHANCE else "#56B4E9" for i in shown]},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": rounded(i.high - i.mean for i in shown),
            "arrayminus": rounded(i.mean - i.low for i in shown),
            "color": MUTED,
            "thickness": 1.5,
        },
        hovertext=[
            f"{i.name}: {formatting.percent(i.mean)} ({formatting.percent(i.low)} to {formatting.percent(i.high)})"
            for i in shown
        ],
        hoverinfo="text",
        showlegend=False,
    )
    figure.update_xaxes(title_text="share of the spread of the score", tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(autorange="reversed", showgrid=False, ticksuffix=" ")
    figure.update_layout(bargap=0.35)
    return figure


def importance_drawing(rows: Rows) -> Drawing:
    """Draw hyperparameter importance."""
    info = importance_info(rows)
    table = tuple((i.name, *map(formatting.percent, (i.mean, i.low, i.high))) for i in info.importances)
    view = View(
        info.headline,
        importance_figure(info) if info.importances else None,
        Numbers(("hyperparameter", "share", "least", "most"), table),
    )
    return Drawing(
        "hyperparameter-importance",
        "Hyperparameter importance",
        f"Mean decrease in impurity of random forests on complete trials. The whiskers are the range over {HALVES} "
        "random halves of the trials; a column of random numbers, drawn again for each half, shows the importance by "
        "chance. The sampler tries good regions more often, and k depends on the strategy: this is a hint where to "
        "look, not a cause.",
        dict.fromkeys(UNITS, view),
    )
