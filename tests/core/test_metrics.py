"""Scores against scikit-learn on random labels, and class weights."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from harness.core.metrics import Scores
from harness.core.results import METRICS
from harness.training.baselines import run_baseline
from harness.training.problem import Problem

pairs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60)


@given(pairs)
@pytest.mark.filterwarnings("ignore:y_pred contains classes", "ignore:A single label was found")
def test_scores_equal_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    labels, predicted = zip(*pairs, strict=True)
    scores = Scores.of(labels, predicted)
    assert scores.accuracy == pytest.approx(accuracy_score(labels, predicted))
    assert scores.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert scores.macro_f1 == pytest.approx(f1_score(labels, predicted, average="macro", zero_division=0))


def test_the_most_common_class_scores_high_by_accuracy_only() -> None:
    labels = np.repeat([0, 1], [95, 5])
    assert Scores.of(labels, np.zeros(100, int)).columns() == pytest.approx(
        {"val_accuracy": 0.95, "val_balanced_accuracy": 0.5, "val_macro_f1": 0.95 / 1.95}
    )


def test_every_baseline_has_every_score(tiny_problem: Problem) -> None:
    result = run_baseline("majority", tiny_problem, seed=0)
    assert result.val_balanced_accuracy == pytest.approx(1 / 3)
    assert result.val_macro_f1 == pytest.approx((2 * 16 / (16 + 48)) / 3)
    for name in ("mlp", "linear_probe"):
        found = run_baseline(name, tiny_problem, seed=0)  # type: ignore[arg-type]
        assert all(found.score(metric) is not None for metric in METRICS)
        assert found.predictions is not None and len(found.predictions) == 48
        assert found.predictions.log_loss() == found.val_loss
    assert result.predictions is not None and result.predictions.true_probability.tolist() == pytest.approx(
        [1 / 3] * 48
    )


def test_class_weights_balance_the_classes(tiny_problem: Problem, tmp_path: Path) -> None:
    assert tiny_problem._weights() is None
    few = np.r_[np.repeat(0, 80), np.repeat(1, 12), np.repeat(2, 4)]
    tiny_problem.split.train.labels[:] = few
    spec = tiny_problem.spec.model_copy(update={"class_weights": True})
    weights = Problem(spec, *list(vars(tiny_problem).values())[1:])._weights()
    assert weights is not None and weights.mean() == pytest.approx(1)
    assert [weights[few == label].sum() for label in range(3)] == pytest.approx([32] * 3)
