"""Summarise a study in plain words: the best trial and its cost, compared with advice, recipes and baselines."""

import math
from dataclasses import dataclass
from typing import Any

from harness.analysis import formatting
from harness.analysis.confirmed import confirmation, interval
from harness.analysis.rows import Rows, stopped
from harness.core.results import STATUSES
from harness.core.strategy import Strategy
from harness.statistics.intervals import gap, wilson_interval
from harness.statistics.pareto import front

NEARLY = 0.01
"""A trial within one point of the best counts as nearly as good."""


@dataclass(frozen=True)
class Fact:
    """One large number of the page's head: ``label``, ``value``, and a ``note`` below it."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class Summary:
    """The head of the page: ``facts`` in large type, then ``sentences``. Plain text: escape it for a page."""

    facts: tuple[Fact, ...]
    sentences: tuple[str, ...]


def summarise(rows: Rows) -> Summary:
    """Return what a reader with one minute has to know."""
    best = rows.best()
    if best is None:
        nothing = f"No trial has a {rows.score_name} yet: there is nothing to recommend."
        return Summary(_facts(rows, best), (nothing, _how_many(rows), *_reasons(rows)))
    sentences = (
        *_best(rows, best),
        *_confirmed(rows),
        *_cheaper(rows, best),
        _against_advice(rows, best),
        *_against_league(rows, best),
        *_recipes(rows),
        _against_baselines(rows, best),
        _how_many(rows),
    )
    return Summary(_facts(rows, best), sentences)


def _facts(rows: Rows, best: dict[str, Any] | None) -> tuple[Fact, ...]:
    planned = f"of {rows.spec['budget']['trials']:,} planned"
    trials = Fact("Trials", f"{len(rows.trials):,}", planned)
    if best is None:
        return (Fact(f"Best {rows.score_name}", "–", "no trial has one"), trials)
    facts = [
        Fact(f"Best {rows.score_name}", formatting.accuracy(best[rows.score]), f"trial {best['number']}"),
        Fact(
            "Its training cost",
            rows.cost.in_words(best[rows.cost.spent]),
            f"{_took(rows, best)} in all",
        ),
    ]
    advice, baseline = rows.trial_of("advice"), rows.best_baseline()
    if advice is not None:
        facts.append(Fact("The advice reached", formatting.accuracy(advice[rows.score]), _cost_or_status(rows, advice)))
    if baseline is not None:
        facts.append(Fact("Best baseline", formatting.accuracy(baseline[rows.score]), baseline["name"]))
    found = confirmation(rows)
    if found is not None and found.pick.test is not None:
        test = found.pick.test
        facts.append(
            Fact(
                "Confirmed test accuracy",
                formatting.accuracy(test.mean),
                f"of the pick, 95 % {test.low:.3f} to {test.high:.3f}",
            )
        )
    return (*facts, trials)


def _confirmed(rows: Rows) -> list[str]:
    found = confirmation(rows)
    return [] if found is None else [f"Confirmed on the held-out test set: {found.pick.label} {interval(found.pick)}."]


def _best(rows: Rows, best: dict[str, Any]) -> tuple[str, str]:
    n, score = rows.data["n_validation"], best[rows.score]
    early = "" if best["status"] == "complete" else f", although it ended as {_spaced(best['status'])}"
    trial = (
        f"{best['label']} (trial {best['number']}): {rows.score_name} {_reached(rows, best)} of training and "
        f"{_took(rows, best)}{early}."
    )
    baseline = rows.best_baseline()
    use = f"Use {trial}"
    if baseline is not None and baseline[rows.score] >= score:
        use = f"Use the baseline {baseline['name']}, which no trial beats. The best trial is {trial}"
    if rows.metric == "accuracy":
        low, high = wilson_interval(round(score * n), n)
        measured = f"{n:,} validation images give a 95 % interval of {low:.3f} to {high:.3f}"
    else:
        measured = f"it was measured on {n:,} validation images, few of them for some classes"
    return use, f"Uncertainty: {measured}; the score of the best of many trials is biased upwards."


def _cheaper(rows: Rows, best: dict[str, Any]) -> list[str]:
    scored = rows.trials.dropna(subset=rows.score).reset_index(drop=True)
    on_front = scored.iloc[front(scored[rows.cost.spent].tolist(), scored[rows.score].tolist())]
    cheapest = on_front[on_front[rows.score] >= best[rows.score] - NEARLY].iloc[0]
    if cheapest["number"] == best["number"]:
        return []
    share = cheapest[rows.cost.spent] / best[rows.cost.spent]
    return [
        f"Nearly as good for less: {cheapest['label']} (trial {cheapest['number']}) reached "
        f"{_reached(rows, cheapest)}, {formatting.percent(share)} of the compute."
    ]


def _against_advice(rows: Rows, best: dict[str, Any]) -> str:
    trial = rows.trial_of("advice")
    strategy = rows.advice["strategy"] if trial is None else trial["label"]  # a time limit may make its images smaller
    advice = f"The advice (scenario {rows.advice['scenario']}: {strategy})"
    return f"{advice} has not been run yet." if trial is None else _against(rows, best, advice, trial)


def _against_league(rows: Rows, best: dict[str, Any]) -> list[str]:
    trial = rows.trial_of("league")
    if trial is None:
        return []
    constant = Strategy.from_row(trial).place()
    return [_against(rows, best, f"What was best on other data sets (harness advise: {constant})", trial)]


def _against(rows: Rows, best: dict[str, Any], advice: str, trial: dict[str, Any]) -> str:
    """Return how the trial of an advice compares with the best."""
    if math.isnan(trial[rows.score]):
        return f"{advice} has no {rows.score_name}: its trial {_cost_or_status(rows, trial)}."
    if trial["number"] == best["number"]:
        return f"{advice} did best: no trial of the search beat it."
    gain = best[rows.score] - trial[rows.score]
    found = f"{formatting.points(gain)} more{_interval(rows, best, trial)}" if gain else "the same"
    ratio = best[rows.cost.spent] / trial[rows.cost.spent]
    compute = f"{formatting.percent(ratio)} of" if ratio < 1 else f"{formatting.number(ratio)} times"
    return f"{advice} reached {_reached(rows, trial)}: the search found {found} for {compute} its compute."


def _interval(rows: Rows, best: dict[str, Any], advised: dict[str, Any]) -> str:
    """Return the 95 % interval of the regret; nothing for a score other than accuracy.

    It takes the accuracies as measured on different images (`harness.statistics.comparison.gap`). Both were measured on
    the same ones, which makes the true interval narrower, and the best was chosen by them, which moves it down.
    """
    if rows.score != "val_accuracy":
        return ""
    n = rows.data["n_validation"]
    one, two = (trial["val_accuracy"] for trial in (best, advised))
    low, high = gap(one, wilson_interval(round(one * n), n), two, wilson_interval(round(two * n), n))
    return f" (95 %: {100 * low:+.1f} to {100 * high:+.1f})"


def _recipes(rows: Rows) -> list[str]:
    names = {
        "recipe_extractor": "the article's extractor", "recipe_partial": "its partial freezing",
        "recipe_keras": "Keras's guide", "recipe_fastai": "fastai",
    }  # fmt: skip
    run = {name: trial for origin, name in names.items() if (trial := rows.trial_of(origin)) is not None}
    results = [
        f"{name} {_cost_or_status(rows, trial) if math.isnan(trial[rows.score]) else _reached(rows, trial)}"
        for name, trial in run.items()
    ]
    return [f"Recipes: {'; '.join(results)}."] if results else []


def _against_baselines(rows: Rows, best: dict[str, Any]) -> str:
    baseline = rows.best_baseline()
    if baseline is None:
        return "No baseline has finished."
    gain = best[rows.score] - baseline[rows.score]
    than = f"the best baseline, {baseline['name']} ({_reached(rows, baseline)})"
    if gain > 0:
        return f"The best trial is {formatting.points(gain)} above {than}."
    return f"The best trial is no better than {than}: for this budget the search found nothing worth its cost."


def _how_many(rows: Rows) -> str:
    trials = rows.trials
    if trials.empty:
        return "No trial has ended."
    counts = trials["status"].value_counts()
    split = ", ".join(f"{counts[status]:,} {_spaced(status)}" for status in STATUSES if status in counts)
    saved = stopped(trials)[rows.cost.saved].sum()
    early = f"; stopping early saved {rows.cost.in_words(saved)}" if saved else ""
    spent = rows.cost.in_words(trials[rows.cost.spent].sum())
    return f"{formatting.count(len(trials), 'trial')} ended ({split}) for {spent} of training{early}."


def _reasons(rows: Rows) -> list[str]:
    given = rows.trials.loc[rows.trials["reason"] != "", "reason"].value_counts()
    if given.empty:
        return []
    return [f"Most frequent reason: {given.index[0]} ({formatting.count(int(given.iloc[0]), 'trial')})."]


def _reached(rows: Rows, row: Any) -> str:
    return f"{formatting.accuracy(row[rows.score])} for {rows.cost.in_words(row[rows.cost.spent])}"


def _took(rows: Rows, trial: dict[str, Any]) -> str:
    """Return the measured seconds of a trial, called so where its cost is in seconds too."""
    measured = formatting.seconds(trial["seconds_total"])
    return f"{measured} measured" if rows.cost.unit == "seconds" else measured


def _cost_or_status(rows: Rows, trial: dict[str, Any]) -> str:
    if not math.isnan(trial[rows.score]):
        return rows.cost.in_words(trial[rows.cost.spent])
    return f"ended as {_spaced(trial['status'])}" + (f" ({trial['reason']})" if trial["reason"] else "")


def _spaced(status: str) -> str:
    return status.replace("_", " ")
