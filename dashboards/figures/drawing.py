"""A figure with its texts and numbers, as the page and optuna-dashboard take it."""

from dataclasses import dataclass

import plotly.graph_objects as go

from dashboards.figures.points import Unit


@dataclass(frozen=True)
class Numbers:
    """A figure's numbers as a table, for readers who do not see it: plain text, one tuple for each row."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class View:
    """A figure in one unit of compute: what it shows in words, the figure (None: nothing to draw yet), its numbers."""

    headline: str
    figure: go.Figure | None
    numbers: Numbers = Numbers((), ())


@dataclass(frozen=True)
class Drawing:
    """A figure with its ``id`` (also its name inside optuna-dashboard), title and how to read it.

    ``views`` has one for each unit of compute, or the same one twice for a figure without compute.
    """

    id: str
    title: str
    reading: str
    views: dict[Unit, View]
