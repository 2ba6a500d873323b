"""Accuracy versus compute: all checkpoints, the Pareto front, the baselines, the advice and the recipes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from dashboards.figures.drawing import Drawing, Numbers, View
from dashboards.figures.points import (
    COST_TITLES,
    UNITS,
    Point,
    Unit,
    cost_in_words,
    drawn_of,
    filtered_by,
    markers,
    points,
    rounded,
    symbol_of,
    thinned,
)
from dashboards.theme import INK, MUTED, SHADE, AccuracyAxis, log_axis, themed_figure
from harness.analysis import formatting
from harness.analysis.confirmed import confirmation, interval
from harness.analysis.rows import Rows, training_seconds
from harness.core.cost import SECONDS
from harness.core.strategy import KINDS
from harness.statistics.comparison import Estimate
from harness.statistics.pareto import front

MARKS = {  # by a trial's origin: its name here and its marker
    "advice": ("advice", "star-open"),
    "league": ("best on other sets", "cross-open"),
    "recipe_extractor": ("recipe: extractor", "hexagram-open"),
    "recipe_partial": ("recipe: partial", "star-square-open"),
    "recipe_keras": ("recipe: Keras guide", "star-diamond-open"),
    "recipe_fastai": ("recipe: fastai", "diamond-tall-open"),
}


@dataclass(frozen=True)
class BaselineLine:
    """A baseline: the ``score`` that it reaches for ``cost``."""

    name: str
    cost: float
    score: float


@dataclass(frozen=True)
class ConfirmedMark:
    """A confirmed strategy: the cost of its training, its test accuracy, and both in words."""

    cost: float
    test: Estimate
    hover: str


@dataclass(frozen=True)
class FrontInfo:
    """All checkpoints of the finished trials, those on the front by rising cost in ``unit``, and the baselines.

    ``marks`` are the last checkpoints of the advice and the recipes, each with its origin.
    """

    unit: Unit
    points: tuple[Point, ...]
    front: tuple[Point, ...]
    baselines: tuple[BaselineLine, ...]
    marks: tuple[tuple[str, Point], ...]
    n_validation: int
    score_name: str
    confirmed: tuple[ConfirmedMark, ...] = ()

    @property
    def headline(self) -> str:
        """What the figure shows, in words."""
        if not self.front:
            return "No trial has reached a checkpoint."
        first, last = self.front[0], self.front[-1]
        if len(self.front) == 1:
            return f"One checkpoint is the whole front: {last.in_words(self.unit)}."
        return (
            f"{len(self.front):,} of {formatting.count(len(self.points), 'checkpoint')} are on the front, "
            f"from {first.in_words(self.unit)} to {last.in_words(self.unit)}."
        )


def front_info(rows: Rows, unit: Unit = "TFLOP") -> FrontInfo:
    """Return what the figure shows; checkpoints without a finite score (diverged trials) are left out."""
    all_points = points(rows)
    best = front([p.cost(unit) for p in all_points], [p.score for p in all_points])
    lines = rows.baselines.dropna(subset=rows.score).sort_values(rows.score)
    seconds = training_seconds(lines).where(lines["train_flops"] > 0, 0.0)
    costs = lines["train_flops"] / 1e12 if unit == "TFLOP" else seconds
    baselines = map(BaselineLine, lines["name"], costs, lines[rows.score])
    ends = {point.trial.number: point for point in all_points if point.last}
    special = {origin: rows.trial_of(origin) for origin in MARKS}
    marks = tuple((o, ends[t["number"]]) for o, t in special.items() if t is not None and t["number"] in ends)
    return FrontInfo(
        unit, all_points, tuple(all_points[i] for i in best), tuple(baselines), marks, rows.data["n_validation"],
        rows.score_name, _confirmed(rows, unit),
    )  # fmt: skip


def _confirmed(rows: Rows, unit: Unit) -> tuple[ConfirmedMark, ...]:
    """Return the confirmed strategies; none where the axis is not accuracy, which is what was confirmed."""
    found = confirmation(rows)
    if found is None or rows.metric != "accuracy":
        return ()
    tested = [(c, c.test) for c in found.candidates if c.candidate.strategy is not None and c.test is not None]
    rated = rows.cost is SECONDS
    costs = rounded(c.train_flops / 1e12 if unit == "TFLOP" else c.cost if rated else c.seconds for c, _ in tested)
    return tuple(
        ConfirmedMark(
            cost, test, f"{formatting.plotly_text(c.label)}<br>confirmed on the held-out test set: {interval(c)}"
        )
        for cost, (c, test) in zip(costs, tested, strict=True)
    )


def front_figure(info: FrontInfo, most: int) -> go.Figure:
    """Draw checkpoints small and pale, ends of trials large (hollow where the trial was stopped), the front as steps.

    At most ``most`` checkpoints are drawn, those on the front and the marked ones always.
    """
    figure, unit = themed_figure(), info.unit
    measured = [*(p.score for p in info.points), *(b.score for b in info.baselines)]
    ends = [end for c in info.confirmed for end in (c.test.low, c.test.high)]
    axis = AccuracyAxis([*measured, *ends], info.n_validation)
    costs = [p.cost(unit) for p in info.points] + [b.cost for b in info.baselines if b.cost > 0]
    costs += [c.cost for c in info.confirmed]
    low, high = min(costs, default=0.1) / 1.3, max(costs, default=10.0) * 1.3
    _draw_front(figure, info, axis, high)
    _draw_checkpoints(figure, _drawn(info, most), axis, unit)
    _draw_backbones(figure, info)
    _draw_baselines(figure, info, axis, low, high)
    _draw_marks(figure, info, axis)
    _draw_confirmed(figure, info.confirmed, axis)
    log_axis(figure, "xaxis", low, high, f"{COST_TITLES[unit]} (log)")
    axis.apply(figure, info.score_name)
    return figure


def _drawn(info: FrontInfo, most: int) -> list[Point]:
    return thinned(info.points, most, [*info.front, *(point for _, point in info.marks)])


def _draw_front(figure: go.Figure, info: FrontInfo, axis: AccuracyAxis, right: float) -> None:
    """Draw the front as steps up to the cost ``right``, and shade what lies under them."""
    if not info.front:
        return
    x = rounded([*(p.cost(info.unit) for p in info.front), right])
    hidden = {"mode": "lines", "line": {"width": 0, "shape": "hv"}, "hoverinfo": "skip", "showlegend": False}
    figure.add_scatter(x=x, y=[axis.bottom] * len(x), legendgroup="front", **hidden)
    figure.add_scatter(
        x=x,
        y=axis.place(p.score for p in (*info.front, info.front[-1])),
        mode="lines",
        name="front",
        legendgroup="front",
        line={"color": INK, "width": 2, "shape": "hv"},
        fill="tonexty",
        fillcolor=SHADE,
        hoverinfo="skip",
    )


def _draw_checkpoints(figure: go.Figure, drawn: Sequence[Point], axis: AccuracyAxis, unit: Unit) -> None:
    """Draw checkpoints pale, and the last one of each trial large."""
    for kind in KINDS:
        mine = [p for p in drawn if p.trial.kind == kind]
        for last in (False, True):
            # Complete ones first: a legend shows the marker of the first point.
            shown = sorted((p for p in mine if p.last is last), key=lambda p: p.trial.status != "complete")
            if shown:
                figure.add_scatter(
                    x=rounded(p.cost(unit) for p in shown),
                    y=axis.place(p.score for p in shown),
                    mode="markers",
                    name=kind,
                    legendgroup=kind,
                    showlegend=last or not any(p.last for p in mine),
                    opacity=1 if last else 0.4,
                    marker=markers(kind, [p.trial for p in shown], 10 if last else 6),
                    customdata=filtered_by(p.trial for p in shown),
                    hovertext=[p.hover for p in shown],
                    hoverinfo="text",
                )


def _draw_backbones(figure: go.Figure, info: FrontInfo) -> None:
    """Name the marker of each backbone in the legend, where the study has several."""
    one_of_each = {point.trial.backbone: point.trial for point in info.points}
    for name in info.points[0].trial.backbones if info.points else ():
        if name in one_of_each and len(one_of_each[name].backbones) > 1:
            marker = {"symbol": symbol_of(one_of_each[name]), "size": 10, "color": MUTED}
            figure.add_scatter(x=[None], y=[None], mode="markers", name=name, legendgroup=name, marker=marker)


def _draw_baselines(figure: go.Figure, info: FrontInfo, axis: AccuracyAxis, left: float, right: float) -> None:
    """Draw each baseline as a line from its own cost, or from ``left`` where it has none, to ``right``."""
    for i, baseline in enumerate(info.baselines):
        name = formatting.plotly_text(baseline.name)
        start = max(baseline.cost, left)
        figure.add_scatter(
            # The point in the middle carries the name and the hover text: a line alone has only its ends.
            x=rounded([start, math.sqrt(start * right), right]),
            y=axis.place([baseline.score] * 3),
            mode="lines+markers+text",
            name="baselines",
            legendgroup="baselines",
            showlegend=i == 0,
            text=["", name, ""],
            textposition="top center",
            textfont={"size": 12, "color": MUTED},
            line={"color": MUTED, "width": 1.5, "dash": "dot"},
            marker={"symbol": "line-ns-open", "size": [9 if baseline.cost > 0 else 0, 0, 0], "color": MUTED},
            hovertext=f"baseline {name}: {info.score_name} {formatting.accuracy(baseline.score)}"
            f"<br>{cost_in_words(baseline.cost, info.unit)}",
            hoverinfo="text",
        )


def _draw_marks(figure: go.Figure, info: FrontInfo, axis: AccuracyAxis) -> None:
    """Draw a star around the ends of the advice and of the recipes."""
    for origin, point in info.marks:
        name, symbol = MARKS[origin]
        figure.add_scatter(
            x=rounded([point.cost(info.unit)]),
            y=axis.place([point.score]),
            mode="markers",
            name=name,
            marker={"symbol": symbol, "size": 18, "color": INK, "line": {"width": 1.5}},
            hoverinfo="skip",
        )


def _draw_confirmed(figure: go.Figure, confirmed: Sequence[ConfirmedMark], axis: AccuracyAxis) -> None:
    """Draw a cross for each confirmed strategy, with the interval of its test accuracy."""
    if not confirmed:
        return
    means = axis.place(c.test.mean for c in confirmed)
    lower, upper = axis.place(c.test.low for c in confirmed), axis.place(c.test.high for c in confirmed)
    figure.add_scatter(
        x=[c.cost for c in confirmed],
        y=means,
        mode="markers",
        name="confirmed: test accuracy",
        marker={"symbol": "x-thin-open", "size": 11, "color": INK, "line": {"width": 2}},
        error_y={  # the axis is of errors: what is lower lies higher
            "array": [low_at - mean for low_at, mean in zip(lower, means, strict=True)],
            "arrayminus": [mean - high_at for high_at, mean in zip(upper, means, strict=True)],
            "color": INK,
            "thickness": 1.2,
        },
        hovertext=[c.hover for c in confirmed],
        hoverinfo="text",
    )


def front_drawing(rows: Rows, most: int) -> Drawing:
    """Draw score versus compute in both units."""
    return Drawing(
        "accuracy-versus-compute",
        "Accuracy versus compute",
        "Pale marks are checkpoints, large marks are where a trial ended (hollow: stopped early)"
        + (", in the shape of its backbone" if len(rows.backbones) > 1 else "")
        + ". The line is the "
        f"Pareto front: the best {rows.score_name} reached for that cost. Points in the shaded area are dominated. A "
        "baseline's line starts at its own cost. Crosses with bars, if any, are test accuracies of confirmed "
        "strategies, with confidence intervals. The vertical axis is logarithmic in the error, so that the difference "
        "between 0.97 and 0.98 can be seen.",
        {unit: _view(front_info(rows, unit), most) for unit in UNITS},
    )


def _view(info: FrontInfo, most: int) -> View:
    headline = info.headline + drawn_of(len(_drawn(info, most)), len(info.points), "checkpoint")
    if not info.points and not info.baselines:
        return View(headline, None)
    table = tuple(
        (cost_in_words(p.cost(info.unit), info.unit), formatting.accuracy(p.score), str(p.trial.number), str(p.epoch),
         p.trial.label)
        for p in info.front
    )  # fmt: skip
    numbers = Numbers(("cost", info.score_name, "trial", "epoch", "strategy"), table)
    return View(headline, front_figure(info, most), numbers)
