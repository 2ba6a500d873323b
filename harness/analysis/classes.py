"""What a trial or baseline predicts, class by class: what it confuses, and how far its probabilities can be trusted."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.analysis.formatting import count
from harness.analysis.rows import Rows, Whose
from harness.core.calibration import bin_of, calibration_error
from harness.statistics.intervals import wilson_interval

TITLES: dict[Whose, str] = {"best": "best complete trial", "advice": "the advice", "baseline": "best baseline"}

MOST_CLASSES = 100
"""The most classes that are drawn: of more, those that are confused most."""


@dataclass(frozen=True)
class Share:
    """``hits`` of ``n`` images, with Wilson's 95 % interval; NaN of no image."""

    hits: int
    n: int

    @property
    def value(self) -> float:
        """The share itself."""
        return self.hits / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval."""
        return wilson_interval(self.hits, self.n) if self.n else (math.nan, math.nan)


@dataclass(frozen=True)
class ClassScore:
    """How one class does: ``recall`` of its images, ``precision`` of the images that are taken for it."""

    name: str
    recall: Share
    precision: Share


@dataclass(frozen=True)
class Pair:
    """Two classes, and how many images of ``first`` are taken for ``second`` and the other way round."""

    first: str
    second: str
    there: int
    back: int
    n_first: int
    n_second: int

    @property
    def words(self) -> str:
        """The same in words."""
        there = f'{self.there} of the {count(self.n_first, "image")} of "{self.first}" taken for "{self.second}"'
        return f"{there}, {self.back} of the {self.n_second:,} the other way round"


@dataclass(frozen=True)
class Bin:
    """The images whose predicted class has about the same ``probability`` (their mean), and how many are right."""

    probability: float
    correct: Share


@dataclass(frozen=True)
class Classes:
    """The predictions of one trial or baseline for the validation images, by class.

    Attributes:
        whose: Why it is shown.
        name: ``trial 3``, or the baseline's name.
        class_names: All classes of the study.
        confusion: Images by true and predicted class, (classes, classes).
        probability: Of the predicted class, (n,).
        correct: Which images are recognised, (n,).
    """

    whose: Whose
    name: str
    class_names: tuple[str, ...]
    confusion: NDArray[np.int64]
    probability: NDArray[np.float64]
    correct: NDArray[np.bool_]

    @classmethod
    def of(cls, whose: Whose, name: str, predictions: pd.DataFrame) -> "Classes":
        """Return what the ``predictions`` of one training say: see `harness.storage.predictions`."""
        true, predicted = (predictions[column].cat.codes.to_numpy(np.int64) for column in ("true", "predicted"))
        names = tuple(predictions["true"].cat.categories)
        k = len(names)
        confusion = np.bincount(true * k + predicted, minlength=k * k).reshape(k, k)
        return cls(whose, name, names, confusion, predictions["probability"].to_numpy(), true == predicted)

    @cached_property
    def scores(self) -> tuple[ClassScore, ...]:
        """Recall and precision of each class, in the study's order."""
        hits, there, called = self.confusion.diagonal(), self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        return tuple(
            ClassScore(name, Share(int(h), int(t)), Share(int(h), int(c)))
            for name, h, t, c in zip(self.class_names, hits, there, called, strict=True)
        )

    @property
    def worst_first(self) -> list[ClassScore]:
        """The same by recall, the lowest first, and those without a validation image last."""
        return sorted(self.scores, key=lambda score: (score.recall.n == 0, score.recall.value, -score.recall.n))

    @property
    def without_images(self) -> list[str]:
        """The classes without a validation image."""
        return [score.name for score in self.scores if score.recall.n == 0]

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """All pairs of classes that are confused, those with most images first."""
        errors = np.triu(self.confusion + self.confusion.T, 1)
        first, second = np.nonzero(errors)
        support, found = self.confusion.sum(axis=1), []
        for at in np.argsort(-errors[first, second], kind="stable"):
            a, b = first[at], second[at]
            if self.confusion[b, a] > self.confusion[a, b]:
                a, b = b, a
            there, back = int(self.confusion[a, b]), int(self.confusion[b, a])
            pair = self.class_names[a], self.class_names[b], there, back, int(support[a]), int(support[b])
            found.append(Pair(*pair))
        return tuple(found)

    @cached_property
    def shown(self) -> NDArray[np.int64]:
        """The classes to draw, so that those which are confused with each other lie side by side.

        Of more than `MOST_CLASSES` they are the ones with most errors, as true or predicted class. The order is that of
        a clustering by average linkage, with optimal order of the leaves (Bar-Joseph et al. 2001), in which two classes
        are close where large shares of their images are taken for the other.
        """
        errors = self.confusion - np.diag(self.confusion.diagonal())
        involved = errors.sum(axis=0) + errors.sum(axis=1)
        chosen = np.sort(np.argsort(-involved, kind="stable")[:MOST_CLASSES])
        shares = self.shares[np.ix_(chosen, chosen)]
        similar = shares + shares.T
        np.fill_diagonal(similar, 0)
        if len(chosen) < 3 or not similar.any():
            return chosen
        from scipy.cluster.hierarchy import leaves_list, linkage  # takes a second, which commands need not wait for

        distance = 1 - similar / similar.max()
        pairs = distance[np.triu_indices(len(chosen), 1)]
        order: NDArray[np.int64] = chosen[leaves_list(linkage(pairs, "average", optimal_ordering=True))]
        return order

    @property
    def shares(self) -> NDArray[np.float64]:
        """The confusion as shares of each true class's images, (classes, classes); 0 for a class without images."""
        found: NDArray[np.float64] = self.confusion / np.maximum(self.confusion.sum(axis=1, keepdims=True), 1)
        return found

    @cached_property
    def bins(self) -> tuple[Bin, ...]:
        """The images by the probability of their predicted class, in the bins of the calibration error; empty ones are
        left out."""
        which = bin_of(self.probability)
        inside = [which == number for number in np.unique(which)]
        return tuple(
            Bin(float(self.probability[rows].mean()), Share(int(self.correct[rows].sum()), int(rows.sum())))
            for rows in inside
        )

    @property
    def calibration_error(self) -> float:
        """The expected calibration error: the mean distance of probability and accuracy of the `bins`, by images."""
        return calibration_error(self.probability, self.correct)

    @property
    def sentences(self) -> list[str]:
        """What a reader should know first. Plain text."""
        wrong = int((~self.correct).sum())
        found = [f"{self.name} gets {wrong:,} of {count(len(self.correct), 'validation image')} wrong."]
        if self.pairs:
            found.append("Most confused: " + "; ".join(pair.words for pair in self.pairs[:3]) + ".")
        if weak := [score for score in self.worst_first if score.recall.n and score.recall.hits < score.recall.n][:3]:
            names = ", ".join(f'"{score.name}" ({score.recall.hits} of {score.recall.n:,})' for score in weak)
            found.append(f"Recognised least: {names}.")
        right = Share(int(self.correct.sum()), len(self.correct))
        sure, (low, high) = float(self.probability.mean()), right.interval
        how = "too sure" if sure > high else "not sure enough" if sure < low else "as sure as it is right"
        found.append(
            f"Its probabilities are off by {self.calibration_error * 100:.1f} points on average (expected calibration "
            f"error). It is {how}: its predictions have a probability of {sure:.3f} on average, and {right.value:.3f} "
            "of them are right."
        )
        if missing := self.without_images:
            named = ", ".join(f'"{name}"' for name in missing[:5])
            more = f" and {len(missing) - 5:,} more" if len(missing) > 5 else ""
            found.append(f"Without a validation image, so nothing is known of them: {named}{more}.")
        return found


def classes(rows: Rows) -> list[Classes]:
    """Return what is known of the classes of a study: nothing where no predictions are kept."""
    return [
        Classes.of(whose, name, mine)
        for whose, name in rows.compared_classes().items()
        if len(mine := rows.predictions[rows.predictions["name"] == name])
    ]
