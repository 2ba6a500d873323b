"""What a page is drawn from: one study's rows, read once so that all figures show the same moment."""

import difflib
import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.errors import SpecError
from harness.results import METRIC_NAMES, Metric
from harness.store import Store, StudyRow
from harness.strategy import Strategy


@dataclass(frozen=True)
class Outcome:
    """How a study came out: its data as the four scenarios see them, the advice, and the trials that matter.

    ``n_images`` are training images, ``large_at`` the boundary above which they count as many. ``best`` and
    ``advised`` (the advice's own trial) are rows of ``trial_summary``, None where there is no score; ``score`` is the
    column that they are judged by.
    """

    study: str
    dataset: str
    n_images: int
    similar: bool
    similarity_source: str
    large_at: int
    scenario: int
    best: dict[str, Any] | None
    advised: dict[str, Any] | None
    score: str

    @property
    def regret(self) -> float:
        """The score that following the advice costs: best found minus the advice's; NaN where one is missing."""
        if self.best is None or self.advised is None:
            return math.nan
        return float(self.best[self.score] - self.advised[self.score])

    @classmethod
    def of(cls, study: StudyRow, trials: pd.DataFrame) -> "Outcome":
        """From a study and its finished trials."""
        profile, score = study.data["profile"], f"val_{study.metric}"
        return cls(
            study.name,
            study.data["dataset"],
            profile["n_images"],
            profile["similar"],
            profile["similarity_source"],
            study.spec["advice"]["large_at"],
            study.advice["scenario"],
            _best(trials, score),
            _best(trials[trials["origin"] == "advice"], score),
            score,
        )


@dataclass(frozen=True)
class Rows:
    """One study as stored.

    ``spec``, ``data``, ``advice`` and ``metric`` are as in ``StudyRow``. ``trials`` are the finished ones, with
    ``label`` (the strategy in words) added, and ``checkpoints`` are theirs, both in order. FLOPs are FLOPs, not TFLOP.
    ``outcome`` is the study's, ``others`` those of the other studies in the same database.
    """

    name: str
    spec: dict[str, Any]
    data: dict[str, Any]
    advice: dict[str, Any]
    metric: Metric
    trials: pd.DataFrame
    checkpoints: pd.DataFrame
    baselines: pd.DataFrame
    outcome: Outcome
    others: tuple[Outcome, ...]

    @classmethod
    def read(cls, store: Store, study_name: str) -> "Rows":
        """Read the study. Raises SpecError where the store has none of that name, naming the nearest."""
        study = store.study(study_name)
        if study is None:
            raise SpecError(_unknown(study_name, store.study_names()))
        trials = store.trials(study_name)
        # Checkpoints second: what a running trial adds in between belongs to no finished trial and is left out.
        checkpoints = store.checkpoints(study_name)
        names = [name for name in store.study_names() if name != study_name]
        others = [Outcome.of(row, store.trials(name)) for name in names if (row := store.study(name)) is not None]
        return cls(
            study_name,
            study.spec,
            study.data,
            study.advice,
            study.metric,
            trials.assign(label=[Strategy.from_row(row).label() for row in trials.to_dict("records")]),
            checkpoints[checkpoints["number"].isin(trials["number"])],
            store.baselines(study_name),
            Outcome.of(study, trials),
            tuple(others),
        )

    @property
    def score(self) -> str:
        """The column of ``trials``, ``checkpoints`` and ``baselines`` that the study is judged by."""
        return f"val_{self.metric}"

    @property
    def score_name(self) -> str:
        """The same in words: ``validation accuracy``."""
        return f"validation {METRIC_NAMES[self.metric]}"

    def best(self) -> dict[str, Any] | None:
        """The trial of the highest score, the cheaper one of equals; None where no trial has any."""
        return _best(self.trials, self.score)

    def best_baseline(self) -> dict[str, Any] | None:
        """The baseline of the highest score, if any ended with one."""
        return _best(self.baselines, self.score)

    def trial_of(self, origin: str) -> dict[str, Any] | None:
        """The finished trial of that origin (advice, recipe_extractor, recipe_partial), if any."""
        return _first(self.trials[self.trials["origin"] == origin])


def stopped(trials: pd.DataFrame) -> pd.DataFrame:
    """Those of ``trials`` that were given up, before or while they ran."""
    return trials[trials["status"].isin(["pruned", "over_budget"])]


def _best(frame: pd.DataFrame, score: str) -> dict[str, Any] | None:
    scored = frame.dropna(subset=score)
    return _first(scored.sort_values([score, "train_flops"], ascending=[False, True]))


def _first(frame: pd.DataFrame) -> dict[str, Any] | None:
    return None if frame.empty else {str(key): value for key, value in frame.iloc[0].items()}


def _unknown(name: str, known: list[str]) -> str:
    if not known:
        return f"there is no study {name!r}: this database holds none yet; `python -m harness.run --study …` makes one"
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f": did you mean {close[0]!r}?" if close else "."
    return f"there is no study {name!r} in this database{hint} It holds: {', '.join(known)}"
