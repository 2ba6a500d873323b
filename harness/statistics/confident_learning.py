"""Confident learning: which labels disagree with out-of-sample predictions (Northcutt, Jiang and Chuang 2021,
doi:10.1613/jair.1.12125)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Judgement:
    """Labels (n,) compared with predictions.

    Attributes:
        suspect: (n,) whether the label is probably wrong.
        suggested: (n,) the most probable class but the image's own.
        score: (n,) one minus the probability of the label, the self-confidence.
        wrong_share: Estimated share of wrong labels.
        agreement: Share of the labels that are the most probable class: with a weak model, many suspects are right.
    """

    suspect: NDArray[np.bool_]
    suggested: NDArray[np.int64]
    score: NDArray[np.float64]
    wrong_share: float
    agreement: float

    def ranked(self) -> NDArray[np.int64]:
        """Return all rows, the most suspicious first."""
        return np.argsort(-self.score, kind="stable")


def judge(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> Judgement:
    """Compare ``labels`` (n,) with ``probabilities`` (n, classes) of a model that had not seen these images.

    The joint distribution of given and true labels says how many images of each class are wrong; those are its images
    of the lowest self-confidence (the authors call it pruning by class).
    """
    rows = np.arange(len(labels))
    own = probabilities[rows, labels]
    found = joint(probabilities, labels)
    wrong = np.rint((found.sum(axis=1) - found.diagonal()) * len(labels)).astype(np.int64)
    order = np.lexsort((own, labels))
    ends = np.cumsum(np.bincount(labels, minlength=len(wrong)))
    within = rows - np.concatenate([[0], ends])[labels[order]]
    suspect = np.zeros(len(labels), np.bool_)
    suspect[order[within < wrong[labels[order]]]] = True
    others = probabilities.copy()
    others[rows, labels] = -1.0
    n = max(1, len(labels))
    agreement = float(np.sum(own >= others.max(axis=1, initial=-1.0)) / n)
    return Judgement(suspect, others.argmax(axis=1), 1.0 - own, float(wrong.sum() / n), agreement)


def joint(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Estimate the joint distribution (classes, classes) of given and true labels.

    A class is confident for an image where its probability reaches the mean over the images with that label, so that
    classes that a model is less sure of need less. The true label counts as the most probable confident class.
    """
    n_classes = probabilities.shape[1]
    rows, counts = np.arange(len(labels)), np.bincount(labels, minlength=n_classes)
    sums = np.bincount(labels, weights=probabilities[rows, labels], minlength=n_classes)
    threshold = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    confident = np.where(probabilities >= threshold, probabilities, -1.0)
    true = confident.argmax(axis=1)
    counted = confident[rows, true] >= 0
    found = np.zeros((n_classes, n_classes))
    np.add.at(found, (labels[counted], true[counted]), 1)
    none = found.sum(axis=1) == 0  # no image with that label has a confident class: it counts as right
    found[none, none] = 1  # the diagonal
    calibrated: NDArray[np.float64] = (
        found / found.sum(axis=1, keepdims=True) * (counts / max(1, counts.sum()))[:, None]
    )
    return calibrated
