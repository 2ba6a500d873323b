"""The checkpoints of a study as points, and what the figures that draw them share."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from dashboards.theme import BACKBONE_MARKERS, COLOURS, MARKERS
from harness.analysis import formatting
from harness.analysis.rows import Rows, training_seconds
from harness.core.strategy import Kind
from harness.statistics.intervals import wilson_interval

Unit = Literal["TFLOP", "seconds"]
"""The unit of compute: analytic training FLOPs, or seconds of features and training, at the study's rates where it has
them, else as measured."""
UNITS: tuple[Unit, ...] = ("TFLOP", "seconds")
COST_TITLES: dict[Unit, str] = {"TFLOP": "training TFLOP", "seconds": "seconds of features and training"}

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Trial:
    """A finished trial as figures show it: its strategy in words (``label``), its planned epochs, how it ended.

    ``backbones`` are those of its study.
    """

    number: int
    kind: Kind
    k: int
    label: str
    dropout: float
    status: str
    reason: str
    epochs: int
    n_validation: int
    score_name: str
    image_size: int
    backbone: str
    backbones: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """A checkpoint of ``trial``: the cost so far, the validation score, whether it is the ``last`` one."""

    trial: Trial
    epoch: int
    flops: float
    seconds: float
    score: float
    last: bool

    def cost(self, unit: Unit) -> float:
        """Return the cost so far, in ``unit``."""
        return self.flops / 1e12 if unit == "TFLOP" else self.seconds

    def in_words(self, unit: Unit) -> str:
        """Return score and cost: ``0.9740 for 3.21 TFLOP``."""
        return f"{formatting.accuracy(self.score)} for {cost_in_words(self.cost(unit), unit)}"

    @property
    def hover(self) -> str:
        """The hover text, in Plotly's subset of HTML."""
        trial, n = self.trial, self.trial.n_validation
        interval = ""
        if trial.score_name == "validation accuracy":  # the other scores are no shares of images
            low, high = wilson_interval(round(self.score * n), n)
            interval = f" (95 %: {low:.3f} to {high:.3f})"
        lines = [
            f"<b>trial {trial.number}, epoch {self.epoch} of {trial.epochs}</b>",
            formatting.plotly_text(trial.label),
            f"k = {trial.k}, dropout {trial.dropout:.2g}",
            f"{trial.score_name} {formatting.accuracy(self.score)}{interval}",
            f"{formatting.tflop(self.flops)}, {formatting.seconds_of_training(self.seconds)} of features and training",
        ]
        if self.last and trial.status != "complete":
            lines.append(formatting.plotly_text(f"{trial.status}: {trial.reason or 'no reason recorded'}"))
        return "<br>".join(lines)


def trials(rows: Rows) -> dict[int, Trial]:
    """Return the finished trials by number."""
    n, backbones, of_budget = int(rows.data["n_validation"]), rows.backbones, int(rows.spec["budget"]["epochs"])
    columns = [
        "number", "strategy", "frozen", "label", "dropout", "status", "reason", "planned_epochs", "image_size",
        "backbone",
    ]  # fmt: skip
    values = zip(*(rows.trials[name].tolist() for name in columns), strict=True)
    return {
        number: Trial(
            number,
            kind,
            k,
            label,
            dropout,
            status,
            reason,
            planned or of_budget,
            n,
            rows.score_name,
            size,
            backbone,
            backbones,
        )
        for number, kind, k, label, dropout, status, reason, planned, size, backbone in values
    }


def points(rows: Rows) -> tuple[Point, ...]:
    """Return the checkpoints of the finished trials, in order, without those that lack a finite score or any cost."""
    of = trials(rows)
    frame = rows.checkpoints
    frame = frame.assign(seconds=training_seconds(frame))
    usable = frame[frame[rows.score].notna() & (frame["train_flops"] > 0) & (frame["seconds"] > 0)]
    last = ~usable["number"].duplicated(keep="last")
    columns = ["number", "epoch", "train_flops", "seconds", rows.score]
    values = zip(*(usable[name].tolist() for name in columns), last.tolist(), strict=True)
    return tuple(Point(of[number], *rest) for number, *rest in values)


def thinned(items: Sequence[_Item], most: int, keep: Collection[_Item] = ()) -> list[_Item]:
    """Return at most ``most`` of ``items``, in their order and evenly spread; those in ``keep`` are always in it."""
    if len(items) <= most:
        return list(items)
    kept = {id(item) for item in keep}
    rest = [item for item in items if id(item) not in kept]
    room = max(most - len(kept), 0)
    chosen = {id(rest[i * len(rest) // room]) for i in range(room)} if room else set()
    return [item for item in items if id(item) in kept or id(item) in chosen]


def drawn_of(drawn: int, there: int, noun: str) -> str:
    """Return a sentence for the headline where not everything is drawn, else nothing."""
    return "" if drawn == there else f" Drawn: {drawn:,} of {formatting.count(there, noun)}."


def filtered_by(trials: Iterable[Trial]) -> list[str] | None:
    """Return the backbone of each point of a trace, for the page's filter; None where the study has only one."""
    found = list(trials)
    return [trial.backbone for trial in found] if found and len(found[0].backbones) > 1 else None


def symbol_of(trial: Trial) -> str:
    """Return the marker of a trial: its strategy's, or its backbone's where the study has several."""
    if len(trial.backbones) == 1:
        return MARKERS[trial.kind]
    return BACKBONE_MARKERS[trial.backbones.index(trial.backbone) % len(BACKBONE_MARKERS)]


def markers(kind: Kind, trials: Iterable[Trial], size: int) -> dict[str, Any]:
    """Return the strategy's marker (see `symbol_of`), hollow where a trial did not complete."""
    symbols = [symbol_of(trial) if trial.status == "complete" else f"{symbol_of(trial)}-open" for trial in trials]
    return {"symbol": symbols, "size": size, "color": COLOURS[kind], "line": {"width": 1.5, "color": COLOURS[kind]}}


def rounded(values: Iterable[float]) -> list[float]:
    """Round to six significant digits: more would only make the page larger."""
    return [float(f"{value:.6g}") for value in values]


def cost_in_words(cost: float, unit: Unit) -> str:
    """Return ``3.21 TFLOP`` or ``1 min 20 s``."""
    return formatting.tflop(cost * 1e12) if unit == "TFLOP" else formatting.seconds_of_training(cost)
