"""The figure and the tables of the atlas: which strategy wins at which size and similarity."""

from collections.abc import Sequence

import plotly.graph_objects as go

from dashboards.figures.drawing import Numbers
from dashboards.figures.quadrants import draw_known_sets, draw_places, draw_quadrants
from dashboards.theme import COLOURS, INK, MARKERS, MUTED, themed_figure
from harness.analysis import formatting
from harness.analysis.atlas_summary import lead_in_words
from harness.analysis.verdicts import Found, Place, Verdict, choices, places, verdicts
from harness.core.spec import AdviceSpec
from harness.core.strategy import ARTICLE_KINDS, Kind
from harness.statistics.intervals import Interval


def atlas_figure(placed: Sequence[Place], boundaries: AdviceSpec) -> go.Figure:
    """Draw the four quadrants, and for each data set at each size the marker of the strategy that won."""
    figure = themed_figure()
    ends = [place.distance + side * 1.96 * place.error for place in placed for side in (-1, 1)]
    _, right = draw_quadrants(figure, boundaries, [place.size for place in placed], ends)
    draw_known_sets(figure, right)
    draw_places(figure, placed, 14, "winner: filled where the table advises it, hollow elsewhere")
    first = {place.dataset: place for place in sorted(placed, key=lambda place: -place.size)}
    bars = {"array": [1.96 * place.error for place in first.values()], "thickness": 1, "width": 3, "color": MUTED}
    figure.add_scatter(
        x=[place.size for place in first.values()],
        y=[place.distance for place in first.values()],
        error_y={"type": "data", **bars},
        mode="text",
        text=[f"{formatting.plotly_text(name, 24)}&nbsp;&nbsp;&nbsp;" for name in first],
        textposition="middle left",
        textfont={"color": INK},
        showlegend=False,
        hoverinfo="skip",
    )
    for kind in ARTICLE_KINDS:  # entries of the legend without a point
        marker = {"symbol": MARKERS[kind], "color": COLOURS[kind], "size": 10}
        figure.add_scatter(x=[None], y=[None], mode="markers", name=kind, marker=marker)
    return figure


def atlas_numbers(placed: Sequence[Place]) -> Numbers:
    """Return a row for each place."""
    columns = (
        "data set",
        "images",
        "distance",
        "scenario",
        "advised",
        "won",
        *ARTICLE_KINDS,
        "advised leads by",
        "compute",
    )
    return Numbers(columns, tuple(_row(place) for place in placed))


def _row(place: Place) -> tuple[str, ...]:
    reached = {tried.kind: tried for tried in place.tried}

    def result(kind: Kind) -> str:
        if kind not in reached:
            return "–"
        k = f" (k={reached[kind].k})" if kind == "freeze_first_k" else ""
        return f"{formatting.accuracy(reached[kind].accuracy)}{k}"

    return (
        place.dataset,
        f"{place.size:,}",
        f"{place.distance:.3f} ± {1.96 * place.error:.3f}",
        str(place.scenario),
        place.advised,
        "the advised" if place.right else place.winner.kind,
        *map(result, ARTICLE_KINDS),
        lead_in_words(place.lead),
        f"{formatting.number(place.compute)} times",
    )


def elsewhere(found: Sequence[Found], boundaries: AdviceSpec) -> Numbers:
    """Return the verdicts under other boundaries of size: the sizes of the atlas, and the boundary in use."""
    sizes = sorted({trial.size for trial in found})[1:]
    rows = []
    for large_at in sorted({*sizes, boundaries.large_at}):
        moved = boundaries.model_copy(update={"large_at": large_at})
        rows.append((f"{large_at:,}", *(_short(verdict) for verdict in verdicts(places(found, moved)))))
    columns = ("large from", *(f"{v.scenario}: {v.advised}" for v in verdicts(())))
    return Numbers(columns, tuple(rows))


def _short(verdict: Verdict) -> str:
    if verdict.lead is None:
        return "undecided (no place)"
    return f"{verdict.word}: {lead_in_words(verdict.lead)}, {formatting.count(len(verdict.places), 'place')}"


def ways_to_choose_k(found: Sequence[Found]) -> Numbers:
    """Return the regret of each way to choose k, compared with the best k that was tried."""
    columns = ("k is", "it was the best", "regret in accuracy, mean of all cells")
    rows = tuple(
        (choice.name, f"in {choice.hits} of {choice.cells}", _given_up(choice.regret)) for choice in choices(found)
    )
    return Numbers(columns, rows)


def _given_up(regret: Interval) -> str:
    mean = f"{100 * regret.mean:.1f} points"
    if regret.n < 2:
        return f"{mean} (one seed: no interval)"
    return f"{mean} (95 %: {100 * regret.low:.1f} to {100 * regret.high:.1f}, n = {regret.n} seeds)"
