"""Turn a recommendation into a study whose first and only trial is the recommended strategy."""

from dataclasses import asdict
from typing import Any

from harness.analysis.recommendation import Recommendation
from harness.analysis.rows import Rows
from harness.core.cost import FLOPS


def recommended_study(rows: Rows, advised: Recommendation) -> dict[str, Any]:
    """Return the spec of the study that was searched, on the same data and budget, with the recommendation in it.

    `harness run` on it trains the recommended strategy; with more trials it goes on searching from there.
    """
    pick = advised.confirmed.pick
    assert pick.candidate.strategy is not None  # a finalist is a trial
    figures: dict[str, Any] = {
        "of_study": rows.name,
        "opening": advised.confirmed.number,
        "text": list(advised.sentences),
        "epochs": pick.epochs,
        "train_images": advised.confirmed.n_train,
        "train_tflop": pick.train_flops / 1e12,
        "train_seconds": pick.seconds,
        **({} if rows.cost is FLOPS else {"rated_seconds": pick.cost}),
        "better_than_best_baseline": advised.better_than_baseline,
    }
    if pick.test is not None:
        figures |= {"expected_accuracy": pick.test.mean, "expected_accuracy_95": [pick.test.low, pick.test.high]}
    for name, difference in (("advice", pick.against_advice), ("best_baseline", pick.against_baseline)):
        if difference is not None:
            figures |= {
                f"accuracy_over_{name}": difference.mean,
                f"accuracy_over_{name}_95": [difference.low, difference.high],
                f"accuracy_over_{name}_p": difference.adjusted,
            }
    for name, budget in (("half_budget", advised.half), ("double_budget", advised.double)):
        if budget is not None:
            kind = "forecast" if budget.trial is None else "measured"
            cost = {"tflop": budget.cost / 1e12} if rows.cost is FLOPS else {"rated_seconds": budget.cost}
            figures[name] = {**cost, rows.score: budget.score, "by": kind}
    return rows.spec | {
        "name": f"{rows.name[:180]}-recommended",
        "description": f"what the search {rows.name} recommends",
        "budget": rows.spec["budget"] | {"trials": 1},
        "recommendation": {"strategy": asdict(pick.candidate.strategy), "figures": figures},
    }
