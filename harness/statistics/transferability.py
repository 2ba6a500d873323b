"""Transferability scores: how well features suit labels, without training on them."""

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf

_ROUNDS = 100  # of LogME's fixed point, which converges in a few

Floats = NDArray[np.float32] | NDArray[np.float64]


def logme(features: Floats, labels: NDArray[np.int64]) -> float:
    """LogME (You et al. 2021): the largest log evidence of a Bayesian linear model of each class's indicator, an image
    and a class. Higher is better; ``features`` (n, d), ``labels`` (n,).

    The weights' precision alpha and the noise's precision beta follow MacKay's fixed point from the singular values of
    the features, so that no (d, d) matrix is inverted.
    """
    values = np.asarray(features, np.float64)
    n, d = values.shape
    left, singular, _ = np.linalg.svd(values, full_matrices=False)
    squares = singular**2
    evidences = []
    for label in np.unique(labels):
        target = (labels == label).astype(np.float64)
        projected = (left.T @ target) ** 2
        rest = float(target @ target - projected.sum())  # what no weights can explain
        alpha = beta = 1.0
        for _ in range(_ROUNDS):
            shrunk = alpha + beta * squares
            effective = float((beta * squares / shrunk).sum())
            weights = float((beta**2 * squares * projected / shrunk**2).sum())
            residual = rest + float((alpha**2 * projected / shrunk**2).sum())
            before = alpha / beta
            alpha, beta = effective / max(weights, 1e-12), (n - effective) / max(residual, 1e-12)
            if abs(alpha / beta - before) <= 1e-3 * before:
                break
        shrunk = alpha + beta * squares
        weights = float((beta**2 * squares * projected / shrunk**2).sum())
        residual = rest + float((alpha**2 * projected / shrunk**2).sum())
        determinant = float(np.log(shrunk).sum()) + (d - len(squares)) * np.log(alpha)
        evidence = d * np.log(alpha) + n * np.log(beta) - beta * residual - alpha * weights - determinant
        evidences.append((evidence - n * np.log(2 * np.pi)) / (2 * n))
    return float(np.mean(evidences))


def h_score(features: Floats, labels: NDArray[np.int64]) -> float:
    """H-score (Bao et al. 2019): the trace of the inverse covariance of the features times that of their class means.

    Covariances are shrunk (Ledoit and Wolf 2004) as Ibrahim et al. 2021 do: with fewer images than features the plain
    score is the number of classes less one whatever the features.
    """
    values = np.asarray(features, np.float64)
    values = values - values.mean(axis=0)
    covariance, shrinkage = ledoit_wolf(values, assume_centered=True)
    means = np.empty_like(values)
    for label in np.unique(labels):
        means[labels == label] = values[labels == label].mean(axis=0)
    between = means.T @ means / len(values)
    return float(np.trace(np.linalg.solve(covariance, (1 - shrinkage) * between)))
