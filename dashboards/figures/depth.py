"""Frozen layers: accuracy and compute by freeze depth k, over the blocks of VGG16."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles

import plotly.graph_objects as go

from dashboards.figures.drawing import Drawing, Numbers, View
from dashboards.figures.points import (
    COST_TITLES,
    UNITS,
    Point,
    Unit,
    cost_in_words,
    filtered_by,
    markers,
    points,
    rounded,
    thinned,
)
from dashboards.theme import INK, LINE, MUTED, PAPER, AccuracyAxis, log_axis, themed_figure
from harness.analysis import formatting
from harness.analysis.rows import Rows
from harness.analysis.verdicts import Correlation
from harness.core.strategy import KINDS, N_CONVS, VGG16, Kind

BLOCKS = ((1, 2, 64), (3, 4, 128), (5, 7, 256), (8, 10, 512), (11, 13, 512))
"""VGG16's blocks: first and last convolution, channels (Simonyan and Zisserman 2015, configuration D)."""
SHIFTS: dict[Kind, float] = {
    "fine_tune_all": 0.12,
    "from_scratch": -0.12,
    "two_phase": -0.24,
}  # keeps strategies apart at one k

_SCORES = (
    " At the bottom are LogME and H-score of the activations after convolution k, computed before any training, each "
    "on its own scale; rho and tau are Spearman's and Kendall's rank correlations with the best trial of each k."
)


@dataclass(frozen=True)
class Spread:
    """The completed pretrained trials of one ``k``: their number, the quartiles of their score and of their cost."""

    k: int
    n: int
    score: tuple[float, float, float]
    cost: tuple[float, float, float]


@dataclass(frozen=True)
class LayerScores:
    """LogME or H-score of the activations after convolution k, before any training, on ``n_images``.

    ``values`` are by k; ``agreement`` is their rank correlation with the best score of each k that was tried.
    """

    name: str
    values: dict[int, float]
    n_images: int
    agreement: Correlation

    def in_words(self) -> str:
        """Return how well the score ranks the freeze depths; nothing where that is undefined."""
        if math.isnan(self.agreement.spearman):
            return ""
        rho, tau = f"{self.agreement.spearman:.2f}", f"{self.agreement.kendall:.2f}"
        return f" {self.name} ranks them with rho = {rho}, tau = {tau} (n = {self.agreement.n})."


@dataclass(frozen=True)
class DepthInfo:
    """The last checkpoint of each trial, with costs in ``unit``.

    ``best`` and ``spread`` are of the completed pretrained trials, by k. ``layers`` are scores computed before any
    training; a study may have none.
    """

    unit: Unit
    points: tuple[Point, ...]
    best: tuple[Point, ...]
    spread: tuple[Spread, ...]
    n_validation: int
    score_name: str
    layers: tuple[LayerScores, ...] = ()

    @property
    def headline(self) -> str:
        """What the figure shows, in words."""
        if not self.best:
            return "No pretrained trial has completed."
        top = max(self.best, key=lambda point: point.score)
        tried = formatting.count(len(self.best), "freeze depth")
        reached = f"{self.score_name} {formatting.accuracy(top.score)} (trial {top.trial.number})"
        layers = "".join(scores.in_words() for scores in self.layers)
        return f"Of {tried} with a complete trial, k = {top.trial.k} did best: {reached}.{layers}"


def depth_info(rows: Rows, unit: Unit = "TFLOP") -> DepthInfo:
    """Return where the trials of VGG16 ended, by k, the number of frozen convolutions (0 to 13)."""
    ends = tuple(p for p in points(rows) if p.last and p.trial.backbone == VGG16)
    complete: dict[int, list[Point]] = defaultdict(list)
    for point in ends:
        if point.trial.kind != "from_scratch" and point.trial.status == "complete":
            complete[point.trial.k].append(point)
    best = tuple(max(complete[k], key=lambda p: (p.score, -p.cost(unit))) for k in sorted(complete))
    spread = tuple(
        Spread(k, len(mine), _quartiles([p.score for p in mine]), _quartiles([p.cost(unit) for p in mine]))
        for k, mine in sorted(complete.items())
    )
    return DepthInfo(unit, ends, best, spread, rows.data["n_validation"], rows.score_name, _layers(rows, best))


def _layers(rows: Rows, best: Sequence[Point]) -> tuple[LayerScores, ...]:
    scored = rows.data.get("layer_scores", [])
    if not scored:
        return ()
    found = []
    for name, key in (("LogME", "logme"), ("H-score", "h_score")):
        values = {score["k"]: score[key] for score in scored if score[key] is not None}
        if not values:
            continue
        both = [(values[p.trial.k], p.score) for p in best if p.trial.k in values]
        agreement = Correlation.of([value for value, _ in both], [score for _, score in both])
        found.append(LayerScores(name, values, scored[0]["n_images"], agreement))
    return tuple(found)


def depth_figure(info: DepthInfo, most: int) -> go.Figure:
    """Draw scores above, what they cost below, and VGG16's blocks under both.

    A marker is a trial, a bar the middle half of a k, and the line joins the best pretrained trials. At most ``most``
    trials are drawn, the best ones always.
    """
    figure = themed_figure()
    axis = AccuracyAxis([p.score for p in info.points], info.n_validation)
    _draw_blocks(figure)
    _draw_trials(figure, thinned(info.points, most, info.best), axis, info.unit)
    _draw_best(figure, info.best, axis)
    _draw_spread(figure, [s for s in info.spread if s.n > 1], axis, info.unit)
    _draw_layer_scores(figure, info.layers)
    axis.apply(figure, info.score_name)
    costs = [p.cost(info.unit) for p in info.points]
    log_axis(figure, "yaxis2", min(costs, default=0.1) / 1.3, max(costs, default=10) * 1.3, info.unit)
    _arrange_panels(figure, bool(info.layers))
    return figure


def _draw_blocks(figure: go.Figure) -> None:
    """Shade the blocks of VGG16 across the panels and name them at the bottom."""
    for block, (first, last, channels) in enumerate(BLOCKS, start=1):
        span = {"x0": first - 0.5, "x1": last + 0.5, "line": {"width": 0}, "layer": "below", "yref": "paper"}
        figure.add_shape(type="rect", y0=0.12, y1=1, fillcolor=LINE if block % 2 else PAPER, opacity=0.45, **span)
        figure.add_shape(type="rect", y0=0, y1=0.085, fillcolor=LINE, **span | {"line": {"width": 1, "color": PAPER}})
        figure.add_annotation(
            x=(first + last) / 2,
            y=0.0425,
            yref="paper",
            yanchor="middle",
            text=f"block {block}<br>{channels} ch",
            showarrow=False,
            font={"size": 10, "color": INK},
        )


def _draw_trials(figure: go.Figure, ends: Sequence[Point], axis: AccuracyAxis, unit: Unit) -> None:
    """Draw a marker for each trial in the panel of scores and one in that of costs."""
    # Complete ones first: a legend shows the marker of the first point.
    ends = sorted(ends, key=lambda p: p.trial.status != "complete")
    for kind in KINDS:
        mine = [p for p in ends if p.trial.kind == kind]
        for panel in ("y", "y2") if mine else ():
            above = panel == "y"
            figure.add_scatter(
                x=[p.trial.k + SHIFTS.get(kind, 0.0) for p in mine],
                y=axis.place(p.score for p in mine) if above else rounded(p.cost(unit) for p in mine),
                yaxis=panel,
                mode="markers",
                name=kind,
                legendgroup=kind,
                showlegend=above,
                opacity=0.85 if above else 0.5,
                marker=markers(kind, [p.trial for p in mine], 9 if above else 6),
                customdata=filtered_by(p.trial for p in mine),
                hovertext=[p.hover for p in mine],
                hoverinfo="text",
            )


def _draw_best(figure: go.Figure, best: Sequence[Point], axis: AccuracyAxis) -> None:
    """Join the best pretrained trials of each k."""
    if len(best) > 1:
        figure.add_scatter(
            x=[p.trial.k for p in best],
            y=axis.place(p.score for p in best),
            mode="lines",
            name="best pretrained, complete",
            line={"color": INK, "width": 1.5},
            hoverinfo="skip",
        )


def _draw_spread(figure: go.Figure, spread: Sequence[Spread], axis: AccuracyAxis, unit: Unit) -> None:
    """Draw the median and the middle half of each k in both panels."""
    for panel in ("y", "y2") if spread else ():
        above = panel == "y"
        quartiles = [axis.place(s.score) if above else rounded(s.cost) for s in spread]
        figure.add_scatter(
            x=[s.k + 0.28 for s in spread],
            y=[middle for _, middle, _ in quartiles],
            yaxis=panel,
            mode="markers",
            name="median and middle half",
            legendgroup="spread",
            showlegend=above,
            marker={"symbol": "line-ew", "size": 9, "line": {"width": 2, "color": MUTED}},
            error_y={
                "type": "data",
                "symmetric": False,
                # A score's place is its error: the lower quartile is drawn at the larger value.
                "array": [max(ends) - ends[1] for ends in quartiles],
                "arrayminus": [ends[1] - min(ends) for ends in quartiles],
                "width": 0,
                "thickness": 2,
                "color": MUTED,
            },
            hovertext=[_spread_in_words(s, unit) for s in spread],
            hoverinfo="text",
        )


def _draw_layer_scores(figure: go.Figure, layers: Sequence[LayerScores]) -> None:
    """Draw LogME and H-score by k, each over its own range."""
    for scores, dash in zip(layers, ("solid", "dot"), strict=False):
        low, high = min(scores.values.values()), max(scores.values.values())
        figure.add_scatter(
            x=list(scores.values),
            y=rounded((value - low) / (high - low or 1) for value in scores.values.values()),
            yaxis="y3",
            mode="lines+markers",
            name=scores.name,
            line={"color": MUTED, "width": 1.5, "dash": dash},
            marker={"size": 5},
            hovertext=[
                f"{scores.name} after convolution {k}: {formatting.number(value)} ({scores.n_images:,} images)"
                for k, value in scores.values.items()
            ],
            hoverinfo="text",
        )


def _arrange_panels(figure: go.Figure, with_layers: bool) -> None:
    """Stack the panels over one axis of k: scores, costs and, ``with_layers``, layer scores."""
    figure.update_layout(
        xaxis={
            "title": {"text": "k, frozen convolutions of 13"},
            "range": [-0.6, N_CONVS + 0.6],
            "showgrid": False,
            "tick0": 0,
            "dtick": 1,
            "tickangle": 0,
            "anchor": "free",
            "position": 0,
        },
        yaxis={"domain": [0.54, 1] if with_layers else [0.45, 1]},
        yaxis2={"domain": [0.3, 0.5] if with_layers else [0.12, 0.4]},
    )
    if with_layers:  # each on its own scale: only the order of the depths means something
        figure.update_layout(
            yaxis3={"domain": [0.12, 0.26], "showticklabels": False, "title": {"text": "layer scores"}}
        )


def depth_drawing(rows: Rows, most: int) -> Drawing:
    """Draw score and compute by freeze depth in both units."""
    return Drawing(
        "frozen-layers",
        "Frozen layers",
        "Freeze depth k: the first k of VGG16's 13 convolutions keep their ImageNet weights. At 13 only the head is "
        f"trained, at 0 everything is. Above is the {rows.score_name}, below the cost. Hollow marks were stopped "
        "early. The line joins the best completed pretrained trial of each k; a grey bar covers the middle half of "
        "them." + (_SCORES if rows.data.get("layer_scores") else ""),
        {unit: _view(depth_info(rows, unit), most) for unit in UNITS},
    )


def _view(info: DepthInfo, most: int) -> View:
    if not info.points:
        return View(info.headline, None)
    table = tuple(
        (
            str(p.trial.k), formatting.accuracy(p.score), cost_in_words(p.cost(info.unit), info.unit),
            *_row(s, info.unit),
            *(formatting.number(scores.values.get(p.trial.k, math.nan)) for scores in info.layers),
        )
        for p, s in zip(info.best, info.spread, strict=True)
    )  # fmt: skip
    columns = (
        "k",
        f"best {info.score_name}",
        f"its {COST_TITLES[info.unit]}",
        "completed",
        "its median",
        "median cost",
        *(scores.name for scores in info.layers),
    )
    return View(info.headline, depth_figure(info, most), Numbers(columns, table))


def _row(spread: Spread, unit: Unit) -> tuple[str, str, str]:
    return str(spread.n), formatting.accuracy(spread.score[1]), cost_in_words(spread.cost[1], unit)


def _spread_in_words(spread: Spread, unit: Unit) -> str:
    low, middle, high = map(formatting.accuracy, spread.score)
    least, median, most = (cost_in_words(value, unit) for value in spread.cost)
    return (
        f"<b>k = {spread.k}: {formatting.count(spread.n, 'complete trial')}</b>"
        f"<br>score {middle} (middle half {low} to {high})<br>cost {median} (middle half {least} to {most})"
    )


def _quartiles(values: list[float]) -> tuple[float, float, float]:
    if len(values) == 1:
        return (values[0], values[0], values[0])
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return (low, middle, high)
