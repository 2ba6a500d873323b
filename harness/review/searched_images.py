"""The training and validation images of a study, as a frozen network of its own sees them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from harness.analysis.rows import best_of
from harness.backbones.weights import load_all
from harness.core.errors import DataError
from harness.core.paths import user_cache
from harness.core.spec import StudySpec
from harness.core.strategy import Strategy
from harness.data.dataset import Drawn
from harness.data.duplicates import kept_together
from harness.data.inspection import look
from harness.review.study_images import Image, StudyImages
from harness.storage.store import Store
from harness.training.problem import Problem
from harness.workers.work import check_same_images


@dataclass(frozen=True, eq=False)
class SearchedImages:
    """The images that a search uses, training set first, n of them.

    Attributes:
        rows: (n,) rows of the listing.
        labels: (n,) their classes.
        features: (n, channels) the last activations of the frozen network, averaged over the image.
        sets: (n,) numbers of the sets that no fold of a cross-validation divides: groups and duplicates.
        n_train: How many are of the training set.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    features: NDArray[np.float32]
    sets: NDArray[np.int64]
    n_train: int

    @classmethod
    def of(cls, drawn: Drawn, problem: Problem, image_size: int) -> Self:
        """Compute the features at ``image_size``, or read them from the activation cache."""
        found = [
            problem.features.get(images, problem.n_stages, image_size).values.mean(axis=(1, 2))
            for images in (problem.split.train, problem.split.validation)
        ]
        rows = np.concatenate([drawn.parts.train, drawn.parts.validation])
        features = np.concatenate(found).astype(np.float32)
        sets = kept_together(drawn.listing, look(drawn.listing), rows)
        return cls(rows, drawn.listing.labels[rows], features, sets, len(drawn.parts.train))

    def image(self, position: int) -> Image:
        """Return the part of an image and its place there."""
        at = int(position)
        return ("train", at) if at < self.n_train else ("validation", at - self.n_train)


def best_frozen(store: Store, study: str, images: StudyImages, weights: Mapping[str, Path]) -> tuple[Problem, int]:
    """Return the study on the backbone of its best frozen network, and that network's image size: its activations are
    stored. Without such a trial they are the study's first backbone, at the size of the advice.

    ``weights`` are given files by backbone. Raises DataError where ``images`` are not those that the study was begun
    with.
    """
    if images.drawn is None or images.reason:
        raise DataError(images.reason)
    row, trials = store.studies.get(study), store.trials.frame(study)
    spec = StudySpec.model_validate(row.spec)
    split = images.drawn.load(spec.search.image_size[-1])
    check_same_images(row, split)
    best = best_of(trials[trials["strategy"] == "feature_extraction"], f"val_{row.metric}", row.cost)
    strategy = None if best is None else Strategy.from_row(best)
    declared = spec.search.backbones[0] if strategy is None else spec.search.backbone(strategy.backbone)
    found = load_all([declared], weights)[declared.name]
    size = spec.search.advice_size if strategy is None else strategy.image_size
    return Problem.of(declared, spec, split, found, user_cache() / "features"), size
