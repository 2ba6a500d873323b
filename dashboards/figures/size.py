"""Accuracy versus image size: where the trials of each strategy ended, for studies that search the size."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from dashboards.figures.drawing import Drawing, Numbers, View
from dashboards.figures.points import UNITS, Point, Unit, filtered_by, markers, points, thinned
from dashboards.theme import COLOURS, AccuracyAxis, themed_figure
from harness.analysis import formatting
from harness.analysis.rows import Rows
from harness.core.strategy import KINDS, Kind


@dataclass(frozen=True)
class SizeInfo:
    """The last checkpoint of each trial. ``best`` has the best one of each strategy and size, by size, with costs in
    ``unit``."""

    unit: Unit
    points: tuple[Point, ...]
    best: dict[Kind, tuple[Point, ...]]
    sizes: tuple[int, ...]
    n_validation: int
    score_name: str

    @property
    def headline(self) -> str:
        """What the figure shows, in words: what the best of each size reached."""
        if not self.points:
            return "No trial has reached a checkpoint."
        tops = [max((p for p in self.points if p.trial.image_size == size), key=_rank) for size in self.sizes]
        reached = "; ".join(f"{p.trial.image_size} px {p.in_words(self.unit)}" for p in tops)
        return f"The best trial at each size: {reached}."


def size_info(rows: Rows, unit: Unit = "TFLOP") -> SizeInfo:
    """Return where the trials ended, by image size."""
    ends = tuple(p for p in points(rows) if p.last)
    best: dict[Kind, tuple[Point, ...]] = {}
    for kind in KINDS:
        mine = [p for p in ends if p.trial.kind == kind]
        sizes = sorted({p.trial.image_size for p in mine})
        if sizes:
            best[kind] = tuple(max((p for p in mine if p.trial.image_size == size), key=_rank) for size in sizes)
    found = tuple(sorted({p.trial.image_size for p in ends}))
    return SizeInfo(unit, ends, best, found, rows.data["n_validation"], rows.score_name)


def _rank(point: Point) -> tuple[float, float]:
    return point.score, -point.flops


def size_figure(info: SizeInfo, most: int) -> go.Figure:
    """Draw a marker for each trial, and a line through the best ones of each strategy.

    At most ``most`` trials are drawn, the best ones always.
    """
    figure = themed_figure()
    axis = AccuracyAxis([p.score for p in info.points], info.n_validation)
    best = [point for line in info.best.values() for point in line]
    drawn = thinned(info.points, most, best)
    for kind, line in info.best.items():
        _draw(figure, kind, [p for p in drawn if p.trial.kind == kind], line, axis)
    figure.update_xaxes(title_text="image size in pixels", tickvals=list(info.sizes))
    axis.apply(figure, info.score_name)
    return figure


def _draw(figure: go.Figure, kind: Kind, trials: Sequence[Point], best: Sequence[Point], axis: AccuracyAxis) -> None:
    figure.add_scatter(
        x=[p.trial.image_size for p in best],
        y=axis.place(p.score for p in best),
        mode="lines",
        legendgroup=kind,
        showlegend=False,
        line={"color": COLOURS[kind], "width": 1.5},
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=[p.trial.image_size for p in trials],
        y=axis.place(p.score for p in trials),
        mode="markers",
        name=kind,
        legendgroup=kind,
        marker=markers(kind, [p.trial for p in trials], 9),
        customdata=filtered_by(p.trial for p in trials),
        hovertext=[p.hover for p in trials],
        hoverinfo="text",
    )


def size_drawing(rows: Rows, most: int) -> Drawing:
    """Draw accuracy versus image size."""
    views: dict[Unit, View] = {}
    for unit in UNITS:
        info = size_info(rows, unit)
        table = tuple(
            (kind, f"{p.trial.image_size}", str(p.trial.k), formatting.accuracy(p.score), p.in_words(unit))
            for kind, line in info.best.items()
            for p in line
        )
        numbers = Numbers(("strategy", "px", "k", info.score_name, "for"), table)
        views[unit] = View(info.headline, size_figure(info, most) if info.points else None, numbers)
    return Drawing(
        "accuracy-versus-image-size",
        "Accuracy versus image size",
        "Each marker is a trial, hollow where it did not complete; lines join the best trials of each strategy. What a "
        "strategy is worth may change with the size: frozen layers profit from images of the size that the network "
        "was trained on, 224 pixels for VGG16.",
        views,
    )
