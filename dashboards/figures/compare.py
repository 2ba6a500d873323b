"""Several studies compared: their fronts in one figure, their outcomes in one table."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from dashboards.figures.drawing import Drawing, Numbers, View
from dashboards.figures.front import front_info
from dashboards.figures.points import COST_TITLES, UNITS, Point, Unit, rounded
from dashboards.theme import AccuracyAxis, log_axis, themed_figure
from harness.analysis import formatting
from harness.analysis.rows import Rows
from harness.core.results import METRIC_NAMES

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


@dataclass(frozen=True)
class CompareInfo:
    """The front of each study, by name.

    ``n_validation`` is the size of the largest validation set, ``score_name`` the score of all studies if they share
    one.
    """

    unit: Unit
    fronts: tuple[tuple[str, tuple[Point, ...]], ...]
    n_validation: int
    score_name: str

    @property
    def headline(self) -> str:
        """What the figure shows, in words."""
        tops = [(name, front[-1]) for name, front in self.fronts if front]
        if not tops:
            return "No study has reached a checkpoint."
        return "; ".join(f"{name} reaches {point.in_words(self.unit)}" for name, point in tops) + "."


def compare_info(studies: Sequence[Rows], unit: Unit = "TFLOP") -> CompareInfo:
    """Return the front of each study."""
    fronts = tuple((rows.name, front_info(rows, unit).front) for rows in studies)
    names = {rows.score_name for rows in studies}
    score_name = names.pop() if len(names) == 1 else "each study's own validation score"
    return CompareInfo(unit, fronts, max(rows.data["n_validation"] for rows in studies), score_name)


def compare_figure(info: CompareInfo) -> go.Figure:
    """Draw a stepped line for each study, with its own colour and dash."""
    figure = themed_figure()
    points = [p for _, front in info.fronts for p in front]
    axis = AccuracyAxis([p.score for p in points], info.n_validation)
    low, high = min(p.cost(info.unit) for p in points) / 1.3, max(p.cost(info.unit) for p in points) * 1.3
    for i, (name, front) in enumerate(info.fronts):
        if front:
            shown = formatting.plotly_text(name, 40)
            figure.add_scatter(
                x=rounded([*(p.cost(info.unit) for p in front), high]),
                y=axis.place([*(p.score for p in front), front[-1].score]),
                mode="lines+markers",
                name=shown,
                line={"color": PALETTE[i % 6], "dash": DASHES[i // 6 % 6], "width": 2, "shape": "hv"},
                marker={"size": [6] * len(front) + [0]},
                hovertext=[*(f"<b>{shown}</b><br>{p.hover}" for p in front), ""],
                hoverinfo="text",
            )
    log_axis(figure, "xaxis", low, high, f"{COST_TITLES[info.unit]} (log)")
    axis.apply(figure, info.score_name)
    return figure


def compare_drawing(studies: Sequence[Rows]) -> Drawing:
    """Draw the comparison of several studies in both units."""
    numbers = Numbers(
        ("study", "data set", "training images", "trials", "judged by", "best", "its cost", "its strategy",
         "regret of the advice", "best baseline"),
        tuple(map(_row, studies)),
    )  # fmt: skip
    views = {}
    for unit in UNITS:
        info = compare_info(studies, unit)
        drawn = any(front for _, front in info.fronts)
        views[unit] = View(info.headline, compare_figure(info) if drawn else None, numbers)
    return Drawing(
        "comparison",
        "The studies compared",
        "Each line is the Pareto front of a study: the best validation score reached for that cost. Scores on "
        "different data sets cannot be compared; the shapes of the fronts and the regret of the advice can.",
        views,
    )


def _row(rows: Rows) -> tuple[str, ...]:
    best, baseline, outcome = rows.best(), rows.best_baseline(), rows.outcome
    return (
        rows.name,
        outcome.dataset,
        f"{outcome.n_images:,}",
        f"{len(rows.trials):,}",
        METRIC_NAMES[rows.metric],
        *(("–",) * 3 if best is None else (
            formatting.accuracy(best[rows.score]),
            f"{rows.cost.in_words(best[rows.cost.spent])}, {formatting.seconds(best['seconds_total'])}",
            best["label"],
        )),
        "–" if outcome.best is None or outcome.advised is None else formatting.points(outcome.regret),
        "–" if baseline is None else f"{baseline['name']}, {formatting.accuracy(baseline[rows.score])}",
    )  # fmt: skip
