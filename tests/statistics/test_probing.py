"""Leave-one-out accuracies of simple classifiers, against slow references."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier

from harness.statistics.probing import NEIGHBOURS, knn_accuracy, linear_accuracy


def clusters(n: int, classes: int, spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draws = np.random.default_rng(seed)
    centres = draws.normal(size=(classes, 12)) * 3
    labels = np.arange(n) % classes
    return (centres[labels] + spread * draws.normal(size=(n, 12))).astype(np.float32), labels


def test_separate_classes_are_told_apart_and_noise_is_not() -> None:
    features, labels = clusters(60, 3, 0.1)
    assert knn_accuracy(features, labels) == linear_accuracy(features, labels) == 1.0
    noise = np.random.default_rng(1).normal(size=(200, 12)).astype(np.float32)
    shuffled = np.random.default_rng(2).integers(0, 2, 200)
    assert 0.3 < knn_accuracy(noise, shuffled) < 0.7
    assert 0.3 < linear_accuracy(noise, shuffled) < 0.7


def test_linear_accuracy_is_that_of_leaving_each_image_out() -> None:
    features, labels = clusters(40, 4, 4.0)
    values = features.astype(np.float64)
    values = (values - values.mean(axis=0)) / values.std(axis=0)
    scaled = np.hstack([values / np.sqrt(values.shape[1]), np.ones((40, 1))])
    best = 0.0
    for power in range(-3, 3):
        correct = 0
        for left_out in range(40):
            rest = np.arange(40) != left_out
            model = Ridge(alpha=10.0**power, fit_intercept=False).fit(scaled[rest], np.eye(4)[labels[rest]])
            correct += model.predict(scaled[[left_out]]).argmax() == labels[left_out]
        best = max(best, correct / 40)
    assert linear_accuracy(features, labels) == pytest.approx(best)


def test_knn_accuracy_counts_the_nearest_others() -> None:
    features, labels = clusters(50, 2, 3.0)
    correct = 0
    for left_out in range(50):
        rest = np.arange(50) != left_out
        model = KNeighborsClassifier(NEIGHBOURS, metric="cosine", weights=lambda away: 2 - away)
        correct += model.fit(features[rest], labels[rest]).predict(features[[left_out]])[0] == labels[left_out]
    assert knn_accuracy(features, labels) == pytest.approx(correct / 50)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 30), st.integers(1, 4), st.integers(0, 99), st.sampled_from([0.0, 1.0]))
def test_any_features_have_an_accuracy(n: int, classes: int, seed: int, scale: float) -> None:
    draws = np.random.default_rng(seed)
    features = (scale * draws.normal(size=(n, 5))).astype(np.float32)
    labels = draws.integers(0, classes, n)
    assert 0 <= knn_accuracy(features, labels) <= 1
    assert 0 <= linear_accuracy(features, labels) <= 1
