"""What a classifier predicts for the images of a set, and what follows from it without the other probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from harness.core.calibration import Calibration

TOP = 5
"""A prediction's first classes that count for the top-5 accuracy; it is recorded where there are `MANY` or more."""

MANY = 11


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Predictions for n images, in their order.

    Attributes:
        labels: The true classes, int64 (n,).
        predicted: The classes of the highest probability, the first of equals, int64 (n,).
        probability: The probability of the predicted class (n,).
        loss: The cross-entropy, -ln of the true class's probability, in nats (n,).
        rank: How many classes come before the true one (n,): 0 where the image is recognised.
        logits: What the others follow from, float32 (n, classes).
        calibration: What a temperature would do, where one was fitted.
    """

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probability: NDArray[np.float64]
    loss: NDArray[np.float64]
    rank: NDArray[np.int64]
    logits: NDArray[np.float32]
    calibration: Calibration | None = None

    @classmethod
    def of(cls, given: NDArray[np.floating], labels: NDArray[np.int64]) -> Self:
        """Return the predictions of ``given`` logits (n, classes), or log-probabilities, for images of the true
        ``labels`` (n,)."""
        logits = np.asarray(given, np.float64)
        n, n_classes = logits.shape
        predicted = logits.argmax(axis=1)
        top, true = logits.max(axis=1), logits[np.arange(n), labels][:, None]
        sums = np.exp(logits - top[:, None]).sum(axis=1)
        first = np.arange(n_classes) < labels[:, None]
        rank = ((logits > true) | ((logits == true) & first)).sum(axis=1)
        return cls(labels, predicted, 1 / sums, np.log(sums) + top - true[:, 0], rank, np.asarray(given, np.float32))

    @classmethod
    def join(cls, several: Sequence["Predictions"]) -> Self:
        """Concatenate predictions for several sets of images, one at least, of the same classes."""
        labels, predicted, probability, loss, rank, logits = (
            np.concatenate([getattr(one, name) for one in several])
            for name in ("labels", "predicted", "probability", "loss", "rank", "logits")
        )
        return cls(labels, predicted, probability, loss, rank, logits)

    def calibrated(self) -> Self:
        """Return the same with a temperature that is fitted to them."""
        return replace(self, calibration=Calibration.fit(self.logits, self.labels))

    @property
    def n_classes(self) -> int:
        """The number of classes."""
        return int(self.logits.shape[1])

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def true_probability(self) -> NDArray[np.float64]:
        """The probability of the true class (n,)."""
        return np.exp(-self.loss)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Which images are recognised (n,)."""
        found: NDArray[np.bool_] = self.predicted == self.labels
        return found

    def log_loss(self) -> float:
        """Return the mean cross-entropy in nats."""
        return float(self.loss.mean())

    def top5_accuracy(self) -> float | None:
        """Return the share of the images whose true class is among the first five; None with ten classes or fewer."""
        return float(np.mean(self.rank < TOP)) if self.n_classes >= MANY else None

    def auroc(self) -> float | None:
        """Return the area under the ROC curve of two classes.

        It is the share of the pairs of an image of each in which the second class's image has the higher probability of
        that class; equal ones count half. None with other than two classes, or where one of them has no image.
        """
        if self.n_classes != 2 or len(set(self.labels.tolist())) < 2:
            return None
        of_second = np.where(self.predicted == 1, self.probability, 1 - self.probability)
        first, second = np.sort(of_second[self.labels == 0]), of_second[self.labels == 1]
        beaten = np.searchsorted(first, second, "left") + np.searchsorted(first, second, "right")
        return float(beaten.mean() / (2 * len(first)))

    def columns(self) -> dict[str, float | None]:
        """Return top-5 accuracy and AUROC under their names in a result: ``val_top5_accuracy`` and ``val_auroc``."""
        return {"val_top5_accuracy": self.top5_accuracy(), "val_auroc": self.auroc()}
