"""Distances of image sets from ImageNet, between VGG16's features, and a rank among known sets.

The decision uses the unbiased kernel distance (squared maximum mean discrepancy, Gretton et al. 2012) with a Gaussian
kernel on features of unit length, as Jayasumana et al. 2024 do ("Rethinking FID"). Its expectation is the same for 50
images as for 5,000, and no single image can change it much. The cubic kernel of KID (Bińkowski et al. 2018) has no
bound: with it the two brightest of 196 images of insects put their whole set among the hand signs.

KID's distance, the Fréchet distance (Heusel et al. 2017) and the earth mover's distance between class means (Cui et al.
2018) are computed for comparison with the literature only. The last two depend on the number of images.
"""

import json
import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from harness.core.spec import shipped_folder
from harness.statistics.intervals import quantile

SAMPLE = 200
"""Images that a set is measured on, drawn at random; all of them if there are fewer."""

Floats = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Reference:
    """Features of ImageNet.

    Attributes:
        features: (m, d), block-5 averages of one photo of each class.
        image_size: Side of the photos in pixels.
        weights: sha256 of the weights of the network that computed them.
    """

    features: NDArray[np.float32]
    image_size: int
    weights: str


@dataclass(frozen=True, slots=True)
class Similarity:
    """Distances of a set to ImageNet.

    Attributes:
        distance: Kernel distance: 0 for images like ImageNet's, at most 2.
        error: Standard error of ``distance`` over the sample of images, None for fewer than three images.
        n_images: Size of that sample.
        cubic: KID's distance.
        frechet: Fréchet distance, in squared units of the features.
        earth_mover: Earth mover's distance, in units of the features.
    """

    distance: float
    error: float | None
    n_images: int
    cubic: float
    frechet: float
    earth_mover: float

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval of the distance, for other samples of the same set; without an error, all that a
        distance can be."""
        if self.error is None:
            return 0.0, 2.0
        half = quantile() * self.error
        return self.distance - half, self.distance + half


def compare(features: Floats, labels: NDArray[np.int64], reference: Reference) -> Similarity:
    """Return the distances of a sample, ``features`` (n, d) with ``labels`` (n,), from the reference."""
    distance, error = kernel_distance(features, reference.features)
    return Similarity(
        distance,
        error,
        len(features),
        cubic_distance(features, reference.features),
        frechet_distance(features, reference.features),
        earth_mover_distance(features, labels, reference.features),
    )


def kernel_distance(features: Floats, reference: Floats) -> tuple[float, float | None]:
    """Return the unbiased kernel distance and its standard error over the sample ``features``.

    The kernel is exp(-|x - y|² / s) on rows of unit length; s is the median of |x - y|² over the reference's pairs.
    """
    own, other = _unit(features), _unit(reference)
    among = _squares(other, other)
    scale = float(np.median(among[np.triu_indices(len(other), 1)]))
    return _discrepancy(*(np.exp(-squares / scale) for squares in (_squares(own, own), _squares(own, other), among)))


def cubic_distance(features: Floats, reference: Floats) -> float:
    """Return the distance under KID's kernel, (x·y / d + 1)³, on features divided by the reference's mean standard
    deviation."""
    scale = float(np.asarray(reference, np.float64).std(axis=0).mean())
    own, other = np.asarray(features, np.float64) / scale, np.asarray(reference, np.float64) / scale
    width = own.shape[1]
    return _discrepancy(*((a @ b.T / width + 1) ** 3 for a, b in ((own, own), (own, other), (other, other))))[0]


def _discrepancy(within: Floats, across: Floats, among: Floats) -> tuple[float, float | None]:
    """Return the unbiased squared maximum mean discrepancy of n rows and m of the reference, and its standard error.

    The error is the jackknife's (Efron and Stein 1981) over the n rows with a fixed reference; with fewer than three
    rows there is none. The kernel's values are ``within`` (n, n), ``across`` (n, m) and ``among`` (m, m).
    """
    n, m = across.shape
    constant = (among.sum() - np.trace(among)) / (m * (m - 1))
    pairs, crosses = within.sum(axis=1) - np.diag(within), across.sum(axis=1)
    found = float(pairs.sum() / (n * (n - 1)) + constant - 2 * crosses.sum() / (n * m))
    if n < 3:
        return found, None
    fewer = n - 1
    without = (pairs.sum() - 2 * pairs) / (fewer * (fewer - 1)) - 2 * (crosses.sum() - crosses) / (fewer * m)
    return found, float(np.sqrt(fewer / n * ((without - without.mean()) ** 2).sum()))


def _unit(features: Floats) -> NDArray[np.float64]:
    values = np.asarray(features, np.float64)
    unit: NDArray[np.float64] = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    return unit


def _squares(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the squared distances between rows of unit length."""
    return np.maximum(2 - 2 * a @ b.T, 0)


def frechet_distance(features: Floats, reference: Floats) -> float:
    """Return the Fréchet distance of the Gaussians with the means and covariances of both.

    It falls with the number of images.

    The trace of the root of the product of two covariances XᵀX and YᵀY is the sum of the singular values of XYᵀ.
    """
    own, other = np.asarray(features, np.float64), np.asarray(reference, np.float64)
    apart = own.mean(axis=0) - other.mean(axis=0)
    x = (own - own.mean(axis=0)) / math.sqrt(len(own) - 1)
    y = (other - other.mean(axis=0)) / math.sqrt(len(other) - 1)
    return float(apart @ apart + (x**2).sum() + (y**2).sum() - 2 * np.linalg.norm(x @ y.T, "nuc"))


def earth_mover_distance(features: Floats, labels: NDArray[np.int64], reference: Floats) -> float:
    """Return the earth mover's distance between class means, weighted by the classes' shares of the images.

    exp(-0.01 d) is the similarity of Cui et al. The reference's rows are its classes. Shares are rounded to multiples
    of one over the number of these rows, which makes it an assignment problem.
    """
    from scipy.optimize import linear_sum_assignment  # slow to import, and pages do not need it

    classes, counts = np.unique(labels, return_counts=True)
    means = np.stack([features[labels == label].mean(axis=0) for label in classes]).astype(np.float64)
    ends = np.round(np.cumsum(counts) / counts.sum() * len(reference)).astype(int)
    parts = np.repeat(np.arange(len(classes)), np.diff(ends, prepend=0))
    distances = np.sqrt(((reference[:, None, :] - means[None]) ** 2).sum(axis=2))[:, parts]
    return float(distances[linear_sum_assignment(distances)].mean())


@cache
def load_reference() -> Reference:
    """Return the reference that comes with the harness, made by ``benchmarks/similarity.py``."""
    with np.load(shipped_folder("datasets") / "imagenet_reference.npz", allow_pickle=False) as archive:
        return Reference(archive["features"].astype(np.float32), int(archive["image_size"]), str(archive["weights"]))


@cache
def known_sets() -> dict[str, Similarity]:
    """Return the measured distances of the known sets, the most similar first."""
    table = json.loads((shipped_folder("datasets") / "similarity.json").read_text(encoding="utf-8"))
    found = {name: Similarity(**figures) for name, figures in table["sets"].items()}
    return dict(sorted(found.items(), key=lambda item: item[1].distance))


def rank(similarity: Similarity) -> str:
    """Return the rank of a distance among the known sets, in words; the sample's 95 % interval may span several."""
    known = known_sets()
    low, high = similarity.interval
    nearer = [f"{name} {found.distance:.3f}" for name, found in known.items() if found.distance < low]
    farther = [f"{name} {found.distance:.3f}" for name, found in known.items() if found.distance > high]
    like = [f"{name} {found.distance:.3f}" for name, found in known.items() if low <= found.distance <= high]
    parts = [f"farther than {nearer[-1]}"] if nearer else []
    parts += [f"like {', '.join(like)}"] if like else []
    parts += [f"nearer than {farther[0]}"] if farther else []
    first, last = len(nearer) + 1, len(nearer) + len(like) + 1
    place = f"{first}" if first == last else f"{first} to {last}"
    return f"rank {place} of {len(known) + 1} ({', '.join(parts)})"
