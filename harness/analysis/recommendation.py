"""Recommend what to use, once the search's pick is confirmed."""

import math
from dataclasses import dataclass

import pandas as pd

from harness.analysis import formatting
from harness.analysis.confirmed import Confirmation, Confirmed, confirmation, interval
from harness.analysis.rows import Rows
from harness.core.results import METRIC_NAMES
from harness.statistics.comparison import METHOD, Difference
from harness.statistics.pareto import best_at

BASELINE_WORDS = {
    "linear_probe": "the linear probe",
    "cnn": "the CNN",
    "mlp": "the MLP",
    "majority": "predicting the most frequent class",
}


@dataclass(frozen=True)
class Budget:
    """The best for another budget: the study's ``score``, on the validation set, for ``cost``, in its measure.

    It was measured by ``trial``, or is a forecast where that is None.
    """

    cost: float
    score: float
    trial: int | None


@dataclass(frozen=True)
class Recommendation:
    """What to use, in ``sentences``, and what ``half`` and ``double`` the compute would give, None where unknown.

    ``better_than_baseline``: the pick is significantly more accurate than the best baseline, and ahead by the study's
    metric too.
    """

    confirmed: Confirmation
    better_than_baseline: bool
    half: Budget | None
    double: Budget | None
    sentences: tuple[str, ...]


def recommend(rows: Rows) -> Recommendation | None:
    """Return the recommendation from the last finished confirmation, None where there is none."""
    found = confirmation(rows)
    if found is None:
        return None
    better = _better(rows, found)
    half, double = _half(rows, found.pick), _double(rows, found.pick)
    sentences = (
        _use(rows, found, better),
        *_against_advice(found),
        *_cheaper(found),
        *_optimism(found),
        *_by_metric(rows, found),
        *_budgets(rows, half, double),
        _how(found),
    )
    return Recommendation(found, better, half, double, sentences)


def _better(rows: Rows, found: Confirmation) -> bool:
    against = found.pick.against_baseline
    more_accurate = against is not None and against.significant and against.mean > 0
    return more_accurate and (rows.metric == "accuracy" or _ahead(found))


def _ahead(found: Confirmation) -> bool:
    """Return whether the pick's score is above that of the best baseline, if there are both."""
    return found.baseline is not None and found.pick.test_score > found.baseline.test_score


def _use(rows: Rows, found: Confirmation, better: bool) -> str:
    pick, baseline = found.pick, found.baseline
    name = f"{pick.label} ({pick.candidate.name})"
    if pick.test is None:
        return f"Not confirmed: {name}, the search's pick, {pick.trouble}."
    cost = f"{formatting.tflop(pick.train_flops)} and {formatting.seconds(pick.seconds)} of training"
    epochs = formatting.count(pick.epochs, "epoch")
    measured = f"expect a test accuracy of {interval(pick)} for {cost} ({epochs} on {found.n_train:,} images)"
    if baseline is None or baseline.test is None or pick.against_baseline is None:
        return f"Use {name}: {measured}."
    known = BASELINE_WORDS.get(baseline.candidate.name, baseline.candidate.name)
    difference = versus(pick.against_baseline)
    its = f"{interval(baseline)}, {rows.cost.in_words(baseline.cost)}"
    if better if rows.metric == "accuracy" else _ahead(found):
        return f"Use {name}: {measured}. Compared with the best baseline, {known} ({its}): {difference}."
    return f"Use {known} ({its}): the search's pick is no better. {name}: {measured}, {difference}."


def _against_advice(found: Confirmation) -> list[str]:
    pick, advice = found.pick, found.with_role("advice")
    if advice is None:
        return ["The search did not try the advice, so there is nothing to compare with."]
    if advice is pick:
        return ["This is what the advice says."]
    if advice.test is None or pick.against_advice is None:
        return [f"The advice ({advice.label}) {advice.trouble or 'cannot be compared'}."]
    ratio = pick.cost / advice.cost
    return [
        f"Compared with the advice ({advice.label}, {interval(advice)}): {versus(pick.against_advice)}, for "
        f"{formatting.percent(ratio) + ' of' if ratio < 1 else f'{formatting.number(ratio)} times'} its compute."
    ]


def _cheaper(found: Confirmation) -> list[str]:
    if found.pick.test is None:
        return []
    cheaper = [c for c in found.finalists[1:] if c.test is not None]
    text = "; ".join(
        f"{c.label} ({c.candidate.name}) {interval(c)} for "
        f"{formatting.percent(c.cost / found.pick.cost)} of the compute"
        for c in cheaper
    )
    return [f"Cheaper finalists: {text}."] if text else []


def _optimism(found: Confirmation) -> list[str]:
    gap = found.optimism()
    if gap is None or found.pick.test is None:
        return []
    mean, low, high = gap
    return [
        f"Optimism: the search showed a validation accuracy of {formatting.accuracy(found.pick.val_accuracy)} for its "
        f"pick, the held-out test set confirms {formatting.accuracy(found.pick.test.mean)}: "
        f"{formatting.points(mean)} {'less' if mean >= 0 else 'more'} (95 % {_range(-high, -low)}; the confirmed "
        "networks were also trained on the validation set)."
    ]


def _by_metric(rows: Rows, found: Confirmation) -> list[str]:
    if rows.metric == "accuracy" or math.isnan(found.pick.test_score):
        return []
    reached = [f"the pick reached {formatting.accuracy(found.pick.test_score)}"]
    for name, other in (("the best baseline", found.baseline), ("the advice", found.with_role("advice"))):
        if other is not None and other is not found.pick and other.test is not None:
            reached.append(f"{name} {formatting.accuracy(other.test_score)}")
    return [
        f"The study is judged by {METRIC_NAMES[rows.metric]}: on the held-out test set {', '.join(reached)}. The "
        "differences above, their intervals and p values are of accuracy."
    ]


def _budgets(rows: Rows, half: Budget | None, double: Budget | None) -> list[str]:
    parts = []
    if half is not None:
        parts.append(
            f"half the compute gave a {rows.score_name} of {formatting.accuracy(half.score)} at best "
            f"(trial {half.trial}, {rows.cost.in_words(half.cost)})"
        )
    if double is not None and double.trial is not None:
        parts.append(
            f"of the trials that cost more, up to double, the best reached {formatting.accuracy(double.score)} "
            f"(trial {double.trial}, {rows.cost.in_words(double.cost)})"
        )
    elif double is not None:
        parts.append(
            f"double the compute is forecast to give {formatting.accuracy(double.score)}, if the error keeps falling "
            "as it did from half the compute to this; no trial cost that much"
        )
    return [f"Another budget: {'; '.join(parts)}."] if parts else []


def _how(found: Confirmation) -> str:
    again = (
        f" The held-out test set has been opened {found.number} times: a choice made after seeing its results is "
        "biased."
    )
    return (
        f"Measured on {formatting.count(found.n_test, 'test image')} with "
        f"{formatting.count(len(found.seeds), 'fresh seed')}, trained on the training and validation sets. Intervals "
        f"hold for other seeds and other images. Compared by {METHOD} over "
        f"{formatting.count(found.n_compared, 'comparison')}.{again if found.number > 1 else ''}"
    )


def versus(difference: Difference) -> str:
    """Return ``1.2 points more (95 % 0.4 to 2.0 points, p = 0.012)``, or that there is no significant difference."""
    how = f"95 % {_range(difference.low, difference.high)}, p {formatting.p_value(difference.adjusted)}"
    if not difference.significant:
        return f"no significant difference ({difference.mean * 100:+.2f} points, {how})"
    return f"{formatting.points(difference.mean)} {'more' if difference.mean > 0 else 'less'} ({how})"


def _range(low: float, high: float) -> str:
    return f"{low * 100:+.2f} to {high * 100:+.2f} points"


def _half(rows: Rows, pick: Confirmed) -> Budget | None:
    """Return the best of all checkpoints within half the compute that the pick took in the search."""
    within = rows.checkpoints[rows.checkpoints[rows.cost.spent] <= pick.search_cost / 2]
    return _best(rows, within.dropna(subset=rows.score))


def _double(rows: Rows, pick: Confirmed) -> Budget | None:
    """Return the best complete trial that cost more, up to double.

    Where the search had none, forecast it: the error falls again by the factor by which it fell from half the compute
    to this (a power law, as in Hestness et al. 2017).
    """
    trials, cost = rows.trials[rows.trials["status"] == "complete"], pick.search_cost
    more_expensive = trials[(trials[rows.cost.spent] > cost) & (trials[rows.cost.spent] <= 2 * cost)]
    if len(more_expensive):
        return _best(rows, more_expensive)
    costs, scores = rows.checkpoints[rows.cost.spent].tolist(), rows.checkpoints[rows.score].tolist()
    before, now = (best_at(costs, scores, within) for within in (cost / 2, cost))
    if not 0 <= before < 1:
        return None
    return Budget(2 * cost, 1 - (1 - now) ** 2 / (1 - before), None)


def _best(rows: Rows, frame: pd.DataFrame) -> Budget | None:
    if frame.empty:
        return None
    best = frame.sort_values([rows.score, rows.cost.spent], ascending=[False, True]).iloc[0]
    return Budget(float(best[rows.cost.spent]), float(best[rows.score]), int(best["number"]))
