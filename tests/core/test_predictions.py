"""What follows from predictions, against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score, top_k_accuracy_score

from harness.core.predictions import Predictions


@given(seed=st.integers(0, 2**32 - 1), n_classes=st.sampled_from([2, 3, 10, 11, 60]))
def test_figures_equal_those_of_scikit_learn(seed: int, n_classes: int) -> None:
    draw = np.random.default_rng(seed)
    labels = np.r_[0, 1, draw.integers(n_classes, size=40)]
    logits = draw.normal(scale=3, size=(len(labels), n_classes)).astype(np.float32)
    found = Predictions.join([Predictions.of(logits[:17], labels[:17]), Predictions.of(logits[17:], labels[17:])])
    probabilities = np.exp(logits.astype(np.float64))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    classes = range(n_classes)
    assert found.predicted.tolist() == probabilities.argmax(axis=1).tolist()
    assert found.probability.tolist() == pytest.approx(probabilities.max(axis=1).tolist(), rel=1e-5)
    assert found.true_probability.tolist() == pytest.approx(probabilities[np.arange(42), labels].tolist(), rel=1e-5)
    assert found.log_loss() == pytest.approx(log_loss(labels, probabilities, labels=classes), rel=1e-5)
    top5 = top_k_accuracy_score(labels, logits, k=5, labels=classes) if n_classes > 10 else None
    assert found.top5_accuracy() == top5
    assert found.auroc() == (pytest.approx(roc_auc_score(labels, probabilities[:, 1])) if n_classes == 2 else None)


def test_of_equal_classes_the_first_ones_come_first() -> None:
    found = Predictions.of(np.zeros((11, 11)), np.arange(11))
    assert found.predicted.tolist() == [0] * 11 and found.rank.tolist() == list(range(11))
    assert found.top5_accuracy() == pytest.approx(5 / 11)
    assert Predictions.of(np.zeros((4, 2)), np.array([0, 1, 1, 0])).auroc() == 0.5
    assert Predictions.of(np.zeros((4, 2)), np.zeros(4, int)).auroc() is None, "one class alone has no ROC curve"


def test_a_class_of_probability_zero() -> None:
    found = Predictions.of(np.array([[0.0, -np.inf]]), np.array([1]))
    assert (found.probability.tolist(), found.true_probability.tolist(), found.log_loss()) == ([1.0], [0.0], np.inf)
