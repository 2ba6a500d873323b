"""What additions to plain training are worth, and whether the best rate depends on similarity."""

import json

import numpy as np
import pytest

from benchmarks import additions, rates
from tests.conftest import ROOT


def row(dataset: str, seed: int, addition: str, accuracy: float | None, flops: float = 1e9) -> dict[str, object]:
    return {
        "dataset": dataset, "seed": seed, "addition": addition, "val_accuracy": accuracy, "train_flops": flops,
    }  # fmt: skip


def test_an_addition_is_compared_with_the_same_seed_of_its_base() -> None:
    recorded = [
        row("a", 0, "plain", 0.5), row("a", 1, "plain", 0.6), row("a", 0, "averaging 0.3", 0.55),
        row("a", 1, "averaging 0.3", None), row("a", 2, "averaging 0.3", 0.9), row("b", 0, "plain, all stages", 0.3),
        row("b", 0, "mixup 0.2", 0.4, 2e9), row("b", 0, "averaging 0.3", 0.4),
    ]  # fmt: skip
    found = additions.differences(recorded)
    assert found["averaging 0.3"]["a"] == pytest.approx([5, -60]), "one that diverged has no accuracy, and one no base"
    assert found["mixup 0.2"] == {"b": pytest.approx([10])} and set(found) == {"averaging 0.3", "mixup 0.2"}
    assert "| mixup 0.2 |  | +10.0 | +10.0 | × 2.00 |" in additions.table(recorded)


def test_the_best_rate_is_the_peak_between_those_tried() -> None:
    middle = np.log(6e-4)
    recorded = []
    for rate in rates.RATES:
        odds = 2 - (np.log(rate) - middle) ** 2
        recorded.append({"dataset": "a", "rate": rate, "n_validation": 10**6, "val_accuracy": 1 / (1 + np.exp(-odds))})
        recorded.append({"dataset": "b", "rate": rate, "n_validation": 100, "val_accuracy": 0.5 + 20 * rate})
    found = rates.best_rates([*recorded, {**recorded[0], "dataset": "c"}])
    assert found == {"a": pytest.approx(6e-4, rel=1e-3), "b": pytest.approx(rates.RATES[-1])}, "c lacks rates"


def test_documents_hold_what_was_recorded() -> None:
    text = (ROOT / "docs" / "notes" / "refinements.md").read_text(encoding="utf-8")
    assert additions.table(additions.rows()) in text
    known = json.loads(rates.SETS.read_text(encoding="utf-8"))
    best = rates.best_rates(rates.rows())
    names = sorted(best)
    found = rates.correlation(np.array([known[name]["distance"] for name in names]), np.array([best[n] for n in names]))
    assert "rank correlation {:+.2f} (95 % {:+.2f} to {:+.2f})".format(*found) in text and len(names) == len(known)
