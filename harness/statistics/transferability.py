"""Transferability scores: how well features fit labels, without training on them."""

import math

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf

_MAX_ITERATIONS = 100  # of LogME's fixed point, which converges in a few

Floats = NDArray[np.float32] | NDArray[np.float64]


def logme(features: Floats, labels: NDArray[np.int64]) -> float:
    """Return LogME (You et al. 2021) of ``features`` (n, d) for ``labels`` (n,); higher is better.

    It is the maximum log evidence of a Bayesian linear model of each class's indicator, per image, averaged over the
    classes. The precisions of the weights (alpha) and of the noise (beta) follow MacKay's fixed point. It is computed
    from the singular values of the features, so that no (d, d) matrix is inverted. It is NaN if all features are zero.
    """
    values = np.asarray(features, np.float64)
    if not values.any():
        return math.nan
    n, d = values.shape
    left, singular, _ = np.linalg.svd(values, full_matrices=False)
    squares = singular**2
    evidences = []
    for label in np.unique(labels):
        target = (labels == label).astype(np.float64)
        projected = (left.T @ target) ** 2
        rest = float(target @ target - projected.sum())  # residual that no weights can explain
        alpha = beta = 1.0
        for _ in range(_MAX_ITERATIONS):
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
    """Return the H-score (Bao et al. 2019) of ``features`` (n, d) for ``labels`` (n,); higher is better.

    It is the trace of the inverse covariance of the features times the covariance of their class means. Covariances are
    shrunk (Ledoit and Wolf 2004) as in Ibrahim et al. 2021: with fewer images than features the plain score is the
    number of classes minus one, whatever the features. It is NaN if the covariance is singular all the same, as that of
    images that are all alike.
    """
    values = np.asarray(features, np.float64)
    values = values - values.mean(axis=0)
    covariance, shrinkage = ledoit_wolf(values, assume_centered=True)
    means = np.empty_like(values)
    for label in np.unique(labels):
        means[labels == label] = values[labels == label].mean(axis=0)
    between = means.T @ means / len(values)
    try:
        return float(np.trace(np.linalg.solve(covariance, (1 - shrinkage) * between)))
    except np.linalg.LinAlgError:
        return math.nan
