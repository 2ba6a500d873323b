"""What the guidance needs to know of a data set: how large, how balanced, how similar to ImageNet."""

from dataclasses import dataclass

import numpy as np

from harness.core.spec import AdviceSpec, DatasetSpec
from harness.data.dataset import Split
from harness.statistics.similarity import Similarity, rank


@dataclass(frozen=True, slots=True)
class Profile:
    """A data set as the four scenarios see it.

    ``n_images`` is the size of the training part and ``class_sizes`` what each class has of it. ``similar`` is the side
    of the boundary it lies on and ``similarity_source`` says in words how that is known; ``similarity`` is what was
    measured, None where the side was declared.
    """

    n_images: int
    class_sizes: tuple[int, ...]
    similar: bool
    similarity_source: str
    similarity: Similarity | None = None


def profile(split: Split, dataset: DatasetSpec, similarity: Similarity | None, boundaries: AdviceSpec) -> Profile:
    """The profile of a study's training part: similar to ImageNet where the data set's file declares it, or else where
    the measured ``similarity`` lies under ``boundaries.similar_below``."""
    sizes = tuple(int(count) for count in np.bincount(split.train.labels, minlength=split.n_classes))
    if dataset.similar_to_imagenet is not None:
        return Profile(len(split.train), sizes, dataset.similar_to_imagenet, f"declared: {dataset.similarity_source}")
    assert similarity is not None
    similar = similarity.distance < boundaries.similar_below
    return Profile(len(split.train), sizes, similar, _measured(similarity, boundaries.similar_below), similarity)


def _measured(similarity: Similarity, boundary: float) -> str:
    low, high = similarity.interval
    unsure = "; the interval holds the boundary" if low < boundary < high else ""
    return (
        f"measured: kernel distance {similarity.distance:.3f}, 95 % interval {low:.3f} to {high:.3f} from "
        f"{similarity.n_images} images, boundary {boundary:g}{unsure}; {rank(similarity)}"
    )
