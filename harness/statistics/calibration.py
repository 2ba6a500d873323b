"""Temperature scaling: one number that makes probabilities as high as the share that is right (Guo et al. 2017)."""

from dataclasses import dataclass
from math import exp, log

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

_BINS = 15
_BOUNDS = (log(0.05), log(20.0))
_THRESHOLDS = 101


@dataclass(frozen=True, slots=True)
class Rejection:
    """Where images with a probability below ``threshold`` are rejected: their share, and the accuracy on the others,
    None where none is left."""

    threshold: float
    rejected: float
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """A temperature, and what it does on the ``n`` images that it was fitted to.

    ``loss`` is the log loss in nats, ``error`` the expected calibration error in 15 bins of equal width; each before
    and after. ``rejections`` are for thresholds from 0 to 1 in steps of 0.01, after.
    """

    temperature: float
    n: int
    loss: tuple[float, float]
    error: tuple[float, float]
    rejections: tuple[Rejection, ...]

    @classmethod
    def fit(cls, logits: NDArray[np.float64], labels: NDArray[np.int64]) -> "Calibration":
        """Fit the temperature that minimizes the log loss of ``logits`` (n, classes) / temperature."""
        found = minimize_scalar(lambda power: log_loss(logits / exp(power), labels), bounds=_BOUNDS, method="bounded")
        temperature = exp(float(found.x))
        if log_loss(logits / temperature, labels) > log_loss(logits, labels):  # by the optimizer's tolerance
            temperature = 1.0
        both = (logits, logits / temperature)
        probability, right = _confidence(logits / temperature, labels)
        rejections = []
        for threshold in np.linspace(0, 1, _THRESHOLDS):
            kept = probability >= threshold
            accuracy = float(right[kept].mean()) if kept.any() else None
            rejections.append(Rejection(round(float(threshold), 2), float(np.mean(~kept)), accuracy))
        loss_before, loss_after = (log_loss(each, labels) for each in both)
        error_before, error_after = (calibration_error(*_confidence(each, labels)) for each in both)
        return cls(temperature, len(labels), (loss_before, loss_after), (error_before, error_after), tuple(rejections))


def log_loss(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the mean cross-entropy in nats."""
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


def calibration_error(probability: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return the mean distance between the probability (n,) of the predicted class and the share that is right, in bins
    of equal width."""
    bins = np.minimum((probability * _BINS).astype(np.int64), _BINS - 1)
    difference = np.bincount(bins, weights=probability - right, minlength=_BINS)
    return float(np.abs(difference).sum() / len(probability))


def _confidence(
    logits: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    return np.exp(log_softmax(logits, axis=1).max(axis=1)), logits.argmax(axis=1) == labels
