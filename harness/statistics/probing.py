"""Leave-one-out accuracies of simple classifiers on given features: what a data set's features are worth."""

import numpy as np
from numpy.typing import NDArray

NEIGHBOURS = 5
_RIDGES = tuple(10.0**power for power in range(-3, 3))
"""Ridge weights that are tried, per image and relative to the features' variance."""


def knn_accuracy(features: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the share of images whose class has most of the cosine similarity of their `NEIGHBOURS` nearest others.

    Args:
        features: (n, d), n of 2 or more.
        labels: (n,), classes from 0.
    """
    return float(np.mean(knn_correct(features, features, labels)))


def knn_correct(
    queries: NDArray[np.float32], features: NDArray[np.float32], labels: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return for each of ``queries`` (n, d) whether its class has most of the similarity of its nearest ``features``
    (n, d), those of the same row left out."""
    similarity = _unit(queries) @ _unit(features).T
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, : min(NEIGHBOURS, len(labels) - 1)]
    votes = np.zeros((len(labels), int(labels.max()) + 1))
    rows = np.arange(len(labels))
    for column in nearest.T:
        votes[rows, labels[column]] += similarity[rows, column] + 1  # from 0 to 2
    correct: NDArray[np.bool_] = votes.argmax(axis=1) == labels
    return correct


def _unit(features: NDArray[np.float32]) -> NDArray[np.float64]:
    values = np.asarray(features, np.float64)
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.where(norms > 0, norms, 1.0)


def linear_accuracy(features: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the leave-one-out accuracy of ridge regression on the classes' indicators, with the best of a few ridge
    weights.

    With S the inverse of the kernel matrix plus the ridge, the residual of an image that is left out is (S y)_i / S_ii:
    no model is fitted twice. Features are standardized, and a constant is added.

    Args:
        features: (n, d), n of 2 or more.
        labels: (n,), classes from 0.
    """
    values = np.asarray(features, np.float64)
    values = values - values.mean(axis=0)
    deviation = values.std(axis=0)
    values = values[:, deviation > 0] / deviation[deviation > 0]
    targets = np.eye(int(labels.max()) + 1)[labels]
    kernel = values @ values.T / max(1, values.shape[1]) + 1.0
    eigenvalues, vectors = np.linalg.eigh(kernel)
    rotated = vectors.T @ targets
    best = 0.0
    for ridge in _RIDGES:
        inverse = 1 / (np.maximum(eigenvalues, 0.0) + ridge)
        residuals = (vectors * inverse) @ rotated / ((vectors**2) @ inverse)[:, None]
        best = max(best, float(np.mean((targets - residuals).argmax(axis=1) == labels)))
    return best
