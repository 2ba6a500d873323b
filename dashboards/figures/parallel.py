"""Parallel coordinates: the hyperparameters of each trial with its cost and its score."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import plotly.graph_objects as go

from dashboards.figures.drawing import Drawing, View
from dashboards.figures.points import UNITS, Unit, cost_in_words, drawn_of, thinned
from dashboards.theme import COLOURS, INK, LINE, MUTED, PAPER, AccuracyAxis, plain, themed_figure
from harness.analysis import formatting
from harness.analysis.rows import Rows, training_seconds
from harness.core.refinements import NAMES, RATES
from harness.core.strategy import KINDS, OPTIMIZERS, POOLINGS, Kind

N_SCALES = 11  # at most: strategy, eight hyperparameters, cost, score
Ticks = tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Line:
    """A trial: where it crosses each scale (0 to 1), and its strategy and result in words (``label``).

    ``backbone`` is empty where the study has only one.
    """

    number: int
    kind: Kind
    backbone: str
    score: float
    places: tuple[float, ...]
    label: str


@dataclass(frozen=True)
class ParallelInfo:
    """The trials with a score as lines, and the scales that they cross, each with its ticks."""

    lines: tuple[Line, ...]
    scales: tuple[tuple[str, Ticks], ...]
    score_name: str

    @property
    def best(self) -> tuple[Line, ...]:
        """The lines of the highest score, at most 20."""
        return tuple(sorted(self.lines, key=lambda line: -line.score)[:20])

    @property
    def headline(self) -> str:
        """What the figure shows, in words."""
        if not self.lines:
            return f"Fewer than two trials have a {self.score_name}."
        n = formatting.count(len(self.lines), "trial")
        return f"{n} with a {self.score_name}, one line each; the best {len(self.best)} bold."


def parallel_info(rows: Rows, unit: Unit = "TFLOP") -> ParallelInfo:
    """Return the hyperparameters, cost (in ``unit``) and score of all trials with a score."""
    cost = rows.trials["train_flops"] / 1e12 if unit == "TFLOP" else training_seconds(rows.trials)
    frame = rows.trials.assign(cost=cost)
    frame = frame[frame[rows.score].notna() & (frame["cost"] > 0)]  # a log scale has no 0
    if len(frame) < 2:
        return ParallelInfo((), (), rows.score_name)
    costs = frame["cost"].tolist()
    units = [sum(int(width) for width in head.split("-") if width) for head in frame["head"]]
    scores = frame[rows.score].tolist()
    scales = {
        "strategy": _names(frame["strategy"].tolist(), KINDS),
        "backbone": _names(frame["backbone"].tolist(), sorted(set(frame["backbone"]))),
        "image size": _numbers(frame["image_size"].tolist(), sorted(set(frame["image_size"].tolist()))),
        "k, frozen stages": _numbers(frame["frozen"].tolist(), (0, 2, 4, 7, 10, 13)),
        "pooling": _names(frame["pooling"].tolist(), POOLINGS),
        "hidden units, log scale": _logs([max(n, 1) for n in units], {1: "none"}),
        "dropout": _numbers(frame["dropout"].tolist(), (0, 0.2, 0.4, 0.6, 0.8)),
        "optimizer": _names(frame["optimizer"].tolist(), OPTIMIZERS),
        "learning rate, log scale": _logs(frame["learning_rate"].tolist()),
        "epochs on the head alone": _numbers(frame["head_epochs"].tolist(), (0, 1, 2, 3, 5, 10, 20)),
        "rate factor, log scale": _logs(frame["rate_factor"].tolist(), {1: "1"}),
        "epochs": _numbers(frame["planned_epochs"].tolist(), sorted(set(frame["planned_epochs"].tolist()))),
        **{f"{name.replace('_', ' ')}, log scale": _logs(frame[name].tolist(), {1: "1"}) for name in RATES},
        **{
            name.replace("_", " "): _numbers(frame[name].tolist(), sorted(set(frame[name].tolist())))
            for name in NAMES
            if name not in RATES
        },
        f"{'training TFLOP' if unit == 'TFLOP' else 'seconds'}, log scale": _logs(costs),
        rows.score_name: _scores(scores, rows.data["n_validation"]),
    }
    # A scale with one tick shows nothing.
    scales = {name: scale for name, scale in scales.items() if len(set(scale[1])) > 1}
    places = zip(*(places for places, _ in scales.values()), strict=True)
    backbones = frame["backbone"].tolist() if len(rows.backbones) > 1 else [""] * len(frame)
    columns = zip(frame["number"].tolist(), frame["strategy"].tolist(), backbones, scores, places, strict=True)
    labels = (
        f"{label}<br>{rows.score_name} {formatting.accuracy(score)} for {cost_in_words(cost, unit)}"
        for label, score, cost in zip(frame["label"], scores, costs, strict=True)
    )
    lines = tuple(Line(*row, label) for row, label in zip(columns, labels, strict=True))
    return ParallelInfo(lines, tuple((name, ticks) for name, (_, ticks) in scales.items()), rows.score_name)


def parallel_figure(info: ParallelInfo, most: int) -> go.Figure:
    """Draw the scales from top to bottom, which fits a narrow screen too, and the trials as lines through them.

    At most ``most`` trials are drawn, the best ones always.
    """
    figure = themed_figure()
    _draw_scales(figure, info.scales)
    _draw_lines(figure, info, thinned(info.lines, most, info.best))
    figure.update_xaxes(visible=False, range=[-0.01, 1.01], fixedrange=True)
    figure.update_yaxes(visible=False, range=[-0.6, len(info.scales) - 0.4], fixedrange=True)
    return figure


def _draw_scales(figure: go.Figure, scales: Sequence[tuple[str, Ticks]]) -> None:
    """Draw the scales with their names and ticks, the first one at the top."""
    # All at once: Plotly checks the whole list again for each one that is added.
    shapes, annotations = [], []
    for height, (name, ticks) in zip(_heights(len(scales)), scales, strict=True):
        line = {"color": LINE, "width": 2}
        shapes.append({"type": "line", "x0": 0, "x1": 1, "y0": height, "y1": height, "line": line, "layer": "below"})
        label = {"y": height, "showarrow": False, "bgcolor": PAPER}
        annotations.append(label | {
            "x": 0, "text": f"<b>{name}</b>", "xanchor": "left", "yanchor": "bottom", "yshift": 5,
            "font": {"size": 11, "color": INK},
        })  # fmt: skip
        annotations += [label | {
            "x": place, "text": text, "yanchor": "top", "yshift": -3, "font": {"size": 10, "color": MUTED},
            "xanchor": "left" if place < 0.04 else "right" if place > 0.96 else "center",
        } for place, text in ticks]  # fmt: skip
    figure.update_layout(shapes=shapes, annotations=annotations)


def _draw_lines(figure: go.Figure, info: ParallelInfo, drawn: Sequence[Line]) -> None:
    """Draw the trials in the colours of their strategies, the best ones bold."""
    best = set(map(id, info.best))
    heights = _heights(len(info.scales))
    for kind in KINDS:
        of_kind = [line for line in drawn if line.kind == kind]
        for bold in (False, True):
            mine = [line for line in of_kind if (id(line) in best) is bold]
            if mine:
                figure.add_scatter(
                    x=[place for line in mine for place in (*(round(p, 4) for p in line.places), None)],
                    y=[height for _ in mine for height in (*heights, None)],
                    mode="lines+markers",
                    name=kind,
                    legendgroup=kind,
                    showlegend=bold or len(mine) == len(of_kind),
                    opacity=1 if bold else 0.35,
                    line={"color": COLOURS[kind], "width": 2 if bold else 0.8},
                    marker={"size": 4 if bold else 2, "color": COLOURS[kind]},
                    hovertext=[text for line in mine for text in _hovers(line, len(heights), info.score_name)],
                    customdata=[line.backbone for line in mine for _ in range(len(heights) + 1)]
                    if mine[0].backbone
                    else None,
                    hoverinfo="text",
                )


def _heights(n_scales: int) -> range:
    return range(n_scales - 1, -1, -1)


def parallel_drawing(rows: Rows, most: int) -> Drawing:
    """Draw the parallel coordinates in both units."""
    views = {}
    for unit in UNITS:
        info = parallel_info(rows, unit)
        headline = info.headline + drawn_of(len(thinned(info.lines, most, info.best)), len(info.lines), "trial")
        views[unit] = View(headline, parallel_figure(info, most) if info.lines else None)
    return Drawing(
        "parallel-coordinates",
        "Parallel coordinates",
        "Each line is a trial: from its strategy, at the top, through its hyperparameters and cost to its score, at "
        "the bottom. The table of trials below has the same numbers.",
        views,
    )


def _hovers(line: Line, n_scales: int, score_name: str) -> list[str]:
    # The whole text only at the score: at each scale it would make the page large.
    short = f"trial {line.number}, {score_name} {formatting.accuracy(line.score)}"
    return [*[short] * (n_scales - 1), f"<b>trial {line.number}</b><br>{formatting.plotly_text(line.label)}", ""]


def _names(values: Sequence[str], order: Sequence[str]) -> tuple[list[float], Ticks]:
    there = [name for name in order if name in set(values)]
    at = {name: (i + 0.5) / len(there) for i, name in enumerate(there)}
    # Jitter, so that lines through the same name do not hide each other.
    jitter = [((i * 0.618) % 1 - 0.5) * 0.5 / len(there) for i in range(len(values))]
    ticks = tuple((place, name.replace("_", "<br>", 1)) for name, place in at.items())
    return [at[value] + shift for value, shift in zip(values, jitter, strict=True)], ticks


def _numbers(values: Sequence[float], ticks: Sequence[float]) -> tuple[list[float], Ticks]:
    inside = [tick for tick in ticks if tick <= max(values)] or [ticks[0]]
    high = max(*values, *inside) or 1
    return [value / high for value in values], tuple((tick / high, f"{tick:g}") for tick in inside)


def _logs(values: Sequence[float], names: Mapping[float, str] = MappingProxyType({})) -> tuple[list[float], Ticks]:
    """Return places and ticks of a log scale: at decades, or at both ends; ``names`` are labels for some values."""
    low, high = math.log10(min(values)), math.log10(max(values))
    width = (high - low) or 1.0
    decades = range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)
    ticks = [10.0**decade for decade in decades] if len(decades) > 1 else [min(values), max(values)]
    labels = tuple(((math.log10(t) - low) / width, names.get(t, plain(t))) for t in dict.fromkeys(ticks))
    return [(math.log10(value) - low) / width for value in values], labels


def _scores(values: Sequence[float], n_validation: int) -> tuple[list[float], Ticks]:
    places, ticks = AccuracyAxis(values, n_validation).shares(values)
    return places, tuple(ticks)
