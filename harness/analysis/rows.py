"""Read the rows of a study, once, so that all figures and texts show the same moment."""

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from harness.analysis.verdicts import Found
from harness.core.cost import FLOPS, CostMeasure
from harness.core.results import METRIC_NAMES, Candidate, Metric
from harness.core.spec import AdviceSpec
from harness.core.strategy import Strategy
from harness.statistics.pareto import front
from harness.statistics.similarity import Similarity
from harness.storage.store import Store
from harness.storage.studies import StudyRow

Whose = Literal["best", "advice", "baseline"]
"""Whose predictions are shown class by class: the best complete trial's, the advice's, the best baseline's."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a study: size and similarity of its data, the advice, the best trial and that of the advice.

    ``n_images`` are training images; from ``large_at`` on they count as large. ``similarity`` is the measured one
    to ImageNet, None where it was declared; data count as similar below a distance of ``similar_below``. ``best`` and
    ``advised`` (the advice's own trial) are rows of ``trial_summary``, None where there is no score. ``score`` is the
    column that they are judged by.
    """

    study: str
    dataset: str
    n_images: int
    similar: bool
    similarity_source: str
    similarity: Similarity | None
    large_at: int
    similar_below: float
    scenario: int
    best: dict[str, Any] | None
    advised: dict[str, Any] | None
    score: str

    @property
    def regret(self) -> float:
        """The best score found minus the score of the advice; NaN where one is missing."""
        if self.best is None or self.advised is None:
            return math.nan
        return float(self.best[self.score] - self.advised[self.score])

    @classmethod
    def of(cls, study: StudyRow, trials: pd.DataFrame) -> "Outcome":
        """Return the outcome of a study with these finished trials."""
        profile, score = study.data["profile"], f"val_{study.metric}"
        measured = profile.get("similarity")  # studies of an older harness declared it
        boundaries = AdviceSpec(**study.spec["advice"])
        return cls(
            study.name,
            study.data["dataset"],
            profile["n_images"],
            profile["similar"],
            profile["similarity_source"],
            None if measured is None else Similarity(**measured),
            boundaries.large_at,
            boundaries.similar_below,
            study.advice["scenario"],
            best_of(trials, score, study.cost),
            best_of(trials[trials["origin"] == "advice"], score, study.cost),
            score,
        )


@dataclass(frozen=True)
class Rows:
    """One study as stored.

    ``spec``, ``data``, ``advice``, ``metric`` and ``cost`` are as in ``StudyRow``. ``trials`` are the finished ones,
    with ``label`` (the strategy in words) added, and ``checkpoints`` are theirs, both in order. FLOPs are FLOPs, not
    TFLOP. ``outcome`` is the study's, ``others`` those of the other studies in the same database, and ``atlas`` the
    results of the small searches of an atlas in it. ``openings`` are all openings of the held-out test set;
    ``candidates`` and ``confirmations`` are those of the last finished one. ``predictions`` are those of
    `compared_classes` for the validation images.
    """

    name: str
    spec: dict[str, Any]
    data: dict[str, Any]
    advice: dict[str, Any]
    metric: Metric
    cost: CostMeasure
    trials: pd.DataFrame
    checkpoints: pd.DataFrame
    baselines: pd.DataFrame
    outcome: Outcome
    others: tuple[Outcome, ...]
    openings: pd.DataFrame
    candidates: tuple[Candidate, ...]
    confirmations: pd.DataFrame
    atlas: tuple[Found, ...] = ()
    predictions: pd.DataFrame = field(default_factory=lambda: pd.DataFrame({"name": []}))

    @classmethod
    def read(cls, store: Store, study_name: str) -> "Rows":
        """Read the study. Raises SpecError where the store has none of that name, naming the nearest."""
        study = store.studies.get(study_name)
        trials = store.trials.frame(study_name)
        # Checkpoints second: those that a running trial adds in between belong to no finished trial and are left out.
        checkpoints = store.trials.checkpoints(study_name)
        cells = _atlas_cells(store)
        names = [name for name in store.studies.names() if name != study_name and name not in cells]
        others = [
            Outcome.of(row, store.trials.frame(name)) for name in names if (row := store.studies.find(name)) is not None
        ]
        openings, confirmations = store.confirmations.openings(study_name), store.confirmations.frame(study_name)
        finished = openings.loc[openings["finished_at"].notna(), "number"]
        last = int(finished.iloc[-1]) if len(finished) else 0
        rows = cls(
            study_name,
            study.spec,
            study.data,
            study.advice,
            study.metric,
            study.cost,
            trials.assign(label=[Strategy.from_row(row).label() for row in trials.to_dict("records")]),
            checkpoints[checkpoints["number"].isin(trials["number"])],
            store.baselines.frame(study_name),
            Outcome.of(study, trials),
            tuple(others),
            openings,
            tuple(store.confirmations.candidates(study_name, last)),
            confirmations[confirmations["opening"] == last],
            tuple(found for name, row in cells.items() if name != study_name for found in _found(row, store)),
        )
        compared = list(rows.compared_classes().values())
        return replace(rows, predictions=store.predictions.frame(study_name, compared))

    @property
    def score(self) -> str:
        """The column of ``trials``, ``checkpoints`` and ``baselines`` that the study is judged by."""
        return f"val_{self.metric}"

    @property
    def score_name(self) -> str:
        """The same in words: ``validation accuracy``."""
        return f"validation {METRIC_NAMES[self.metric]}"

    @property
    def cost_in_words(self) -> str:
        """What the study trades its score against, in a sentence."""
        if self.cost is FLOPS:
            return "Compute is the floating-point operations of training."
        rates = self.data.get("rates")
        if rates is None:
            return "Compute is seconds of training at rates of this machine that have not been measured yet."
        backbones = " and ".join(rates["backbones"])
        return (
            f"Compute is seconds of training, predicted from how fast {rates['device']} ran {backbones} in "
            f"{rates['precision']} when the study began: FLOPs do not compare different networks."
        )

    @property
    def backbones(self) -> tuple[str, ...]:
        """The names of the backbones that were searched."""
        return tuple(b if isinstance(b, str) else b["name"] for b in self.spec["search"]["backbones"])

    @property
    def sizes(self) -> str:
        """The image sizes that were searched, in words: ``64 px``, ``64 to 224 px``."""
        declared = self.spec["search"]["image_size"]
        first, *_, last = [declared, declared] if isinstance(declared, int) else [declared[0], *declared]
        return f"{first} px" if first == last else f"{first} to {last} px"

    def best(self) -> dict[str, Any] | None:
        """Return the trial with the highest score, the cheapest of equals; None where no trial has one."""
        return best_of(self.trials, self.score, self.cost)

    def front(self) -> pd.DataFrame:
        """Return the checkpoints on the Pareto front, the cheapest first, each with its trial's label."""
        points = self.checkpoints.merge(self.trials[["number", "label"]], on="number")
        return points.iloc[front(points[self.cost.spent].tolist(), points[self.score].tolist())]

    def best_baseline(self) -> dict[str, Any] | None:
        """Return the baseline with the highest score, if any has one."""
        return best_of(self.baselines, self.score, self.cost)

    def compared_classes(self) -> dict[Whose, str]:
        """Return whose classes are shown, and its name: ``trial 3``, a baseline's."""
        complete = self.trials[self.trials["status"] == "complete"]
        advice = complete[complete["origin"] == "advice"]
        best, advised = (best_of(frame, self.score, self.cost) for frame in (complete, advice))
        baseline = self.best_baseline()
        found: dict[Whose, str] = {} if best is None else {"best": f"trial {best['number']}"}
        found |= {} if advised is None else {"advice": f"trial {advised['number']}"}
        return found | ({} if baseline is None else {"baseline": baseline["name"]})

    def trial_of(self, origin: str) -> dict[str, Any] | None:
        """Return the finished trial of that origin (advice, league, a recipe), if any."""
        return _first(self.trials[self.trials["origin"] == origin])


def atlas_trials(store: Store, atlas: str) -> list[Found]:
    """Return the results of the finished trials of that atlas, cell by cell."""
    cells = _atlas_cells(store).values()
    return [found for row in cells if row.data["atlas"]["name"] == atlas for found in _found(row, store)]


def _atlas_cells(store: Store) -> dict[str, StudyRow]:
    """Return the studies that are cells of an atlas, by name."""
    rows = {name: store.studies.find(name) for name in store.studies.names()}
    return {name: row for name, row in rows.items() if row is not None and "atlas" in row.data}


def _found(cell: StudyRow, store: Store) -> list[Found]:
    where, similarity = cell.data["atlas"], cell.data["profile"]["similarity"]
    scores = {score["k"]: score for score in cell.data.get("layer_scores", [])}
    return [
        Found(
            cell.data["dataset"],
            where["size"],
            where["seed"],
            similarity["distance"],
            similarity["error"],
            trial["strategy"],
            trial["frozen"],
            trial["learning_rate"],
            trial["val_accuracy"],
            trial["train_flops"],
            trial["epochs"],
            cell.data["n_validation"],
            scores.get(trial["frozen"], {}).get("logme"),
            scores.get(trial["frozen"], {}).get("h_score"),
        )
        for trial in store.trials.frame(cell.name).dropna(subset="val_accuracy").to_dict("records")
    ]


def stopped(trials: pd.DataFrame) -> pd.DataFrame:
    """Return those of ``trials`` that the search stopped, before or while they ran."""
    return trials[trials["status"].isin(["pruned", "over_budget"])]


def training_seconds(frame: pd.DataFrame) -> pd.Series:
    """Return the seconds of features and training of each row: at the study's rates where it has them, else measured.

    ``frame`` are trials, checkpoints, baselines or confirmations.
    """
    measured = (
        frame["train_seconds"] if "train_seconds" in frame else frame["seconds_features"] + frame["seconds_train"]
    )
    return frame["rated_seconds"].fillna(measured)


def best_of(frame: pd.DataFrame, score: str, cost: CostMeasure) -> dict[str, Any] | None:
    """Return the row of the highest ``score`` (a column), the cheapest of equals; None where no row has one."""
    scores, costs = (frame[name].to_numpy(float) for name in (score, cost.spent))
    order = np.lexsort((costs, -scores))  # unknown scores are last; to sort a frame of fifty columns takes longer
    return _first(frame.iloc[order[:1]]) if len(order) and not math.isnan(scores[order[0]]) else None


def _first(frame: pd.DataFrame) -> dict[str, Any] | None:
    row = frame.head(1).to_dict("list")
    return {str(key): value for key, (value,) in row.items()} if len(frame) else None
