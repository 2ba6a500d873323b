"""What the guidance needs to know of a data set: how large, how balanced, how similar to ImageNet."""

from dataclasses import dataclass

import numpy as np

from harness.data import Split
from harness.spec import DatasetSpec


@dataclass(frozen=True, slots=True)
class Profile:
    """A data set as the four scenarios see it. ``n_images`` is the size of the training part."""

    n_images: int
    n_classes: int
    smallest_class: int
    largest_class: int
    similar: bool
    similarity_source: str


def profile(split: Split, dataset: DatasetSpec) -> Profile:
    """The profile of a study's training part. Similarity is what the data set's file declares."""
    counts = np.bincount(split.train.labels, minlength=split.n_classes)
    return Profile(
        n_images=len(split.train),
        n_classes=split.n_classes,
        smallest_class=int(counts.min()),
        largest_class=int(counts.max()),
        similar=bool(dataset.similar_to_imagenet),
        similarity_source=dataset.similarity_source,
    )
