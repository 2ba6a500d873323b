"""The training and validation images of a study, as a frozen network of its own sees them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from harness.data.dataset import Drawn
from harness.data.duplicates import kept_together
from harness.data.inspection import look

if TYPE_CHECKING:  # heavy
    from harness.training.problem import Problem


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
    def of(cls, drawn: Drawn, problem: "Problem", image_size: int) -> Self:
        """Compute the features at ``image_size``, or read them from the activation cache."""
        found = [
            problem.features.get(images, problem.n_stages, image_size).values.mean(axis=(1, 2))
            for images in (problem.split.train, problem.split.validation)
        ]
        rows = np.concatenate([drawn.parts.train, drawn.parts.validation])
        features = np.concatenate(found).astype(np.float32)
        sets = kept_together(drawn.listing, look(drawn.listing), rows)
        return cls(rows, drawn.listing.labels[rows], features, sets, len(drawn.parts.train))
