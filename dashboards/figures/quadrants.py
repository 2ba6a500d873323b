"""The article's table as a plane: training images by kernel distance to ImageNet, with four shaded quadrants."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from dashboards.figures.points import rounded
from dashboards.theme import COLOURS, INK, MARKERS, MUTED, log_axis
from harness.analysis import formatting
from harness.analysis.atlas_summary import lead_in_words
from harness.analysis.verdicts import Place
from harness.core.spec import AdviceSpec
from harness.guidance.advice import SCENARIOS
from harness.statistics.similarity import known_sets

_APART = 0.025  # height of a name, as a kernel distance
_NEAREST, _FARTHEST = 0.0, 0.45  # kernel distances that are always shown


def draw_quadrants(
    figure: go.Figure, boundaries: AdviceSpec, sizes: Sequence[int], distances: Sequence[float]
) -> tuple[float, float]:
    """Shade and name the quadrants, set both axes so that ``sizes`` and ``distances`` fit, return the ends of x."""
    large_at, similar_below = boundaries.large_at, boundaries.similar_below
    low, high = min(*sizes, large_at / 30) / 12, max(*sizes, large_at * 10) * 2
    near, far = min(_NEAREST, *distances) - 0.01, max(_FARTHEST, 2 * similar_below, *distances) + 0.01
    for (large, similar), (number, kind) in SCENARIOS.items():
        figure.add_shape(
            type="rect",
            x0=large_at if large else low,
            x1=high if large else large_at,
            y0=near if similar else similar_below,
            y1=similar_below if similar else far,
            fillcolor=COLOURS[kind],
            opacity=0.13,
            line={"width": 0},
            layer="below",
        )
        figure.add_annotation(
            xref="x domain",
            x=0.99 if large else 0.01,
            yref="y domain",
            y=0.99 if similar else 0.01,
            xanchor="right" if large else "left",
            yanchor="top" if similar else "bottom",
            align="right" if large else "left",
            text=f"<b>scenario {number}</b><br>{kind}",
            showarrow=False,
            font={"size": 11, "color": INK},
        )
    boundary = {"type": "line", "line": {"color": MUTED, "width": 1.5, "dash": "dash"}}
    figure.add_shape(x0=large_at, x1=large_at, y0=near, y1=far, **boundary)
    figure.add_shape(x0=low, x1=high, y0=similar_below, y1=similar_below, **boundary)
    log_axis(figure, "xaxis", low, high, "training images (log)")
    figure.update_yaxes(range=[far, near], showgrid=False, title_text="kernel distance to ImageNet")
    return low, high


def draw_known_sets(figure: go.Figure, x: float) -> None:
    """Draw the measured data sets as ticks at ``x``; those too close to each other share a label."""
    known = known_sets()
    labels: dict[float, list[str]] = {}  # at the distance of the first of them
    for name, found in known.items():
        last = max(labels, default=-math.inf)
        labels.setdefault(last if found.distance - last < _APART else found.distance, []).append(name)
    figure.add_scatter(
        x=[x] * len(known),
        y=rounded(found.distance for found in known.values()),
        mode="markers+text",
        name="measured sets",
        marker={"symbol": "line-ew", "size": 10, "line": {"width": 1.5, "color": MUTED}},
        text=[", ".join(labels.get(found.distance, [])) for found in known.values()],
        textposition="middle left",
        textfont={"size": 10, "color": MUTED},
        hovertext=[
            f"{name}: kernel distance {found.distance:.3f} (95 %: {found.interval[0]:.3f} to {found.interval[1]:.3f})"
            for name, found in known.items()
        ],
        hoverinfo="text",
    )


def draw_places(figure: go.Figure, placed: Sequence[Place], size: int, name: str) -> None:
    """Draw the winner at each place of an atlas: filled where the table advises it, else hollow."""
    figure.add_scatter(
        x=[place.size for place in placed],
        y=rounded(place.distance for place in placed),
        mode="markers",
        name=name,
        marker={
            "symbol": [MARKERS[p.winner.kind] + ("" if p.right else "-open") for p in placed],
            "color": [COLOURS[place.winner.kind] for place in placed],
            "size": size,
            "line": {"width": 2, "color": [COLOURS[place.winner.kind] for place in placed]},
        },
        hovertext=[_hover(place) for place in placed],
        hoverinfo="text",
        cliponaxis=False,
    )


def _hover(place: Place) -> str:
    lines = [
        f"<b>{formatting.plotly_text(place.dataset)}, {place.size:,} training images</b>",
        f"kernel distance {place.distance:.3f} ± {1.96 * place.error:.3f}: scenario {place.scenario}, {place.advised}",
        *(
            f"{tried.kind}{f' k={tried.k}' if tried.kind == 'freeze_first_k' else ''}: "
            f"{formatting.accuracy(tried.accuracy)} for {formatting.tflop(tried.flops)}"
            for tried in place.tried
        ),
        f"the advised strategy leads by {lead_in_words(place.lead)}",
    ]
    return "<br>".join(lines)
