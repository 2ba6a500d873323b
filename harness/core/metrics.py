"""How good predictions are, by each of the measures that a study may be judged by."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from harness.core.results import METRICS


@dataclass(frozen=True, slots=True)
class Scores:
    """Shares from 0 to 1. ``balanced_accuracy`` is the mean over the classes of the share of their pictures that are
    recognised; ``macro_f1`` the mean of their F1, the harmonic mean of that share and of the share of what is called
    the class that is of it. Both count a rare class as much as a common one, and accuracy does not. ``correct`` says
    of each picture, in their order, whether it is recognised."""

    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    correct: tuple[bool, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, labels: ArrayLike, predicted: ArrayLike) -> "Scores":
        """From the true and the predicted class of each picture, as scikit-learn defines the three: a class that no
        picture has is left out of the balanced accuracy, and of the F1 where it is not predicted either."""
        true, guessed = np.asarray(labels), np.asarray(predicted)
        n = int(max(true.max(), guessed.max())) + 1
        confusion = np.bincount(true * n + guessed, minlength=n * n).reshape(n, n)
        hits, there, called = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
        seen = there + called > 0
        return cls(
            accuracy=float(hits.sum() / len(true)),
            balanced_accuracy=float(np.mean(hits[there > 0] / there[there > 0])),
            macro_f1=float(np.mean(2 * hits[seen] / (there + called)[seen])),
            correct=tuple((true == guessed).tolist()),
        )

    def columns(self) -> dict[str, Any]:
        """The three under their names in a result: ``val_accuracy`` and so on."""
        return {f"val_{metric}": getattr(self, metric) for metric in METRICS}
