"""The profile of a data set that the guidance is based on: its size, balance and similarity to ImageNet."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.core.spec import AdviceSpec, DatasetSpec
from harness.statistics.similarity import Similarity, rank


@dataclass(frozen=True, slots=True)
class Profile:
    """A data set in the terms of the four scenarios.

    Attributes:
        n_images: Training images.
        class_sizes: Training images of each class.
        similar: Whether the set counts as similar to ImageNet.
        similarity_source: How that is known, in words.
        similarity: The measured distances, None if ``similar`` was declared.
    """

    n_images: int
    class_sizes: tuple[int, ...]
    similar: bool
    similarity_source: str
    similarity: Similarity | None = None


def profile(
    labels: NDArray[np.int64],
    n_classes: int,
    dataset: DatasetSpec,
    similarity: Similarity | None,
    boundaries: AdviceSpec,
) -> Profile:
    """Return the profile of a training set from its ``labels`` (n,).

    ``similar`` is as the data set's file declares it. If it does not, ``similarity`` must be given, and the set is
    similar if its distance is below ``boundaries.similar_below``.
    """
    sizes = tuple(int(count) for count in np.bincount(labels, minlength=n_classes))
    if dataset.similar_to_imagenet is not None:
        return Profile(len(labels), sizes, dataset.similar_to_imagenet, f"declared: {dataset.similarity_source}")
    assert similarity is not None
    similar = similarity.distance < boundaries.similar_below
    return Profile(len(labels), sizes, similar, _measured(similarity, boundaries.similar_below), similarity)


def _measured(similarity: Similarity, boundary: float) -> str:
    low, high = similarity.interval
    unsure = "; the interval includes the boundary" if low < boundary < high else ""
    return (
        f"measured: kernel distance {similarity.distance:.3f}, 95 % interval {low:.3f} to {high:.3f} from "
        f"{similarity.n_images} images, boundary {boundary:g}{unsure}; {rank(similarity)}"
    )
