"""The four-scenario map: training size against similarity to ImageNet, this study on it and the others around."""

from collections import Counter
from dataclasses import dataclass

import plotly.graph_objects as go

from dashboards import words
from dashboards.figures.drawing import Drawing, Numbers, View
from dashboards.figures.points import UNITS
from dashboards.rows import Outcome, Rows
from dashboards.theme import COLOURS, INK, MARKERS, MUTED, log_axis, themed_figure
from harness.advice import SCENARIOS


@dataclass(frozen=True)
class Place:
    """Where a study stands: ``similarity`` from -1 (not similar to ImageNet) to 1 with its uncertainty, ``low`` to
    ``high``. Today the side is declared, not measured: the uncertainty is the whole half."""

    outcome: Outcome
    similarity: float
    low: float
    high: float


@dataclass(frozen=True)
class MapInfo:
    """This study's place, and those of the other studies in its database. ``large_at`` is this study's boundary."""

    here: Place
    others: tuple[Place, ...]
    large_at: int

    @property
    def headline(self) -> str:
        """What the figure shows, in words."""
        here = self.here.outcome
        side = "similar" if here.similar else "not similar"
        told = f"{here.n_images:,} training images, declared {side} to ImageNet: scenario {here.scenario}."
        told += f" {_verdict(here)}"
        if not self.others:
            return f"{told} No other study is in this database to set it against."
        right = sum(outcome.regret <= 0 for outcome in (here, *(place.outcome for place in self.others)))
        studies = words.count(1 + len(self.others), "study").replace("studys", "studies")
        return f"{told} Of {studies} in this database, the advice did best in {right or 'none'}."


def map_info(rows: Rows) -> MapInfo:
    """The study and its neighbours on the map."""
    taken: Counter[bool] = Counter()
    places = []
    for outcome in (rows.outcome, *rows.others):
        # Declared studies have no height of their own: they stand one above the other within their half.
        height = (0.5, 0.3, 0.7, 0.4, 0.6, 0.2, 0.8)[taken[outcome.similar] % 7]
        taken[outcome.similar] += 1
        low, high = (0.0, 1.0) if outcome.similar else (-1.0, 0.0)
        places.append(Place(outcome, height if outcome.similar else -height, low, high))
    return MapInfo(places[0], tuple(places[1:]), rows.outcome.large_at)


def map_figure(info: MapInfo, most: int) -> go.Figure:
    """Four quadrants with what the article advises; a study is the marker of the strategy that won there. At most
    ``most`` other studies."""
    figure = themed_figure()
    sizes = [place.outcome.n_images for place in (info.here, *info.others)]
    low, high = min(*sizes, info.large_at / 30) / 12, max(*sizes, info.large_at * 10) * 2
    for (large, similar), (number, kind) in SCENARIOS.items():
        figure.add_shape(
            type="rect",
            x0=info.large_at if large else low,
            x1=high if large else info.large_at,
            y0=0 if similar else -1,
            y1=1 if similar else 0,
            fillcolor=COLOURS[kind],
            opacity=0.13,
            line={"width": 0},
            layer="below",
        )
        figure.add_annotation(
            xref="x domain",
            x=0.99 if large else 0.01,
            y=0.98 if similar else -0.98,
            xanchor="right" if large else "left",
            yanchor="top" if similar else "bottom",
            align="right" if large else "left",
            text=f"<b>scenario {number}</b><br>{kind}",
            showarrow=False,
            font={"size": 11, "color": INK},
        )
    boundary = {"type": "line", "line": {"color": MUTED, "width": 1.5, "dash": "dash"}}
    figure.add_shape(x0=info.large_at, x1=info.large_at, y0=-1, y1=1, **boundary)
    figure.add_shape(x0=low, x1=high, y0=0, y1=0, **boundary)
    for here, places in ((False, info.others[:most]), (True, (info.here,))):
        if not places:
            continue
        figure.add_scatter(
            x=[place.outcome.n_images for place in places],
            y=[place.similarity for place in places],
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [place.high - place.similarity for place in places],
                "arrayminus": [place.similarity - place.low for place in places],
                "color": INK if here else MUTED,
                "thickness": 2 if here else 1,
                "width": 5 if here else 0,
            },
            mode="markers+text",
            name="this study" if here else "other studies",
            marker={
                "symbol": [_symbol(place.outcome) for place in places],
                "color": [_colour(place.outcome) for place in places],
                "size": 18 if here else 10,
                "line": {"width": 2 if here else 1, "color": INK},
            },
            text=[words.plotly_text(place.outcome.study, 24) for place in places],
            textposition="middle right",
            textfont={"size": 13 if here else 11, "color": INK},
            hovertext=[_hover(place) for place in places],
            hoverinfo="text",
            cliponaxis=False,
        )
    log_axis(figure, "xaxis", low, high, "training images (log)")
    figure.update_yaxes(
        range=[-1, 1],
        tickvals=[-0.5, 0.5],
        ticktext=["not<br>similar", "similar"],
        showgrid=False,
        title_text="to ImageNet (declared)",
    )
    return figure


def map_drawing(rows: Rows, most: int) -> Drawing:
    """The four-scenario map."""
    info = map_info(rows)
    told = tuple(_row(place.outcome) for place in (info.here, *info.others))
    columns = ("study", "data set", "training images", "similar", "scenario", "won by", "advice gave up")
    view = View(info.headline, map_figure(info, most), Numbers(columns, told))
    return Drawing(
        "four-scenarios",
        "Where the four scenarios place it",
        f"Size and similarity decide what the article advises; from {info.large_at:,} training images on a set counts "
        "as large. Similarity is declared by the data set's file, not measured: the bar covers the whole side, and the "
        "height within it means nothing. A study wears the marker and colour of the strategy that won.",
        dict.fromkeys(UNITS, view),
    )


def _verdict(outcome: Outcome) -> str:
    if outcome.best is None:
        return "No trial has a score yet."
    won = f"{outcome.best['strategy']} did best"
    if outcome.advised is None:
        return f"{won}; the advice has no score to compare."
    if outcome.regret <= 0:
        return f"{won}: the advice itself."
    return f"{won}; following the advice gives up {words.points(outcome.regret)}."


def _hover(place: Place) -> str:
    outcome = place.outcome
    told = [
        f"<b>{words.plotly_text(outcome.study)}</b>",
        words.plotly_text(f"data set {outcome.dataset}, {outcome.n_images:,} training images"),
        words.plotly_text(
            f"declared {'similar' if outcome.similar else 'not similar'} to ImageNet: {outcome.similarity_source}"
        ),
        words.plotly_text(_verdict(outcome)),
    ]
    return "<br>".join(told)


def _row(outcome: Outcome) -> tuple[str, ...]:
    return (
        outcome.study,
        outcome.dataset,
        f"{outcome.n_images:,}",
        "yes (declared)" if outcome.similar else "no (declared)",
        str(outcome.scenario),
        "–" if outcome.best is None else str(outcome.best["strategy"]),
        "–" if outcome.best is None or outcome.advised is None else words.points(outcome.regret),
    )


def _symbol(outcome: Outcome) -> str:
    return "circle-open" if outcome.best is None else MARKERS[outcome.best["strategy"]]


def _colour(outcome: Outcome) -> str:
    return MUTED if outcome.best is None else COLOURS[outcome.best["strategy"]]
