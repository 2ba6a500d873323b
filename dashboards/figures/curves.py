"""Learning curves, and why some of them end early."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from dashboards.figures.drawing import Drawing, Numbers, View
from dashboards.figures.points import UNITS, Point, drawn_of, filtered_by, points, thinned
from dashboards.theme import COLOURS, INK, MARKERS, AccuracyAxis, themed_figure
from harness.analysis import formatting
from harness.analysis.rows import Rows
from harness.core.strategy import KINDS
from harness.statistics.pareto import front

Curve = tuple[Point, ...]


@dataclass(frozen=True)
class CurvesInfo:
    """The checkpoints of each trial, in order, and those of these curves that have a point on the front."""

    curves: tuple[Curve, ...]
    on_front: tuple[Curve, ...]
    n_validation: int
    score_name: str

    @property
    def stopped(self) -> tuple[Point, ...]:
        """The last checkpoints of the trials that did not complete."""
        return tuple(curve[-1] for curve in self.curves if curve[-1].trial.status != "complete")

    @property
    def headline(self) -> str:
        """What the figure shows, in words."""
        if not self.curves:
            return "No trial has reached a checkpoint."
        ends = Counter(point.trial.status for point in self.stopped)
        stopped = ", ".join(f"{n:,} {status.replace('_', ' ')}" for status, n in ends.most_common())
        curves = formatting.count(len(self.curves), "learning curve")
        return f"{curves}, {stopped} before the last epoch." if stopped else f"{curves}, all to the last epoch."


def curves_info(rows: Rows) -> CurvesInfo:
    """Return the validation scores by epoch."""
    curves: dict[int, list[Point]] = {}
    all_points = points(rows)
    for point in all_points:
        curves.setdefault(point.trial.number, []).append(point)
    best = front([p.flops for p in all_points], [p.score for p in all_points])
    found = {number: tuple(curve) for number, curve in curves.items()}
    on_front = dict.fromkeys(all_points[i].trial.number for i in best)
    return CurvesInfo(
        tuple(found.values()), tuple(found[number] for number in on_front), rows.data["n_validation"], rows.score_name
    )


def curves_figure(info: CurvesInfo, most: int) -> go.Figure:
    """Draw one line for each trial in its strategy's colour, and a cross where one was stopped.

    At most ``most`` curves are drawn, those with a point on the front always.
    """
    figure = themed_figure()
    axis = AccuracyAxis([p.score for curve in info.curves for p in curve], info.n_validation)
    drawn = thinned(info.curves, most, info.on_front)
    _draw_curves(figure, drawn, axis)
    _draw_stops(figure, drawn, axis)
    last = max((p.epoch for curve in info.curves for p in curve), default=1)
    whole = {"dtick": 1} if last <= 12 else {"tickformat": "d"}
    figure.update_xaxes(title_text="epoch", range=[0.8, last + 0.2], **whole)
    axis.apply(figure, info.score_name)
    return figure


def _draw_curves(figure: go.Figure, drawn: Sequence[Curve], axis: AccuracyAxis) -> None:
    """Draw the curves of a strategy as one trace with gaps between them: thousands of traces would be slow."""
    for kind in KINDS:
        mine = [curve for curve in drawn if curve[0].trial.kind == kind]
        if mine:
            figure.add_scatter(
                x=[epoch for curve in mine for epoch in (*(p.epoch for p in curve), None)],
                y=[place for curve in mine for place in (*axis.place(p.score for p in curve), None)],
                mode="lines+markers",
                name=kind,
                legendgroup=kind,
                line={"color": COLOURS[kind], "width": 1.2},
                marker={"symbol": MARKERS[kind], "size": 5},
                opacity=0.75,
                hovertext=[text for curve in mine for text in (*(p.hover for p in curve), "")],
                customdata=filtered_by(curve[0].trial for curve in mine for _ in range(len(curve) + 1)),
                hoverinfo="text",
            )


def _draw_stops(figure: go.Figure, drawn: Sequence[Curve], axis: AccuracyAxis) -> None:
    """Draw a cross where a trial was stopped: by strategy, so that hiding a strategy hides its crosses too."""
    stops = [curve[-1] for curve in drawn if curve[-1].trial.status != "complete"]
    kinds = [kind for kind in KINDS if any(p.trial.kind == kind for p in stops)]
    for kind in kinds:
        mine = [p for p in stops if p.trial.kind == kind]
        figure.add_scatter(
            x=[p.epoch for p in mine],
            y=axis.place(p.score for p in mine),
            mode="markers",
            name="ended early",
            legendgroup=kind,
            showlegend=kind == kinds[0],  # one entry in the legend is enough
            marker={"symbol": "x-thin", "size": 9, "line": {"width": 2, "color": INK}},
            hovertext=[p.hover for p in mine],
            customdata=filtered_by(p.trial for p in mine),
            hoverinfo="text",
        )


def curves_drawing(rows: Rows, most: int) -> Drawing:
    """Draw the learning curves of a study."""
    info = curves_info(rows)
    kept = len(thinned(info.curves, most, info.on_front))
    reasons = Counter((p.trial.status, p.trial.reason or "no reason recorded") for p in info.stopped)
    table = tuple((status, reason, f"{n:,}") for (status, reason), n in reasons.most_common(20))
    view = View(
        info.headline + drawn_of(kept, len(info.curves), "curve"),
        curves_figure(info, most) if info.curves else None,
        Numbers(("ended as", "reason", "trials"), table),
    )
    return Drawing(
        "learning-curves",
        "Learning curves",
        "Each line is a trial. A cross marks where it was stopped; hover over it for the reason.",
        dict.fromkeys(UNITS, view),
    )
