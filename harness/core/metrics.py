"""Scores of predictions, by each metric that a study may optimize."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from harness.core.results import METRICS


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores from 0 to 1. Unlike accuracy, the other two count a rare class as much as a common one.

    Attributes:
        accuracy: Share of the images that are classified correctly.
        balanced_accuracy: Mean recall over the classes.
        macro_f1: Mean F1 over the classes; F1 is the harmonic mean of precision and recall.
    """

    accuracy: float
    balanced_accuracy: float
    macro_f1: float

    @classmethod
    def of(cls, labels: ArrayLike, predicted: ArrayLike) -> "Scores":
        """Return the scores of the ``predicted`` classes (n,) against the true ``labels`` (n,), as scikit-learn defines
        them.

        A class without images is left out of the balanced accuracy, and out of F1 if it is not predicted either.
        Written out because it runs after every epoch: scikit-learn's checks of its arguments take 100 times as long.
        """
        true, guessed = np.asarray(labels), np.asarray(predicted)
        n = int(max(true.max(), guessed.max())) + 1
        confusion = np.bincount(true * n + guessed, minlength=n * n).reshape(n, n)
        hits, there, called = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
        seen = there + called > 0
        return cls(
            accuracy=float(hits.sum() / len(true)),
            balanced_accuracy=float(np.mean(hits[there > 0] / there[there > 0])),
            macro_f1=float(np.mean(2 * hits[seen] / (there + called)[seen])),
        )

    def columns(self) -> dict[str, Any]:
        """Return the three scores under their names in a result: ``val_accuracy`` and so on."""
        return {f"val_{metric}": getattr(self, metric) for metric in METRICS}
