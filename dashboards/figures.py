"""The figures: ``*_info(rows)`` says what is shown, ``*_figure(info)`` draws it. Both are pure."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from dashboards import words
from dashboards.rows import Rows
from dashboards.theme import COLOURS, INK, LINE, MARKERS, MUTED, PAPER, AccuracyAxis, themed_figure
from harness.pareto import front
from harness.strategy import KINDS, N_CONVS, Kind

KINDS_OF_SECONDS = {"features": "#56B4E9", "compile": "#F0E442", "train": "#D55E00", "evaluation": "#999999"}
MARKS = {  # by a trial's origin: its name here and its marker
    "advice": ("advice", "star-open"),
    "recipe_extractor": ("recipe: extractor", "hexagram-open"),
    "recipe_partial": ("recipe: partial", "star-square-open"),
}
VGG16_BLOCKS = ((1, 2), (3, 4), (5, 7), (8, 10), (11, 13))

# --- accuracy versus compute ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """A checkpoint: ``tflop`` spent so far, validation ``accuracy``, whether it is the trial's ``last`` one, how the
    trial ended (``status``) and what to say on hover."""

    trial: int
    kind: Kind
    epoch: int
    tflop: float
    accuracy: float
    last: bool
    status: str
    hover: str

    @property
    def in_words(self) -> str:
        """``0.9740 for 3.21 TFLOP``."""
        return f"{words.accuracy(self.accuracy)} for {words.number(self.tflop)} TFLOP"


@dataclass(frozen=True)
class BaselineLine:
    """A baseline reaches ``accuracy`` once ``tflop`` are spent."""

    name: str
    tflop: float
    accuracy: float


@dataclass(frozen=True)
class FrontInfo:
    """Every checkpoint of every finished trial, those on the front by rising compute, the baselines, and the ends of
    the trials to mark, each with its origin."""

    points: tuple[Point, ...]
    front: tuple[Point, ...]
    baselines: tuple[BaselineLine, ...]
    marks: tuple[tuple[str, Point], ...]
    n_validation: int

    @property
    def headline(self) -> str:
        """What the figure shows, in words."""
        if not self.front:
            return "No trial has reached a checkpoint."
        first, last = self.front[0], self.front[-1]
        if len(self.front) == 1:
            return f"One checkpoint is the whole front: {last.in_words}."
        return (
            f"{len(self.front):,} of {words.count(len(self.points), 'checkpoint')} are on the front, "
            f"from {first.in_words} to {last.in_words}."
        )


def front_info(rows: Rows) -> FrontInfo:
    """Accuracy versus compute; checkpoints without a finite accuracy (diverged) are left out."""
    points = _points(rows)
    on_front = tuple(points[i] for i in front([p.tflop for p in points], [p.accuracy for p in points]))
    baselines = tuple(
        BaselineLine(row["name"], row["train_flops"] / 1e12, row["val_accuracy"])
        for row in rows.baselines.dropna(subset="val_accuracy").sort_values("val_accuracy").to_dict("records")
    )
    ends = {point.trial: point for point in points if point.last}
    special = {origin: rows.trial_of(origin) for origin in MARKS}
    marks = tuple((o, ends[t["number"]]) for o, t in special.items() if t is not None and t["number"] in ends)
    return FrontInfo(points, on_front, baselines, marks, rows.data["n_validation"])


def front_figure(info: FrontInfo) -> go.Figure:
    """Checkpoints small and pale, ends of trials large (hollow where the trial was stopped), the front as steps."""
    figure = themed_figure()
    axis = AccuracyAxis([*(p.accuracy for p in info.points), *(b.accuracy for b in info.baselines)], info.n_validation)
    costs = [p.tflop for p in info.points] + [b.tflop for b in info.baselines if b.tflop > 0]
    low, high = min(costs, default=0.1) / 1.3, max(costs, default=10.0) * 1.3
    for kind in KINDS:
        mine = [p for p in info.points if p.kind == kind]
        for last in (False, True):
            shown = [p for p in mine if p.last is last]
            if shown:
                figure.add_scatter(
                    x=_rounded(p.tflop for p in shown),
                    y=axis.place(p.accuracy for p in shown),
                    mode="markers",
                    name=kind,
                    legendgroup=kind,
                    showlegend=last,
                    opacity=1 if last else 0.4,
                    marker=_marker(kind, [p.status for p in shown], 10 if last else 6),
                    hovertext=[p.hover for p in shown],
                    hoverinfo="text",
                )
    if info.front:
        figure.add_scatter(
            x=_rounded([*(p.tflop for p in info.front), high]),
            y=axis.place([*(p.accuracy for p in info.front), info.front[-1].accuracy]),
            mode="lines",
            name="front",
            line={"color": INK, "width": 2, "shape": "hv"},
            hoverinfo="skip",
        )
    for i, baseline in enumerate(info.baselines):
        name = words.plotly_text(baseline.name)
        start = max(baseline.tflop, low)
        figure.add_scatter(
            # The middle point carries the name and can be hovered over: a line alone has only its ends.
            x=_rounded([start, math.sqrt(start * high), high]),
            y=axis.place([baseline.accuracy] * 3),
            mode="lines+markers+text",
            name="baselines",
            legendgroup="baselines",
            showlegend=i == 0,
            text=["", name, ""],
            textposition="top center",
            textfont={"size": 12, "color": MUTED},
            line={"color": MUTED, "width": 1.5, "dash": "dot"},
            marker={"symbol": "line-ns-open", "size": [9 if baseline.tflop > 0 else 0, 0, 0], "color": MUTED},
            hovertext=f"baseline {name}: validation accuracy {words.accuracy(baseline.accuracy)}"
            f"<br>{words.number(baseline.tflop)} TFLOP",
            hoverinfo="text",
        )
    for origin, point in info.marks:
        name, symbol = MARKS[origin]
        figure.add_scatter(
            x=_rounded([point.tflop]),
            y=axis.place([point.accuracy]),
            mode="markers",
            name=name,
            marker={"symbol": symbol, "size": 18, "color": INK, "line": {"width": 1.5}},
            hoverinfo="skip",
        )
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    ticks = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
    if len(ticks) > 12:
        ticks = ticks[::3]
    figure.update_xaxes(
        type="log",
        title_text="training compute (TFLOP, log scale)",
        range=[math.log10(low), math.log10(high)],
        tickvals=ticks,
        ticktext=[f"{tick:g}" for tick in ticks],
    )
    axis.apply(figure)
    return figure


# --- learning curves --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CurvesInfo:
    """The checkpoints of each trial in order, and the last ones of those that were stopped."""

    curves: tuple[tuple[Point, ...], ...]
    stopped: tuple[Point, ...]
    n_validation: int

    @property
    def headline(self) -> str:
        """What the figure shows, in words."""
        if not self.curves:
            return "No trial has reached a checkpoint."
        return (
            f"{words.count(len(self.curves), 'learning curve')}, {len(self.stopped) or 'none'} of them stopped early."
        )


def curves_info(rows: Rows) -> CurvesInfo:
    """Validation accuracy by epoch."""
    curves: dict[int, list[Point]] = {}
    for point in _points(rows):
        curves.setdefault(point.trial, []).append(point)
    stopped = tuple(curve[-1] for curve in curves.values() if curve[-1].status != "complete")
    return CurvesInfo(tuple(map(tuple, curves.values())), stopped, rows.data["n_validation"])


def curves_figure(info: CurvesInfo) -> go.Figure:
    """One line a trial, in its strategy's colour; stopped ends crossed."""
    figure = themed_figure()
    axis = AccuracyAxis([p.accuracy for curve in info.curves for p in curve], info.n_validation)
    for kind in KINDS:
        mine = [curve for curve in info.curves if curve[0].kind == kind]
        if mine:
            # One trace for all curves of a strategy, with gaps between them: thousands of traces would be slow.
            x: list[float | None] = []
            y: list[float | None] = []
            hover: list[str] = []
            for curve in mine:
                x += [*(p.epoch for p in curve), None]
                y += [*axis.place(p.accuracy for p in curve), None]
                hover += [*(p.hover for p in curve), ""]
            figure.add_scatter(
                x=x,
                y=y,
                mode="lines+markers",
                name=kind,
                line={"color": COLOURS[kind], "width": 1.2},
                marker={"symbol": MARKERS[kind], "size": 5},
                opacity=0.75,
                hovertext=hover,
                hoverinfo="text",
            )
    if info.stopped:
        figure.add_scatter(
            x=[p.epoch for p in info.stopped],
            y=axis.place(p.accuracy for p in info.stopped),
            mode="markers",
            name="stopped early",
            marker={"symbol": "x-thin", "size": 9, "line": {"width": 2, "color": INK}},
            hovertext=[p.hover for p in info.stopped],
            hoverinfo="text",
        )
    last = max((p.epoch for curve in info.curves for p in curve), default=1)
    figure.update_xaxes(title_text="epoch", range=[0.8, last + 0.2], **_whole_numbers(last))
    axis.apply(figure)
    return figure


# --- accuracy against k -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DepthInfo:
    """The last checkpoint of every trial with its k, and the best pretrained one of each k."""

    points: tuple[tuple[int, Point], ...]
    best: tuple[tuple[int, Point], ...]
    n_validation: int

    @property
    def headline(self) -> str:
        """What the figure shows, in words."""
        if not self.best:
            return "No pretrained trial has reached a checkpoint."
        k, point = max(self.best, key=lambda pair: pair[1].accuracy)
        tried = words.count(len(self.best), "freeze depth")
        return (
            f"Of {tried} tried, k = {k} did best: validation accuracy {words.accuracy(point.accuracy)} "
            f"(trial {point.trial})."
        )


def depth_info(rows: Rows) -> DepthInfo:
    """Validation accuracy at the end of each trial against k, the number of frozen convolutions (0 to 13)."""
    depth = dict(zip(rows.trials["number"], rows.trials["frozen_convs"], strict=True))
    points = tuple((int(depth[p.trial]), p) for p in _points(rows) if p.last)
    best: dict[int, Point] = {}
    for k, point in points:
        if point.kind != "from_scratch" and (k not in best or point.accuracy > best[k].accuracy):
            best[k] = point
    return DepthInfo(points, tuple(sorted(best.items())), rows.data["n_validation"])


def depth_figure(info: DepthInfo) -> go.Figure:
    """One marker a trial over VGG16's blocks; a line joins the best pretrained trial of each k."""
    figure = themed_figure()
    axis = AccuracyAxis([p.accuracy for _, p in info.points], info.n_validation)
    for block, (first, last) in enumerate(VGG16_BLOCKS, start=1):
        figure.add_vrect(
            x0=first - 0.5,
            x1=last + 0.5,
            fillcolor=LINE if block % 2 else PAPER,
            opacity=0.45,
            line_width=0,
            layer="below",
            annotation={"text": f"block {block}", "font": {"size": 10, "color": MUTED}, "yshift": 4},
            annotation_position="bottom",
        )
    for kind in KINDS:
        mine = [(k, p) for k, p in info.points if p.kind == kind]
        # Two strategies share k = 0: they stand beside each other.
        shift = {"fine_tune_all": 0.12, "from_scratch": -0.12}.get(kind, 0.0)
        if mine:
            figure.add_scatter(
                x=[k + shift for k, _ in mine],
                y=axis.place(p.accuracy for _, p in mine),
                mode="markers",
                name=kind,
                marker=_marker(kind, [p.status for _, p in mine], 10),
                hovertext=[p.hover for _, p in mine],
                hoverinfo="text",
            )
    if len(info.best) > 1:
        figure.add_scatter(
            x=[k for k, _ in info.best],
            y=axis.place(p.accuracy for _, p in info.best),
            mode="lines",
            name="best pretrained at each k",
            line={"color": INK, "width": 1.5},
            hoverinfo="skip",
        )
    figure.update_xaxes(
        title_text="k, frozen convolutions of 13",
        range=[-0.6, N_CONVS + 0.6],
        showgrid=False,
        tick0=0,
        dtick=1,
        tickangle=0,
    )
    axis.apply(figure)
    return figure


# --- where the time went ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TimeInfo:
    """Seconds of each group (a strategy, or the baselines) by kind, what was saved, and the same for compute.

    ``spent[kind]`` and the two savings have one value for each of ``groups``. Activations found in the cache count as
    saved, not as spent. The seconds that stopping early saved are an estimate: the FLOPs it saved, at the strategy's
    own seconds a FLOP.
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
        told = [f"{words.seconds(total)} spent, {words.percent(sum(self.spent['train']) / total)} of it training"]
        if any(self.saved_by_cache):
            told.append(f"the feature cache saved {words.seconds(sum(self.saved_by_cache))}")
        if self.saved_flops:
            share = words.percent(self.saved_flops / (self.spent_flops + self.saved_flops))
            seconds = words.seconds(sum(self.saved_by_stopping))
            told.append(f"stopping early saved {words.tflop(self.saved_flops)} ({share} of the plan), about {seconds}")
        return "; ".join(told) + "."


def time_info(rows: Rows) -> TimeInfo:
    """Seconds by kind for each strategy and the baselines, with what the feature cache and stopping early saved."""
    trials = rows.trials
    groups = [(str(kind), trials[trials["strategy"] == kind]) for kind in KINDS]
    groups = [(name, frame) for name, frame in [*groups, ("baselines", rows.baselines)] if not frame.empty]
    spent: dict[str, list[float]] = {kind: [] for kind in KINDS_OF_SECONDS}
    cached, stopped = [], []
    for name, frame in groups:
        for kind in KINDS_OF_SECONDS:
            spent[kind].append(float(frame[f"seconds_{kind}"].sum()))
        cached.append(0.0)
        stopped.append(0.0)
        if name != "baselines":
            cached[-1] = float(frame.loc[frame["features_cached"].astype(bool), "seconds_features"].sum())
            flops = frame["train_flops"].sum()
            rate = (frame["seconds_features"].sum() + frame["seconds_train"].sum()) / flops if flops else 0.0
            stopped[-1] = float(_stopped(frame)["saved_flops"].sum() * rate)
        spent["features"][-1] -= cached[-1]
    return TimeInfo(
        tuple(name for name, _ in groups),
        {kind: tuple(values) for kind, values in spent.items()},
        tuple(cached),
        tuple(stopped),
        float(trials["train_flops"].sum()),
        float(_stopped(trials)["saved_flops"].sum()),
    )


def time_figure(info: TimeInfo) -> go.Figure:
    """Stacked bars, one a strategy: spent solid, saved hatched."""
    figure = themed_figure()
    saved = {
        "saved by the feature cache": info.saved_by_cache,
        "saved by stopping early (estimate)": info.saved_by_stopping,
    }
    bars = [(kind, values, KINDS_OF_SECONDS[kind], "") for kind, values in info.spent.items()]
    bars += [
        (name, values, KINDS_OF_SECONDS["features" if "cache" in name else "train"], "/")
        for name, values in saved.items()
    ]
    for name, values, colour, hatch in bars:
        if any(values):
            figure.add_bar(
                y=info.groups,
                x=_rounded(values),
                name=name,
                orientation="h",
                marker={
                    "color": colour,
                    "line": {"width": 1 if hatch else 0, "color": colour},
                    "pattern": {"shape": hatch, "fillmode": "replace", "solidity": 0.25, "size": 6},
                },
                hovertext=[
                    f"{group}, {name}: {words.seconds(value)}" for group, value in zip(info.groups, values, strict=True)
                ],
                hoverinfo="text",
            )
    figure.update_layout(barmode="stack", bargap=0.35)
    figure.update_xaxes(title_text="seconds")
    figure.update_yaxes(autorange="reversed", showgrid=False, ticksuffix=" ")
    return figure


# --- all of them ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drawing:
    """A figure with its ``id`` (also its name inside optuna-dashboard), title, finding and how to read it.

    ``figure`` is None where there is nothing to draw yet; ``headline`` says so.
    """

    id: str
    title: str
    headline: str
    reading: str
    figure: go.Figure | None


def draw(rows: Rows) -> list[Drawing]:
    """All figures of a study, in the order of the page."""
    front_, curves, depth, time_ = front_info(rows), curves_info(rows), depth_info(rows), time_info(rows)
    return [
        Drawing(
            "accuracy-versus-compute",
            "Accuracy versus compute",
            front_.headline,
            "Pale marks are checkpoints, large marks are where a trial ended (hollow: stopped early). The line is the "
            "front: the best validation accuracy reached for that compute. A baseline's line starts at its own cost. "
            "The accuracy axis is stretched towards 1, so that the difference between 0.97 and 0.98 can be seen.",
            _unless(not front_.points and not front_.baselines, front_figure, front_),
        ),
        Drawing(
            "learning-curves",
            "Learning curves",
            curves.headline,
            "One line is one trial. A cross is where it was stopped; hover over it for the reason.",
            _unless(not curves.curves, curves_figure, curves),
        ),
        Drawing(
            "accuracy-against-k",
            "Accuracy against frozen convolutions",
            depth.headline,
            "k counts the leading convolutions of VGG16 whose ImageNet weights do not move: 13 is feature extraction, "
            "at 0 all of them move. The line joins the best pretrained trial of each k.",
            _unless(not depth.points, depth_figure, depth),
        ),
        Drawing(
            "where-the-time-went",
            "Where the time went",
            time_.headline,
            "Solid is spent, hatched is saved. What stopping early saved is an estimate: its FLOPs at the strategy's "
            "own seconds a FLOP.",
            _unless(not any(map(any, time_.spent.values())), time_figure, time_),
        ),
    ]


def _unless(empty: bool, figure: Callable[[Any], go.Figure], info: Any) -> go.Figure | None:
    return None if empty else figure(info)


def _stopped(trials: Any) -> Any:
    return trials[trials["status"].isin(["pruned", "over_budget"])]


def _points(rows: Rows) -> tuple[Point, ...]:
    trials = {row["number"]: row for row in rows.trials.to_dict("records")}
    usable = rows.checkpoints[rows.checkpoints["val_accuracy"].notna() & (rows.checkpoints["train_flops"] > 0)]
    final = usable.groupby("number")["epoch"].max().to_dict()
    return tuple(
        Point(
            int(row["number"]),
            trials[row["number"]]["strategy"],
            int(row["epoch"]),
            row["train_flops"] / 1e12,
            row["val_accuracy"],
            last := row["epoch"] == final[row["number"]],
            trials[row["number"]]["status"],
            _hover(trials[row["number"]], row, last),
        )
        for row in usable.to_dict("records")
    )


def _hover(trial: dict[Any, Any], checkpoint: dict[Any, Any], last: bool) -> str:
    lines = [
        f"<b>trial {trial['number']}, epoch {checkpoint['epoch']}</b>",
        words.plotly_text(trial["label"]),
        f"validation accuracy {words.accuracy(checkpoint['val_accuracy'])}",
        f"{words.tflop(checkpoint['train_flops'])}, {words.seconds(checkpoint['train_seconds'])} of training",
    ]
    if last and trial["status"] != "complete":
        lines.append(words.plotly_text(f"{trial['status']}: {trial['reason'] or 'no reason recorded'}"))
    return "<br>".join(lines)


def _marker(kind: Kind, statuses: Sequence[str], size: int) -> dict[str, Any]:
    symbols = [MARKERS[kind] if status == "complete" else f"{MARKERS[kind]}-open" for status in statuses]
    return {"symbol": symbols, "size": size, "color": COLOURS[kind], "line": {"width": 1.5, "color": COLOURS[kind]}}


def _rounded(values: Iterable[float]) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def _whole_numbers(last: int) -> dict[str, Any]:
    return {"dtick": 1} if last <= 12 else {"tickformat": "d"}
