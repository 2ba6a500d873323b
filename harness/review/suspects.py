"""Label suspects and outliers among the images that a search uses, by the activations of a frozen network.

A linear probe is trained on four fifths of the images and asked about the last one, five times, so that every image,
also of the training set, is judged by a probe that has not seen it, nor its duplicates and the others of its group.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from harness.data.listing import Listing
from harness.review.searched_images import SearchedImages
from harness.review.study_images import Image
from harness.statistics.confident_learning import Judgement, judge

_FOLDS = 5
_COMPONENTS = 128
_SHRINKAGE = 0.6  # of the covariance; of 0.1, 0.3, 0.6 and 0.9 the best on five sets of photos, logistic ones too
_NEIGHBOURS = 5
_MOST_COMPARED = 4096  # training images


@dataclass(frozen=True, slots=True)
class Suspect:
    """An image whose label is probably wrong: its file, its class, the one that the probe suggests, and how surely its
    class is wrong, from 0 to 1."""

    image: Image
    file: str
    label: str
    suggested: str
    score: float


@dataclass(frozen=True, slots=True)
class Judged:
    """What a frozen network says of the images that a search uses.

    Attributes:
        suspects: Images whose label is probably wrong, the most suspicious first.
        agreement: The share of all labels that the probe agrees with.
        outliers: All images, each with its distance (see `outlier_distances`), the farthest first.
    """

    suspects: list[Suspect]
    agreement: float
    outliers: list[tuple[Image, float]]

    @classmethod
    def of(cls, images: SearchedImages, listing: Listing) -> "Judged":
        """Judge the labels of ``images``, rows of ``listing``, and how unlike the others each is."""
        names = listing.class_names
        known, judged = label_suspects(images, len(names))
        suspects = [
            Suspect(
                images.image(known[at]),
                listing.row_name(images.rows[known[at]]),
                names[images.labels[known[at]]],
                names[judged.suggested[at]],
                float(judged.score[at]),
            )
            for at in judged.ranked()
            if judged.suspect[at]
        ]
        far = outlier_distances(images)
        outliers = [(images.image(at), float(far[at])) for at in np.argsort(-far, kind="stable")]
        return cls(suspects, judged.agreement, outliers)


def label_suspects(images: SearchedImages, n_classes: int) -> tuple[NDArray[np.int64], Judgement]:
    """Judge the labels of ``images``. Return the positions (m,) that could be judged, and the judgement on them.

    An image cannot be judged where no image of its class is in another set, so that the probe does not know the class.
    """
    probabilities = _out_of_sample(components(images), images.labels, images.sets, n_classes)
    known = np.flatnonzero(probabilities.sum(axis=1) > 0)
    return known, judge(probabilities[known], images.labels[known])


def outlier_distances(images: SearchedImages) -> NDArray[np.float64]:
    """Return how far each image (n,) is from the five training images most like it, in multiples of the median."""
    values = components(images)
    train = np.random.default_rng(0).permutation(images.n_train)[:_MOST_COMPARED]
    nearest = NearestNeighbors(n_neighbors=min(_NEIGHBOURS + 1, len(train))).fit(values[train])
    distances = nearest.kneighbors(values)[0]
    itself = np.isin(np.arange(len(values)), train)
    found = np.where(itself, distances[:, 1:].mean(axis=1), distances[:, :-1].mean(axis=1))
    relative: NDArray[np.float64] = found / max(float(np.median(found)), 1e-9)
    return relative


def components(images: SearchedImages) -> NDArray[np.float32]:
    """Return the principal components (n, at most 128) of the standardised features, which need no labels."""
    n = min(_COMPONENTS, images.features.shape[1], len(images.labels) - 1)
    reduced = make_pipeline(StandardScaler(), PCA(n, random_state=0)).fit_transform(images.features)
    return np.asarray(reduced, np.float32)


def _out_of_sample(
    values: NDArray[np.float32], labels: NDArray[np.int64], sets: NDArray[np.int64], n_classes: int
) -> NDArray[np.float64]:
    """Return probabilities (n, classes) by probes that had not seen the image; zeros where they do not know its
    class."""
    found = np.zeros((len(labels), n_classes))
    for fold in _folds(labels, sets):
        seen = np.unique(labels[~fold])
        if len(seen) < 2:
            continue
        probe = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=_SHRINKAGE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of classes of one image
            probe.fit(values[~fold], labels[~fold])
        asked = np.flatnonzero(fold & np.isin(labels, seen))
        if len(asked):
            found[asked[:, None], probe.classes_] = probe.predict_proba(values[asked])
    return found


def _folds(labels: NDArray[np.int64], sets: NDArray[np.int64]) -> list[NDArray[np.bool_]]:
    """Return the images (n,) of each fold: whole sets, stratified by the class of their first image."""
    _, first, which = np.unique(sets, return_index=True, return_inverse=True)
    most = int(np.bincount(labels[first]).max())
    if most < 2:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes with fewer sets than folds
        folds = StratifiedKFold(min(_FOLDS, most), shuffle=True, random_state=0).split(first, labels[first])
        return [np.isin(which, asked) for _, asked in folds]
