"""Confident learning on predictions whose wrong labels are known."""

import numpy as np

from harness.statistics.confident_learning import joint, judge


def predictions(n: int = 300, n_classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities that favour the true class, and the true classes."""
    draws = np.random.default_rng(seed)
    truth = draws.integers(n_classes, size=n)
    logits = draws.normal(size=(n, n_classes))
    logits[np.arange(n), truth] += 3
    values = np.exp(logits)
    return values / values.sum(axis=1, keepdims=True), truth


def test_wrong_labels_come_first_with_their_true_class() -> None:
    probabilities, truth = predictions()
    labels = truth.copy()
    wrong = np.arange(0, 300, 30)
    labels[wrong] = (labels[wrong] + 1) % 3
    found = judge(probabilities, labels)
    top = found.ranked()[:10]
    assert np.isin(top, wrong).sum() >= 9
    assert (found.suggested[top] == truth[top]).mean() >= 0.9
    assert found.suspect[top].sum() >= 8 and (found.suggested != labels).all()
    assert 8 / 300 <= found.wrong_share < 0.1 and np.isclose(found.wrong_share, found.suspect.mean())


def test_the_joint_of_the_authors_thresholds() -> None:
    """A class counts from the mean probability of its own images on, not only where it is the most probable one."""
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.6, 0.4], [0.7, 0.3], [0.55, 0.45]])
    labels = np.array([0, 0, 1, 1, 1, 0])
    # The thresholds are 0.75 and 0.3667: of label 0 two are confidently 0 and one is 1; of label 1 two are 1.
    assert np.allclose(joint(probabilities, labels), [[2 / 6, 1 / 6], [0, 3 / 6]])
    found = judge(probabilities, labels)
    assert np.flatnonzero(found.suspect).tolist() == [5] and found.wrong_share == 1 / 6
    assert found.suggested.tolist() == [1, 1, 0, 0, 0, 1]


def test_a_class_without_images_or_confident_ones() -> None:
    probabilities, truth = predictions(n_classes=3)
    found = joint(probabilities, np.minimum(truth, 1))
    assert np.isfinite(found).all() and found[2].sum() == found[:, 2].sum() == 0
    assert np.isclose(found.sum(), 1)
    unsure = np.array([[0.4, 0.6], [0.6, 0.4], [0.0, 1.0]])
    assert not judge(unsure, np.array([0, 0, 1])).suspect[2]
