"""The four-scenario map: studies by the size of their training set and its similarity to ImageNet."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from dashboards.figures.drawing import Drawing, Numbers, View
from dashboards.figures.points import UNITS
from dashboards.figures.quadrants import draw_known_sets, draw_places, draw_quadrants
from dashboards.theme import COLOURS, INK, MARKERS, MUTED, themed_figure
from harness.analysis import formatting
from harness.analysis.rows import Outcome, Rows
from harness.analysis.verdicts import Place, places
from harness.core.spec import AdviceSpec


@dataclass(frozen=True)
class Position:
    """The place of a study on the map: its kernel ``distance`` to ImageNet with its 95 % interval, ``low`` to ``high``.

    Where similarity was declared, not measured, the interval is the whole similar, or not similar, half.
    """

    outcome: Outcome
    distance: float
    low: float
    high: float


@dataclass(frozen=True)
class MapInfo:
    """The positions of this study and of the others in its database, and the places of the atlas in it.

    All are under this study's ``boundaries``.
    """

    here: Position
    others: tuple[Position, ...]
    atlas: tuple[Place, ...]
    boundaries: AdviceSpec

    @property
    def headline(self) -> str:
        """What the figure shows, in words."""
        here = self.here.outcome
        side = "similar" if here.similar else "not similar"
        if here.similarity is None:
            how = f"declared {side} to ImageNet"
        else:
            low, high = here.similarity.interval
            how = (
                f"measured {side} to ImageNet (distance {here.similarity.distance:.3f}, 95 %: {low:.3f} to {high:.3f})"
            )
        text = f"{here.n_images:,} training images, {how}: scenario {here.scenario}. {_verdict(here)}"
        if self.atlas:
            right = sum(place.right for place in self.atlas)
            text += f" In the atlas the table names the winner at {right} of {len(self.atlas)} places."
        if not self.others:
            return f"{text} This database has no other study to compare with."
        right = sum(outcome.regret <= 0 for outcome in (here, *(place.outcome for place in self.others)))
        studies = formatting.count(1 + len(self.others), "study").replace("studys", "studies")
        return f"{text} Of {studies} in this database, the advice did best in {right or 'none'}."


def map_info(rows: Rows) -> MapInfo:
    """Return the study, the others in its database and the places of the atlas."""
    boundaries = AdviceSpec(large_at=rows.outcome.large_at, similar_below=rows.outcome.similar_below)
    declared: Counter[bool] = Counter()
    positions = []
    for outcome in (rows.outcome, *rows.others):
        if outcome.similarity is not None:
            positions.append(Position(outcome, outcome.similarity.distance, *outcome.similarity.interval))
            continue
        # A declared similarity has no distance: such studies are spread over their half.
        height = (0.5, 0.3, 0.7, 0.4, 0.6, 0.2, 0.8)[declared[outcome.similar] % 7]
        declared[outcome.similar] += 1
        low = 0 if outcome.similar else boundaries.similar_below
        middle = low + height * boundaries.similar_below
        positions.append(Position(outcome, middle, low, low + boundaries.similar_below))
    return MapInfo(positions[0], tuple(positions[1:]), places(rows.atlas, boundaries), boundaries)


def map_figure(info: MapInfo, most: int) -> go.Figure:
    """Draw four quadrants with what the article advises; a study is the marker of the strategy that won there.

    At most ``most`` other studies and ``most`` places of the atlas are drawn.
    """
    figure = themed_figure()
    everywhere = (info.here, *info.others)
    sizes = [*(position.outcome.n_images for position in everywhere), *(place.size for place in info.atlas)]
    ends = [end for position in everywhere for end in (position.low, position.high)]
    _, right = draw_quadrants(figure, info.boundaries, sizes, [*ends, *(place.distance for place in info.atlas)])
    draw_known_sets(figure, right)
    if info.atlas:
        draw_places(figure, info.atlas[:most], 7, "atlas")
    if info.others:
        _draw_studies(figure, info.others[:most], here=False)
    _draw_studies(figure, (info.here,), here=True)
    return figure


def _draw_studies(figure: go.Figure, positions: Sequence[Position], *, here: bool) -> None:
    """Draw studies with the intervals of their distances; ``here``: it is this study, drawn large."""
    figure.add_scatter(
        x=[position.outcome.n_images for position in positions],
        y=[position.distance for position in positions],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [position.high - position.distance for position in positions],
            "arrayminus": [position.distance - position.low for position in positions],
            "color": INK if here else MUTED,
            "thickness": 2 if here else 1,
            "width": 5 if here else 0,
        },
        mode="markers+text",
        name="this study" if here else "other studies",
        marker={
            "symbol": [_symbol(position.outcome) for position in positions],
            "color": [_colour(position.outcome) for position in positions],
            "size": 18 if here else 10,
            "line": {"width": 2 if here else 1, "color": INK},
        },
        text=[formatting.plotly_text(position.outcome.study, 24) for position in positions],
        textposition="middle right",
        textfont={"size": 13 if here else 11, "color": INK},
        hovertext=[_hover(position) for position in positions],
        hoverinfo="text",
        cliponaxis=False,
    )


def map_drawing(rows: Rows, most: int) -> Drawing:
    """Draw the four-scenario map."""
    info = map_info(rows)
    table = tuple(_row(position.outcome) for position in (info.here, *info.others))
    columns = ("study", "data set", "training images", "similar", "scenario", "won by", "regret of the advice")
    view = View(info.headline, map_figure(info, most), Numbers(columns, table))
    return Drawing(
        "four-scenarios",
        "Place among the four scenarios",
        "The article's advice depends on size and similarity. A data set counts as large from "
        f"{info.boundaries.large_at:,} training images (the article calls 60,000 small), and as similar below a kernel "
        f"distance of {info.boundaries.similar_below:g}, the middle of the gap between the measured sets at the right "
        "edge. A bar is the confidence interval of the distance; where similarity was declared, not measured, it "
        "covers the whole half. A study has the marker and colour of the strategy that won.",
        dict.fromkeys(UNITS, view),
    )


def _verdict(outcome: Outcome) -> str:
    if outcome.best is None:
        return "No trial has a score yet."
    won = f"{outcome.best['strategy']} did best"
    if outcome.advised is None:
        return f"{won}; the advice has no score to compare with."
    if outcome.regret <= 0:
        return f"{won}: the advice itself."
    return f"{won}; following the advice gives up {formatting.points(outcome.regret)}."


def _hover(position: Position) -> str:
    outcome = position.outcome
    lines = [
        f"<b>{formatting.plotly_text(outcome.study)}</b>",
        formatting.plotly_text(f"data set {outcome.dataset}, {outcome.n_images:,} training images"),
        formatting.plotly_text(
            f"{'similar' if outcome.similar else 'not similar'} to ImageNet: {outcome.similarity_source}"
        ),
        formatting.plotly_text(_verdict(outcome)),
    ]
    return "<br>".join(lines)


def _row(outcome: Outcome) -> tuple[str, ...]:
    return (
        outcome.study,
        outcome.dataset,
        f"{outcome.n_images:,}",
        f"{'yes' if outcome.similar else 'no'} ({_how(outcome)})",
        str(outcome.scenario),
        "–" if outcome.best is None else str(outcome.best["strategy"]),
        "–" if outcome.best is None or outcome.advised is None else formatting.points(outcome.regret),
    )


def _how(outcome: Outcome) -> str:
    return "declared" if outcome.similarity is None else f"distance {outcome.similarity.distance:.3f}"


def _symbol(outcome: Outcome) -> str:
    return "circle-open" if outcome.best is None else MARKERS[outcome.best["strategy"]]


def _colour(outcome: Outcome) -> str:
    return MUTED if outcome.best is None else COLOURS[outcome.best["strategy"]]
