"""LogME and H-score against direct implementations of their formulas."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.covariance import ledoit_wolf

from harness.statistics.transferability import h_score, logme


def made(n: int, d: int, strength: float) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(n) % 3
    features = np.random.default_rng(1).normal(size=(n, d))
    features[:, :3] += strength * np.eye(3)[labels]
    return features, labels


@pytest.mark.parametrize(("n", "d"), [(60, 5), (20, 30)])
def test_logme_is_the_largest_log_evidence(n: int, d: int) -> None:
    features, labels = made(n, d, 1.5)

    def evidence(log: np.ndarray, target: np.ndarray) -> float:
        # y ~ N(0, I / beta + F Fᵀ / alpha), by the definition of the model
        covariance = np.eye(n) / np.exp(log[1]) + features @ features.T / np.exp(log[0])
        _, determinant = np.linalg.slogdet(covariance)
        return float(-0.5 * (n * np.log(2 * np.pi) + determinant + target @ np.linalg.solve(covariance, target)))

    slow = []
    for label in range(3):
        target = (labels == label).astype(float)
        best = minimize(lambda log, target=target: -evidence(log, target), [1.0, 1.0], method="Nelder-Mead")
        slow.append(-best.fun / n)
    assert logme(features, labels) == pytest.approx(np.mean(slow), abs=2e-3)


def test_h_score_is_the_trace_of_the_shrunk_covariances() -> None:
    features, labels = made(40, 6, 1.0)
    centred = features - features.mean(axis=0)
    covariance, shrinkage = ledoit_wolf(centred)
    means = np.stack([centred[labels == label].mean(axis=0) for label in labels])
    slow = np.trace(np.linalg.inv(covariance) @ ((1 - shrinkage) * np.cov(means.T, ddof=0)))
    assert h_score(features, labels) == pytest.approx(slow)


@pytest.mark.parametrize("score", [logme, h_score])
@pytest.mark.parametrize("d", [8, 200])
def test_features_that_separate_the_classes_score_higher(score: object, d: int) -> None:
    found = [score(*made(90, d, strength)) for strength in (0.0, 2.0, 6.0)]  # type: ignore[operator]
    assert found == sorted(found) and found[2] > found[0]


def test_images_that_are_all_alike_have_no_score() -> None:
    labels = np.arange(6) % 2
    assert np.isnan(h_score(np.ones((6, 4)), labels)) and np.isfinite(logme(np.ones((6, 4)), labels))
    assert np.isnan(h_score(np.zeros((6, 4)), labels)) and np.isnan(logme(np.zeros((6, 4)), labels))
