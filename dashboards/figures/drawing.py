"""What every figure hands to the page and to optuna-dashboard."""

from dataclasses import dataclass

import plotly.graph_objects as go

from dashboards.figures.points import Unit


@dataclass(frozen=True)
class Numbers:
    """A figure's numbers for readers who do not see it: plain text, one tuple a row."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class View:
    """A figure in one unit of compute: what it shows in words, itself (None: nothing to draw yet), its numbers."""

    headline: str
    figure: go.Figure | None
    numbers: Numbers = Numbers((), ())


@dataclass(frozen=True)
class Drawing:
    """A figure with its ``id`` (also its name inside optuna-dashboard), title and how to read it.

    ``views`` has one for each unit of compute, or the same one twice where compute plays no part.
    """

    id: str
    title: str
    reading: str
    views: dict[Unit, View]
