"""Where the time went, what caching and pruning saved, and predicted against actual cost."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

import plotly.graph_objects as go

from dashboards.figures.drawing import Drawing, Numbers, View
from dashboards.figures.points import UNITS, Trial, Unit, drawn_of, filtered_by, markers, rounded, thinned, trials
from dashboards.theme import MUTED, log_axis, themed_figure
from harness.analysis import formatting
from harness.analysis.rows import Rows, stopped
from harness.core.strategy import KINDS

KINDS_OF_SECONDS = {"features": "#56B4E9", "compile": "#F0E442", "train": "#D55E00", "evaluation": "#999999"}

# --- where the time went ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TimeInfo:
    """The seconds spent by each group (a strategy, or the baselines), by kind, and what was saved.

    ``spent[kind]`` and the two savings have one value for each of ``groups``. Activations found in the cache count as
    saved, not as spent. The seconds saved by stopping early are an estimate: the saved FLOPs times the strategy's own
    seconds per FLOP.
    """

    groups: tuple[str, ...]
    spent: dict[str, tuple[float, ...]]
    saved_by_cache: tuple[float, ...]
    saved_by_stopping: tuple[float, ...]
    spent_flops: float
    saved_flops: float

    @property
    def headline(self) -> str:
        """What the figure shows, in words."""
        total = sum(map(sum, self.spent.values()))
        if total == 0:
            return "Nothing has been run."
        parts = [
            f"{formatting.seconds(total)} spent, {formatting.percent(sum(self.spent['train']) / total)} of it training"
        ]
        if any(self.saved_by_cache):
            parts.append(f"the activation cache saved {formatting.seconds(sum(self.saved_by_cache))}")
        if self.saved_flops:
            share = formatting.percent(self.saved_flops / (self.spent_flops + self.saved_flops))
            seconds = formatting.seconds(sum(self.saved_by_stopping))
            parts.append(
                f"stopping early saved {formatting.tflop(self.saved_flops)} ({share} of the plan), about {seconds}"
            )
        return "; ".join(parts) + "."

    @property
    def parts(self) -> dict[str, tuple[float, ...]]:
        """The seconds spent by kind, then those saved, by the names of the bars."""
        return self.spent | {
            "saved by the activation cache": self.saved_by_cache,
            "saved by stopping early (estimate)": self.saved_by_stopping,
        }


def time_info(rows: Rows) -> TimeInfo:
    """Return the seconds of each strategy and of the baselines by kind, and those saved by cache and early stops."""
    frame = rows.trials
    groups = [(str(kind), frame[frame["strategy"] == kind]) for kind in KINDS]
    groups = [(name, mine) for name, mine in [*groups, ("baselines", rows.baselines)] if not mine.empty]
    spent: dict[str, list[float]] = {kind: [] for kind in KINDS_OF_SECONDS}
    cached, halted = [], []
    for name, mine in groups:
        for kind in KINDS_OF_SECONDS:
            spent[kind].append(float(mine[f"seconds_{kind}"].sum()))
        cached.append(0.0)
        halted.append(0.0)
        if name != "baselines":
            cached[-1] = float(mine.loc[mine["features_cached"].astype(bool), "seconds_features"].sum())
            flops = mine["train_flops"].sum()
            rate = (mine["seconds_features"].sum() + mine["seconds_train"].sum()) / flops if flops else 0.0
            halted[-1] = float(stopped(mine)["saved_flops"].sum() * rate)
        spent["features"][-1] -= cached[-1]
    return TimeInfo(
        tuple(name for name, _ in groups),
        {kind: tuple(values) for kind, values in spent.items()},
        tuple(cached),
        tuple(halted),
        float(frame["train_flops"].sum()),
        float(stopped(frame)["saved_flops"].sum()),
    )


def time_figure(info: TimeInfo) -> go.Figure:
    """Draw a stacked bar for each strategy: solid for seconds spent, hatched for those saved."""
    figure = themed_figure()
    for name, values in info.parts.items():
        if any(values):
            hatch = "" if name in KINDS_OF_SECONDS else "/"
            colour = KINDS_OF_SECONDS.get(name) or KINDS_OF_SECONDS["features" if "cache" in name else "train"]
            figure.add_bar(
                y=info.groups,
                x=rounded(values),
                name=name,
                orientation="h",
                marker={
                    "color": colour,
                    "line": {"width": 1 if hatch else 0, "color": colour},
                    "pattern": {"shape": hatch, "fillmode": "replace", "solidity": 0.25, "size": 6},
                },
                hovertext=[
                    f"{group}, {name}: {formatting.seconds(v)}" for group, v in zip(info.groups, values, strict=True)
                ],
                hoverinfo="text",
            )
    figure.update_layout(barmode="stack", bargap=0.35)
    figure.update_xaxes(title_text="seconds")
    figure.update_yaxes(autorange="reversed", showgrid=False, ticksuffix=" ")
    return figure


def time_drawing(rows: Rows) -> Drawing:
    """Draw where the time went."""
    info = time_info(rows)
    table = (
        (group, *map(formatting.seconds, values))
        for group, *values in zip(info.groups, *info.parts.values(), strict=True)
    )
    view = View(
        info.headline,
        time_figure(info) if any(map(any, info.spent.values())) else None,
        Numbers(("", *info.parts), tuple(table)),
    )
    return Drawing(
        "where-the-time-went",
        "Where the time went",
        "Solid bars are seconds spent, hatched ones seconds saved. Those saved by stopping early are an estimate: the "
        "saved FLOPs times the strategy's own seconds per FLOP.",
        dict.fromkeys(UNITS, view),
    )


# --- predicted against actual -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spending:
    """A trial with its ``predicted`` and its ``actual`` cost."""

    trial: Trial
    predicted: float
    actual: float


@dataclass(frozen=True)
class CostInfo:
    """Predicted and actual cost of each trial that spent anything.

    In TFLOP: the plan for the whole budget of epochs, and what was spent. In seconds: the prediction before the trial
    began, for a stopped trial scaled to the epochs that it ran, and what it took.
    """

    unit: Unit
    spendings: tuple[Spending, ...]

    @property
    def headline(self) -> str:
        """What the figure shows, in words."""
        if not self.spendings:
            spent = "No trial has spent anything" if self.unit == "TFLOP" else "The seconds of no trial were predicted"
            return f"{spent}."
        predicted, actual = sum(s.predicted for s in self.spendings), sum(s.actual for s in self.spendings)
        if self.unit == "TFLOP":
            spent = f"{formatting.tflop(actual * 1e12)} spent, {formatting.percent(actual / predicted)}"
            return f"{formatting.tflop(predicted * 1e12)} were planned for the trials that began and {spent}."
        text = f"{formatting.seconds(predicted)} were predicted for {formatting.seconds(actual)}"
        complete = [s for s in self.spendings if s.trial.status == "complete"]
        for name, mine in (("complete trial", complete), ("of these after the first five", complete[5:])):
            if mine:
                off = formatting.percent(median(abs(s.predicted - s.actual) / s.actual for s in mine))
                text += f"; median error {off} of {formatting.count(len(mine), name) if mine is complete else name}"
        return f"{text}."


def cost_info(rows: Rows, unit: Unit = "TFLOP") -> CostInfo:
    """Return planned and spent FLOPs, or predicted and measured seconds."""
    frame = rows.trials[(rows.trials["train_flops"] > 0) & (rows.trials["seconds_train"] > 0)]
    if unit == "TFLOP":
        predicted, actual = frame["planned_flops"] / 1e12, frame["train_flops"] / 1e12
    else:
        frame = frame[frame["predicted_seconds"].notna() & (frame["epochs"] > 0)]
        planned = frame["planned_epochs"].where(frame["planned_epochs"] > 0, rows.spec["budget"]["epochs"])
        predicted = frame["predicted_seconds"] * frame["epochs"] / planned
        actual = frame["seconds_total"]
    of = trials(rows)
    known = [of[number] for number in frame["number"]]
    return CostInfo(unit, tuple(map(Spending, known, predicted.tolist(), actual.tolist())))


def cost_figure(info: CostInfo, most: int) -> go.Figure:
    """Draw a marker for each of at most ``most`` trials; on the diagonal the prediction was exact."""
    figure = themed_figure()
    unit, ends = info.unit, [value for s in info.spendings for value in (s.predicted, s.actual)]
    low, high = min(ends) / 1.3, max(ends) * 1.3
    figure.add_scatter(
        x=rounded([low, high]),
        y=rounded([low, high]),
        mode="lines",
        name="exact",
        line={"color": MUTED, "width": 1.5, "dash": "dot"},
        hoverinfo="skip",
    )
    # Complete ones first: a legend shows the marker of the first point.
    drawn = sorted(thinned(info.spendings, most), key=lambda s: s.trial.status != "complete")
    for kind in KINDS:
        mine = [s for s in drawn if s.trial.kind == kind]
        if mine:
            figure.add_scatter(
                x=rounded(s.predicted for s in mine),
                y=rounded(s.actual for s in mine),
                mode="markers",
                name=kind,
                legendgroup=kind,
                marker=markers(kind, [s.trial for s in mine], 8),
                customdata=filtered_by(s.trial for s in mine),
                hovertext=list(_hovers(mine, unit)),
                hoverinfo="text",
            )
    titles = {
        "TFLOP": ("planned TFLOP (log)", "spent TFLOP (log)"),
        "seconds": ("predicted seconds (log)", "measured seconds (log)"),
    }
    for axis, title in zip(("xaxis", "yaxis"), titles[unit], strict=True):
        log_axis(figure, axis, low, high, title)
    return figure


def cost_drawing(rows: Rows, most: int) -> Drawing:
    """Draw predicted against actual cost in both units."""
    return Drawing(
        "predicted-against-actual-cost",
        "Predicted against actual cost",
        "In TFLOP: the cost of the whole budget of epochs versus what was spent; a trial below the dotted line was "
        "stopped early (hollow). In seconds: the prediction before a trial began, for the epochs that it ran, versus "
        "what it took; a trial above the line was slower than predicted.",
        {unit: _view(cost_info(rows, unit), most) for unit in UNITS},
    )


def _view(info: CostInfo, most: int) -> View:
    if not info.spendings:
        return View(info.headline, None)
    table = []
    for kind in KINDS:
        mine = [s for s in info.spendings if s.trial.kind == kind]
        if mine:
            sums = sum(s.predicted for s in mine), sum(s.actual for s in mine)
            table.append((kind, f"{len(mine):,}", *(f"{formatting.number(value)} {info.unit}" for value in sums)))
    headline = info.headline + drawn_of(len(thinned(info.spendings, most)), len(info.spendings), "trial")
    numbers = Numbers(("strategy", "trials", "predicted", "actual"), tuple(table))
    return View(headline, cost_figure(info, most), numbers)


def _hovers(spendings: Iterable[Spending], unit: Unit) -> Iterable[str]:
    for s in spendings:
        lines = [f"<b>trial {s.trial.number}</b>", formatting.plotly_text(s.trial.label)]
        lines.append(f"predicted {formatting.number(s.predicted)} {unit}, actual {formatting.number(s.actual)} {unit}")
        if s.trial.status != "complete":
            lines.append(formatting.plotly_text(f"{s.trial.status}: {s.trial.reason or 'no reason recorded'}"))
        yield "<br>".join(lines)
