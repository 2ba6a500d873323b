"""What is said of searches on sets that were kept out of the league's rows."""

import json
from types import SimpleNamespace
from typing import Any, cast

import pandas as pd
import pytest

from benchmarks.league import kept_out, started
from benchmarks.record import RESULTS
from harness.analysis.rows import Rows
from tests.conftest import ROOT


def way(expected: float, found: float) -> dict[str, Any]:
    return {"expected": expected, "low": expected - 0.1, "high": expected + 0.1, "found": found}


def test_intervals_that_hold_are_counted_and_errors_keep_their_sign() -> None:
    said = kept_out.inside([way(0.5, 0.55), way(0.5, 0.65), way(0.9, 0.85)])
    assert said == "2 of 3 intervals hold; found minus expected +5.0 points on the mean, 8.3 without the sign"


def study(*trials: tuple[float, float]) -> Rows:
    """A study of trials with one checkpoint each: TFLOP and accuracy."""
    frame = pd.DataFrame(trials, columns=["train_flops", "val_accuracy"]).assign(number=range(len(trials)))
    frame["train_flops"] *= 1e12
    data = {"profile": {"class_sizes": [5, 5]}, "n_train": 10}
    best = {"val_accuracy": frame["val_accuracy"].max()}
    return cast(Rows, SimpleNamespace(checkpoints=frame, trials=frame, data=data, best=lambda: best))


def test_compute_counts_until_a_search_is_as_good_as_the_better_one() -> None:
    found = started.compared({"planned": study((1, 0.6), (2, 0.9), (10, 0.7)), "without": study((2, 0.9), (10, 0.7))})
    assert found["planned"]["tflop_until"] == pytest.approx(3) and found["planned"]["tflop"] == pytest.approx(13)
    assert found["without"]["tflop_until"] is None and found["without"]["best"] == 0.9
    assert "| a | 3.0, 13.0 | 0.900 | never, 12.0 | 0.900 |" in started.table({"a": found})


@pytest.mark.parametrize(
    ("name", "made", "of"), [("kept_out", kept_out.table, "sets"), ("started", started.table, "sets")]
)
def test_the_document_holds_what_was_measured(name: str, made: Any, of: str) -> None:
    measured = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    assert made(measured[of]) in (ROOT / "docs" / "guidance.md").read_text(encoding="utf-8")
