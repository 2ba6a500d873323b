"""The classes of a trial or baseline: its confusion matrix, its reliability diagram, and their numbers."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from dashboards.figures.drawing import Numbers
from dashboards.theme import COLOURS, MUTED, PAPER, themed_figure
from harness.analysis import formatting
from harness.analysis.classes import MOST_CLASSES, TITLES, Classes, Share
from harness.analysis.rows import Whose

MOST_ROWS = 100
"""The most rows of a table."""

_MOST_COUNTS, _LONGEST = 25, 16  # classes with counts in their cells, signs of a label


@dataclass(frozen=True)
class ClassesDrawing:
    """What the page shows of the classes of one trial or baseline, ``whose`` it is in words being ``title``."""

    whose: Whose
    title: str
    sentences: tuple[str, ...]
    confusion: go.Figure
    reliability: go.Figure
    scores: Numbers
    confused: Numbers
    bins: Numbers
    notes: tuple[str, ...]


def confusion_figure(info: Classes) -> go.Figure:
    """Draw the confusion matrix: recall on the diagonal in grey, errors in colour, both as shares of the row."""
    order, figure = info.shown, themed_figure()
    k = len(order)
    counts, shares = info.confusion[np.ix_(order, order)], info.shares[np.ix_(order, order)]
    names = [info.class_names[label] for label in order]
    support = info.confusion.sum(axis=1)[order]
    diagonal = np.eye(k, dtype=bool)
    errors = ~diagonal & (counts > 0)
    hover = np.full((k, k), "", object)
    for i, j in np.argwhere(diagonal | errors):
        hover[i, j] = _cell(names, counts[i, j], support[i], i, j)
    for cells, colour, most in (
        (diagonal, MUTED, 1.0),
        (errors, COLOURS["two_phase"], shares[errors].max(initial=0)),
    ):
        figure.add_heatmap(
            x=[str(at) for at in range(k)],
            y=[str(at) for at in range(k)],
            z=_only(shares.round(4), cells, None),
            hovertext=_only(hover, cells, ""),
            hoverinfo="text",
            text=_only(counts, cells, "") if k <= _MOST_COUNTS else None,
            texttemplate="%{text}" if k <= _MOST_COUNTS else None,
            colorscale=[[0, PAPER], [1, colour]],
            zmin=0,
            zmax=max(most, 1e-9) * 1.6,  # so that the ink of the counts can be read on the darkest cell
            showscale=False,
            hoverongaps=False,
            xgap=1 if k <= 40 else 0,
            ygap=1 if k <= 40 else 0,
        )
    # Categories, since of their labels Plotly shows as many as there is room for.
    axis = {
        "type": "category", "labelalias": {str(at): _short(name) for at, name in enumerate(names)}, "showgrid": False,
        "tickfont": {"size": 12 if k <= 20 else 10},
    }  # fmt: skip
    figure.update_xaxes(**axis, title_text="predicted class", tickangle=0 if max(map(len, names)) <= 2 else -90)
    figure.update_yaxes(**axis, title_text="true class", autorange="reversed")
    return figure


def _only(values: NDArray[Any], cells: NDArray[np.bool_], other: str | None) -> list[list[Any]]:
    """Return ``values`` in these ``cells`` and ``other`` in the rest, as lists."""
    found: list[list[Any]] = np.where(cells, values.astype(object), np.array(other, object)).tolist()
    return found


def _cell(names: list[str], n: int, support: int, row: int, column: int) -> str:
    true, taken = (formatting.plotly_text(names[at]) for at in (row, column))
    if not support:
        return f"{true}: no validation image"
    share = f"{n:,} of {formatting.count(int(support), 'image')} ({formatting.percent(n / support)})"
    return f"{true}: {share} recognised" if row == column else f"{true}: {share} taken for {taken}"


def _short(name: str) -> str:
    return formatting.plotly_text(name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…")


def reliability_figure(info: Classes) -> go.Figure:
    """Draw how many are right of the images that are predicted with about the same probability."""
    figure = themed_figure()
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", name="as sure as right", line={"color": MUTED, "dash": "dot", "width": 1},
        hoverinfo="skip",
    )  # fmt: skip
    largest = max(b.correct.n for b in info.bins)
    figure.add_scatter(
        x=[round(b.probability, 4) for b in info.bins],
        y=[round(b.correct.value, 4) for b in info.bins],
        error_y={
            "type": "data", "symmetric": False, "color": MUTED, "thickness": 1,
            "array": [round(b.correct.interval[1] - b.correct.value, 4) for b in info.bins],
            "arrayminus": [round(b.correct.value - b.correct.interval[0], 4) for b in info.bins],
        },
        mode="lines+markers",
        name="images (the larger, the more)",
        line={"color": COLOURS["feature_extraction"], "width": 1.5},
        marker={"size": [7 + 15 * math.sqrt(b.correct.n / largest) for b in info.bins], "opacity": 0.85},
        hovertext=[
            f"{formatting.count(b.correct.n, 'image')} with a probability of {b.probability:.3f} on average<br>"
            f"{_interval(b.correct)} right"
            for b in info.bins
        ],
        hoverinfo="text",
        cliponaxis=False,
    )  # fmt: skip
    figure.update_xaxes(title_text="probability of the predicted class", range=[0, 1.03])
    figure.update_yaxes(title_text="share that is right", range=[0, 1.05])
    return figure


def _interval(share: Share) -> str:
    if not share.n:
        return "–"
    low, high = share.interval
    return f"{share.value:.3f} ({low:.3f} to {high:.3f})"


def _scores(info: Classes) -> Numbers:
    rows = tuple(
        (
            score.name,
            f"{score.recall.n:,}" if score.recall.n else "no validation image",
            _interval(score.recall),
            f"{score.precision.n:,}",
            _interval(score.precision),
        )
        for score in info.worst_first[:MOST_ROWS]
    )
    return Numbers(("class", "images", "recall (95 % interval)", "predicted", "precision (95 % interval)"), rows)


def _confused(info: Classes) -> Numbers:
    rows = tuple(
        (p.first, p.second, f"{p.there:,} of {p.n_first:,}", f"{p.back:,} of {p.n_second:,}")
        for p in info.pairs[:MOST_ROWS]
    )
    return Numbers(("class", "and class", "first taken for second", "second taken for first"), rows)


def _bins(info: Classes) -> Numbers:
    rows = tuple((f"{b.probability:.3f}", f"{b.correct.n:,}", _interval(b.correct)) for b in info.bins)
    return Numbers(("mean probability", "images", "right (95 % interval)"), rows)


def _notes(info: Classes) -> tuple[str, ...]:
    k, pairs = len(info.class_names), len(info.pairs)
    notes = []
    if k > MOST_CLASSES:
        notes.append(f"The matrix shows the {MOST_CLASSES} of {k:,} classes with most errors.")
    if k > MOST_ROWS:
        notes.append(f"The table has the {MOST_ROWS} classes of lowest recall.")
    if pairs > MOST_ROWS:
        notes.append(f"Of {pairs:,} confused pairs the {MOST_ROWS} with most images are listed.")
    return tuple(notes)


def classes_drawing(info: Classes) -> ClassesDrawing:
    """Draw the classes of one trial or baseline."""
    return ClassesDrawing(
        info.whose,
        TITLES[info.whose],
        tuple(info.sentences),
        confusion_figure(info),
        reliability_figure(info),
        _scores(info),
        _confused(info),
        _bins(info),
        _notes(info),
    )
