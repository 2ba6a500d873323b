"""Which strategies and baselines a confirmation trains again, chosen by validation figures alone."""

from dataclasses import replace

import pandas as pd

from harness.core.cost import CostMeasure
from harness.core.errors import SpecError
from harness.core.results import Candidate, Metric
from harness.core.strategy import RECIPE_NAMES, Strategy
from harness.statistics.intervals import wilson_interval
from harness.statistics.pareto import front

SPECIAL = ("advice", *RECIPE_NAMES)
"""Origins of trials that are confirmed however they did."""


def candidates(
    trials: pd.DataFrame,
    baselines: pd.DataFrame,
    metric: Metric,
    cost: CostMeasure,
    n_validation: int,
    finalists: int,
) -> list[Candidate]:
    """Return the finalists, the best first, then the advice, the article's recipes and every baseline of the search.

    Finalists are complete trials on the front of validation ``metric`` and ``cost``: the best one, and the next ones
    whose score lies in its 95 % interval on ``n_validation`` images, ``finalists`` in all at most. A strategy that has
    several of these roles is listed once, with all of them.

    Raises:
        SpecError: no trial is complete.
    """
    score = f"val_{metric}"
    complete = trials[trials["status"] == "complete"].dropna(subset=score)
    if complete.empty:
        raise SpecError("no trial of the study is complete: there is nothing to confirm, run more trials first")
    best_first = complete.iloc[front(complete[cost.spent].tolist(), complete[score].tolist())[::-1]]
    best = best_first[score].iloc[0]
    least, _ = wilson_interval(round(best * n_validation), n_validation)
    chosen = best_first[best_first[score] >= least][:finalists]

    wanted = [(f"finalist {rank}", row) for rank, row in enumerate(chosen.to_dict("records"), start=1)]
    wanted += [(row["origin"], row) for row in trials[trials["origin"].isin(SPECIAL)].to_dict("records")]
    found: dict[Strategy, Candidate] = {}
    for role, row in wanted:
        strategy = Strategy.from_row(row)
        if strategy in found:
            found[strategy] = replace(found[strategy], roles=(*found[strategy].roles, role))
        else:
            found[strategy] = Candidate(f"trial {row['number']}", (role,), strategy, row["number"])
    return [*found.values(), *(Candidate(name, ("baseline",)) for name in baselines["name"])]
