"""Compare what a confirmation measured on the held-out test set: from rows to intervals and differences."""

import math
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from harness.analysis import formatting
from harness.analysis.rows import Rows, best_of
from harness.core.results import Candidate
from harness.statistics.comparison import Correct, Difference, Estimate, differences, estimate
from harness.statistics.intervals import gap, wilson_interval


@dataclass(frozen=True)
class Confirmed:
    """The results of a candidate: ``val_accuracy`` and ``search_cost`` are from the search, the rest from its seeds.

    ``test`` is None where a seed has no accuracy; ``trouble`` then says why. ``test_score``, in the study's metric,
    ``cost``, in its measure, FLOPs and measured seconds of training are means over the seeds; ``epochs`` are those of a
    whole training. The differences are those
    to the advice and to the best baseline, None where there is nothing to compare with.
    """

    candidate: Candidate
    val_accuracy: float
    search_cost: float
    test: Estimate | None
    trouble: str
    test_score: float
    cost: float
    train_flops: float
    seconds: float
    epochs: int
    against_advice: Difference | None = None
    against_baseline: Difference | None = None

    @property
    def label(self) -> str:
        """The strategy in words, or the baseline's name."""
        return self.candidate.strategy.label() if self.candidate.strategy else self.candidate.name


@dataclass(frozen=True)
class Confirmation:
    """The last finished opening of the held-out test set; ``number`` counts the openings from 1.

    ``candidates`` are in the order in which they were fixed, the pick of the search first. ``n_compared`` is the number
    of differences that were corrected together for multiple comparisons.
    """

    number: int
    opened_at: datetime
    n_test: int
    n_validation: int
    n_train: int
    seeds: tuple[int, ...]
    candidates: tuple[Confirmed, ...]
    baseline: Confirmed | None
    n_compared: int

    @property
    def pick(self) -> Confirmed:
        """The trial that the search chose by validation score, before the test set was opened."""
        return self.candidates[0]

    @property
    def finalists(self) -> tuple[Confirmed, ...]:
        """The candidates that the search put forward, the pick first."""
        return tuple(c for c in self.candidates if any(role.startswith("finalist") for role in c.candidate.roles))

    def with_role(self, role: str) -> Confirmed | None:
        """Return the candidate with ``role``, if any."""
        return next((c for c in self.candidates if role in c.candidate.roles), None)

    def optimism(self) -> tuple[float, float, float] | None:
        """Return the pick's validation accuracy minus its test accuracy, with its 95 % interval; None without both."""
        val_accuracy, test = self.pick.val_accuracy, self.pick.test
        if test is None:
            return None
        interval = wilson_interval(round(val_accuracy * self.n_validation), self.n_validation)
        return val_accuracy - test.mean, *gap(val_accuracy, interval, test.mean, (test.low, test.high))


def confirmation(rows: Rows) -> Confirmation | None:
    """Return the study's last finished confirmation, None where there is none."""
    if not rows.candidates:
        return None
    opening = rows.openings[rows.openings["finished_at"].notna()].iloc[-1]
    n_test, seeds = int(opening["n_test"]), tuple(opening["seeds"])
    measured = {str(name): rows for name, rows in rows.confirmations.groupby("candidate")}
    correct = {name: hits for name in measured if (hits := _correct(measured[name], seeds, n_test)) is not None}
    # Baselines that ran after the opening were not among its candidates.
    fixed = rows.baselines[rows.baselines["name"].isin([candidate.name for candidate in rows.candidates])]
    best = best_of(fixed, rows.score, rows.cost)
    baseline = best["name"] if best else ""
    advice = next((c.name for c in rows.candidates if "advice" in c.roles), "")
    pairs = [
        (c.name, reference)
        for reference in (advice, baseline)
        for c in rows.candidates
        if c.strategy is not None and c.name != reference and {c.name, reference} <= correct.keys()
    ]
    found = dict(zip(pairs, differences([(correct[a], correct[b]) for a, b in pairs]), strict=True))
    candidates = tuple(
        _confirmed(
            rows, c, measured[c.name], correct.get(c.name), found.get((c.name, advice)), found.get((c.name, baseline))
        )
        for c in rows.candidates
    )
    n_train = int(rows.confirmations["n_train"].iloc[0])
    return Confirmation(
        int(opening["number"]),
        opening["opened_at"],
        n_test,
        int(rows.data["n_validation"]),
        n_train,
        seeds,
        candidates,
        next((c for c in candidates if c.candidate.name == baseline), None),
        len(pairs),
    )


def interval(confirmed: Confirmed) -> str:
    """Return ``0.9712 (95 % 0.962 to 0.979)``, or what went wrong."""
    if confirmed.test is None:
        return confirmed.trouble
    return f"{formatting.accuracy(confirmed.test.mean)} (95 % {confirmed.test.low:.3f} to {confirmed.test.high:.3f})"


def _correct(measured: pd.DataFrame, seeds: tuple[int, ...], n_test: int) -> Correct | None:
    """Return which images each seed classified correctly, (seeds, images); None where a seed has no result."""
    bits = {seed: packed for seed, packed in zip(measured["seed"], measured["correct"], strict=True) if packed}
    if set(bits) != set(seeds):
        return None
    return np.stack([np.unpackbits(np.frombuffer(bits[s], np.uint8), count=n_test).astype(bool) for s in seeds])


def _confirmed(
    rows: Rows,
    candidate: Candidate,
    measured: pd.DataFrame,
    correct: Correct | None,
    against_advice: Difference | None,
    against_baseline: Difference | None,
) -> Confirmed:
    if candidate.trial is not None:
        searched = rows.trials[rows.trials["number"] == candidate.trial]
    else:
        searched = rows.baselines[rows.baselines["name"] == candidate.name]
    failed = measured[measured["status"] != "complete"]
    trouble = ""
    if correct is None:
        first = failed.iloc[0]
        trouble = f"{first['status']} with {len(failed)} of {len(measured)} seeds: {first['reason']}".replace("_", " ")
    return Confirmed(
        candidate=candidate,
        val_accuracy=float(searched["val_accuracy"].iloc[0]) if len(searched) else math.nan,
        search_cost=float(searched[rows.cost.spent].iloc[0]) if len(searched) else math.nan,
        test=None if correct is None else estimate(correct),
        trouble=trouble,
        test_score=float(measured[f"test_{rows.metric}"].mean()),
        cost=float(measured[rows.cost.spent].mean()),
        train_flops=float(measured["train_flops"].mean()),
        seconds=float(measured[["seconds_features", "seconds_train"]].sum(axis=1).mean()),
        epochs=(candidate.strategy.planned_epochs if candidate.strategy else 0) or rows.spec["budget"]["epochs"],
        against_advice=against_advice,
        against_baseline=against_baseline,
    )
