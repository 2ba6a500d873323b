"""The look of every figure: one palette, one template, one axis of accuracy.

The colours are Okabe and Ito's, which colour-blind readers can distinguish. Each strategy has one colour and one marker
in all figures. Ink, muted ink, lines and paper are those of the light theme; ``DARK`` maps them to the dark theme.
"""

import math
from collections.abc import Iterable, Sequence

import plotly.graph_objects as go

from harness.core.strategy import Kind

INK, MUTED, LINE, PAPER = "#1c2024", "#5f6872", "#dfe3e7", "#ffffff"
SHADE = "rgba(128, 138, 148, 0.14)"  # over paper of either theme
DARK = {INK: "#eceff2", MUTED: "#a3adb8", LINE: "#343b43", PAPER: "#16191d"}
COLOURS: dict[Kind, str] = {
    "feature_extraction": "#0072B2",
    "freeze_first_k": "#E69F00",
    "fine_tune_all": "#009E73",
    "from_scratch": "#CC79A7",
    "two_phase": "#D55E00",
}
MARKERS: dict[Kind, str] = {
    "feature_extraction": "circle",
    "freeze_first_k": "square",
    "fine_tune_all": "diamond",
    "from_scratch": "triangle-up",
    "two_phase": "cross",
}

BACKBONE_MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "pentagon")
"""Where a study has several backbones, these tell them apart, in its order."""

TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13, "color": INK},
        "paper_bgcolor": PAPER,
        "plot_bgcolor": PAPER,
        "margin": {"l": 8, "r": 12, "t": 12, "b": 8},
        "xaxis": {
            "gridcolor": LINE,
            "linecolor": LINE,
            "zeroline": False,
            "automargin": True,
            "title": {"standoff": 8},
        },
        "yaxis": {
            "gridcolor": LINE,
            "linecolor": LINE,
            "zeroline": False,
            "automargin": True,
            "title": {"standoff": 8},
        },
        "legend": {
            "traceorder": "normal",
            "orientation": "h",
            "yref": "container",
            "y": 0,
            "yanchor": "bottom",
            "x": 0,
            "xref": "container",
        },
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "bgcolor": PAPER, "bordercolor": MUTED, "font": {"color": INK}},
    }
)


def themed_figure() -> go.Figure:
    """Return an empty figure in the light theme."""
    return go.Figure(layout={"template": TEMPLATE})


def log_axis(figure: go.Figure, axis: str, low: float, high: float, title: str) -> None:
    """Make ``axis`` (``xaxis``, ``yaxis2``, …) a log axis from ``low`` to ``high`` with round tick labels."""
    ticks: list[float] = []
    for digits in ((1,), (1, 2, 5), range(1, 10)):
        if len(ticks) < 3:
            decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
            ticks = [tick for decade in decades for digit in digits if low <= (tick := digit * 10.0**decade) <= high]
    figure.update_layout({axis: {
        "type": "log",
        "title": {"text": title},
        "range": [math.log10(low), math.log10(high)],
        "tickvals": ticks,
        "ticktext": [plain(tick) for tick in ticks],
    }})  # fmt: skip


def plain(tick: float) -> str:
    """Return a tick's label: whole numbers from 100, three significant digits below."""
    return f"{tick:,.0f}" if tick >= 100 else f"{tick:.3g}"


class AccuracyAxis:
    """An axis of accuracy on a log scale of the error, which spreads out the top, where good trials are close together.

    Plotly has no such scale: the error is drawn on a reversed log axis, and its ticks are labelled with the accuracy.
    An accuracy of 1 is drawn at the error of half an image. Other scores that end at 1 are drawn in the same way.
    """

    def __init__(self, accuracies: Sequence[float], n_validation: int) -> None:
        """Fit the range to these ``accuracies``, measured on ``n_validation`` images."""
        self._least = 0.5 / n_validation
        errors = [max(1 - a, self._least) for a in accuracies] or [0.5]
        low, high = math.log10(min(errors)), math.log10(max(errors))
        margin = max(0.06 * (high - low), (0.3 - (high - low)) / 2)
        self._range = (high + margin, low - margin)

    def place(self, accuracies: Iterable[float]) -> list[float]:
        """Return where to draw these accuracies."""
        return [float(f"{max(1 - a, self._least):.6g}") for a in accuracies]

    @property
    def bottom(self) -> float:
        """Where the lower edge is."""
        return float(f"{10 ** self._range[0]:.6g}")

    def apply(self, figure: go.Figure, title: str) -> None:
        """Make this the figure's y axis."""
        ticks = self._ticks()
        figure.update_yaxes(
            type="log",
            range=self._range,
            tickvals=ticks,
            ticktext=[f"{1 - tick:.6g}" for tick in ticks],
            title_text=title,
        )

    def shares(self, accuracies: Iterable[float]) -> tuple[list[float], list[tuple[float, str]]]:
        """Return these accuracies, and the labelled ticks, as shares of the axis from its lower end."""
        low, high = self._range

        def share(error: float) -> float:
            return (math.log10(error) - low) / (high - low)

        return [share(e) for e in self.place(accuracies)], [(share(t), f"{1 - t:.6g}") for t in self._ticks()]

    def _ticks(self) -> list[float]:
        """Return round errors in range: the roundest are chosen first, and none is too close to another."""
        high, low = self._range
        gap = (high - low) / 9
        chosen: list[float] = []
        for digits in ((10, 20, 30, 50), range(10, 100, 10), range(10, 100, 5), range(10, 100)):
            if len(chosen) >= 4:
                break
            for exponent in range(math.floor(low) - 1, 1):
                for value in digits:
                    tick = float(f"{value * 10.0 ** (exponent - 1):.6g}")
                    inside = low <= math.log10(tick) <= high and tick <= 1
                    if inside and all(abs(math.log10(tick / other)) >= gap for other in chosen):
                        chosen.append(tick)
        return sorted(chosen)
