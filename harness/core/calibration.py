"""Temperature scaling: one number that makes probabilities as high as the share that is right (Guo et al. 2017)."""

from dataclasses import dataclass
from math import exp, log, sqrt
from typing import Self

import numpy as np
from numpy.typing import NDArray

BINS = 10
"""Bins of equal width that the calibration error is computed in; a probability on an edge is in the lower one."""
_BOUNDS = (log(0.05), log(20.0))
_THRESHOLDS = 101
_FOLDS = 5


@dataclass(frozen=True, slots=True)
class Rejection:
    """Where images with a probability below ``threshold`` are rejected: their share, and the accuracy on the others,
    None where none is left."""

    threshold: float
    rejected: float
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """A temperature, and what it does on the n images that it was fitted to.

    Attributes:
        temperature: What logits are divided by: ``fitted``, or 1.0 where that is no better for certain.
        fitted: The temperature of the lowest log loss.
        gain: By how much temperatures that were fitted to four fifths of the images lower the log loss of the others,
            in nats, the mean over five folds, and its standard error. ``fitted`` is taken where the one is greater than
            the other.
        loss: The log loss in nats, before and after ``temperature``.
        error: The expected calibration error (see `calibration_error`), before and after.
        n: How many images.
        kept: With ``temperature``, how many have a probability of the threshold or more, for thresholds from 0 to 1 in
            steps of 0.01.
        right: How many of those are recognised.
    """

    temperature: float
    fitted: float
    gain: tuple[float, float]
    loss: tuple[float, float]
    error: tuple[float, float]
    n: int
    kept: tuple[int, ...]
    right: tuple[int, ...]

    @classmethod
    def fit(cls, given: NDArray[np.floating], labels: NDArray[np.int64]) -> Self:
        """Fit a temperature to the ``given`` logits (n, classes) of images of the true ``labels`` (n,)."""
        logits = np.asarray(given, np.float64)
        fitted, gain = _temperature(logits, labels), _gain(logits, labels)
        temperature = fitted if gain[0] > gain[1] else 1.0
        after = logits / temperature
        (before_sure, before_right), (sure, right) = _confidence(logits, labels), _confidence(after, labels)
        kept = [sure >= threshold for threshold in np.linspace(0, 1, _THRESHOLDS)]
        return cls(
            temperature,
            fitted,
            gain,
            (log_loss(logits, labels), log_loss(after, labels)),
            (calibration_error(before_sure, before_right), calibration_error(sure, right)),
            len(labels),
            tuple(int(rows.sum()) for rows in kept),
            tuple(int(right[rows].sum()) for rows in kept),
        )

    @property
    def rejections(self) -> list[Rejection]:
        """What rejecting does, for each threshold."""
        return [
            Rejection(step / (_THRESHOLDS - 1), 1 - kept / self.n, right / kept if kept else None)
            for step, (kept, right) in enumerate(zip(self.kept, self.right, strict=True))
        ]


def _temperature(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the temperature of the lowest log loss."""
    from scipy.optimize import minimize_scalar  # slow to import, and pages do not need it

    found = minimize_scalar(
        lambda power: log_loss(logits / exp(power), labels), bounds=_BOUNDS, method="bounded", options={"xatol": 1e-3}
    )
    return exp(float(found.x))


def _gain(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> tuple[float, float]:
    """Return what a temperature gains on images that it was not fitted to, and the standard error: see `Calibration`.

    Both are 0 for fewer images than folds.
    """
    n = len(labels)
    if n < _FOLDS:
        return 0.0, 0.0
    fold = np.random.default_rng(0).permutation(n) % _FOLDS
    gains = np.empty(n)
    for number in range(_FOLDS):
        asked = fold == number
        temperature = _temperature(logits[~asked], labels[~asked])
        gains[asked] = _losses(logits[asked], labels[asked]) - _losses(logits[asked] / temperature, labels[asked])
    return float(gains.mean()), float(gains.std(ddof=1) / sqrt(n))


def log_loss(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the mean cross-entropy in nats."""
    return float(_losses(logits, labels).mean())


def _losses(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    losses: NDArray[np.float64] = -_log_softmax(logits)[np.arange(len(labels)), labels]
    return losses


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    found: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found


def calibration_error(probability: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error: the mean distance between the probability (n,) of the predicted class and
    the share that is ``right`` (n,), in `BINS` bins, by images."""
    difference = np.bincount(bin_of(probability), weights=probability - right, minlength=BINS)
    return float(np.abs(difference).sum() / len(probability))


def bin_of(probability: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the number of the bin (n,) that each probability (n,) is in."""
    return np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], probability)


def _confidence(
    logits: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    return np.exp(_log_softmax(logits).max(axis=1)), logits.argmax(axis=1) == labels
