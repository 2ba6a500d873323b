"""How far a set of pictures lies from ImageNet: distances between VGG16's features, and a rank among known sets.

What decides is the unbiased kernel distance (squared maximum mean discrepancy, Gretton et al. 2012) under a Gaussian
kernel on features of unit length, as Jayasumana et al. 2024 take it ("Rethinking FID"): its expectation is the same for
50 pictures as for 5,000, and no single picture can move it far. Under the cubic kernel of KID (Bińkowski et al. 2018),
which knows no bound, the two brightest of 196 insects put their whole set among the hand signs. That distance, the
Fréchet distance (Heusel et al. 2017) and the earth mover's distance between class means (Cui et al. 2018; both depend
on how many pictures there are) stand beside it for comparison with the literature and decide nothing.
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
"""Pictures that a set is measured on, drawn at random; all of them where there are fewer."""

Floats = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Reference:
    """ImageNet in numbers: ``features`` (m, d), block-5 averages of one photo of each class at ``image_size`` pixels,
    by the network whose weights have the sha256 ``weights``."""

    features: NDArray[np.float32]
    image_size: int
    weights: str


@dataclass(frozen=True, slots=True)
class Similarity:
    """``distance`` is the kernel distance to ImageNet: 0 for more pictures like it, 2 at the most. ``error`` is its
    standard error over which ``n_images`` pictures happened to be drawn. ``cubic``, ``frechet`` and ``earth_mover`` are
    the distances of the literature, the last two in units of the features."""

    distance: float
    error: float
    n_images: int
    cubic: float
    frechet: float
    earth_mover: float

    @property
    def interval(self) -> tuple[float, float]:
        """The distance, give or take what other pictures of the same set would have changed (95 %)."""
        half = quantile() * self.error
        return self.distance - half, self.distance + half


def compare(features: Floats, labels: NDArray[np.int64], reference: Reference) -> Similarity:
    """The distances of a sample, ``features`` (n, d) with ``labels`` (n,), from the reference."""
    distance, error = kernel_distance(features, reference.features)
    return Similarity(
        distance,
        error,
        len(features),
        cubic_distance(features, reference.features),
        frechet_distance(features, reference.features),
        earth_mover_distance(features, labels, reference.features),
    )


def kernel_distance(features: Floats, reference: Floats) -> tuple[float, float]:
    """Unbiased kernel distance and its standard error, over which rows of ``features`` were drawn.

    The kernel is exp(-|x - y|² / s) on rows of unit length; s is the median of |x - y|² over the reference's pairs.
    """
    own, other = _unit(features), _unit(reference)
    among = _squares(other, other)
    scale = float(np.median(among[np.triu_indices(len(other), 1)]))
    return _discrepancy(*(np.exp(-squares / scale) for squares in (_squares(own, own), _squares(own, other), among)))


def cubic_distance(features: Floats, reference: Floats) -> float:
    """The same under KID's kernel, (x·y / d + 1)³, on features over the reference's mean standard deviation."""
    scale = float(np.asarray(reference, np.float64).std(axis=0).mean())
    own, other = np.asarray(features, np.float64) / scale, np.asarray(reference, np.float64) / scale
    width = own.shape[1]
    return _discrepancy(*((a @ b.T / width + 1) ** 3 for a, b in ((own, own), (own, other), (other, other))))[0]


def _discrepancy(within: Floats, across: Floats, among: Floats) -> tuple[float, float]:
    """Unbiased squared maximum mean discrepancy of n rows and m of the reference, from the kernel's values ``within``
    (n, n), ``across`` (n, m) and ``among`` (m, m), and its standard error: the jackknife's (Efron and Stein 1981) over
    the n, the reference taken as given. With fewer than three rows the error is infinite."""
    n, m = across.shape
    constant = (among.sum() - np.trace(among)) / (m * (m - 1))
    pairs, crosses = within.sum(axis=1) - np.diag(within), across.sum(axis=1)
    found = float(pairs.sum() / (n * (n - 1)) + constant - 2 * crosses.sum() / (n * m))
    if n < 3:
        return found, math.inf
    fewer = n - 1
    without = (pairs.sum() - 2 * pairs) / (fewer * (fewer - 1)) - 2 * (crosses.sum() - crosses) / (fewer * m)
    return found, float(np.sqrt(fewer / n * ((without - without.mean()) ** 2).sum()))


def _unit(features: Floats) -> NDArray[np.float64]:
    values = np.asarray(features, np.float64)
    unit: NDArray[np.float64] = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    return unit


def _squares(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distances between rows of unit length."""
    return np.maximum(2 - 2 * a @ b.T, 0)


def frechet_distance(features: Floats, reference: Floats) -> float:
    """Fréchet distance of the Gaussians with the means and covariances of both; falls with the number of pictures.

    The trace of the root of the product of two covariances XᵀX and YᵀY is the sum of the singular values of XYᵀ.
    """
    own, other = np.asarray(features, np.float64), np.asarray(reference, np.float64)
    apart = own.mean(axis=0) - other.mean(axis=0)
    x = (own - own.mean(axis=0)) / math.sqrt(len(own) - 1)
    y = (other - other.mean(axis=0)) / math.sqrt(len(other) - 1)
    return float(apart @ apart + (x**2).sum() + (y**2).sum() - 2 * np.linalg.norm(x @ y.T, "nuc"))


def earth_mover_distance(features: Floats, labels: NDArray[np.int64], reference: Floats) -> float:
    """Earth mover's distance between class means, each weighing its share of the pictures; exp(-0.01 d) is Cui et al.'s
    similarity. The reference's rows are its classes.

    Shares are rounded to as many equal parts as the reference has rows, which makes it an assignment problem.
    """
    from scipy.optimize import linear_sum_assignment  # only here: a page need not wait for it

    classes, counts = np.unique(labels, return_counts=True)
    means = np.stack([features[labels == label].mean(axis=0) for label in classes]).astype(np.float64)
    ends = np.round(np.cumsum(counts) / counts.sum() * len(reference)).astype(int)
    parts = np.repeat(np.arange(len(classes)), np.diff(ends, prepend=0))
    distances = np.sqrt(((reference[:, None, :] - means[None]) ** 2).sum(axis=2))[:, parts]
    return float(distances[linear_sum_assignment(distances)].mean())


@cache
def load_reference() -> Reference:
    """The reference that comes with the harness: made by ``benchmarks/similarity.py``."""
    with np.load(shipped_folder("datasets") / "imagenet_reference.npz", allow_pickle=False) as archive:
        return Reference(archive["features"].astype(np.float32), int(archive["image_size"]), str(archive["weights"]))


@cache
def known_sets() -> dict[str, Similarity]:
    """The measured distances of the sets that a new one is ranked among, the most similar first."""
    table = json.loads((shipped_folder("datasets") / "similarity.json").read_text(encoding="utf-8"))
    found = {name: Similarity(**figures) for name, figures in table["sets"].items()}
    return dict(sorted(found.items(), key=lambda item: item[1].distance))


def rank(similarity: Similarity) -> str:
    """Where a distance stands among the known sets, in words, as far as the sample can tell."""
    known = known_sets()
    low, high = similarity.interval
    nearer = [f"{name} {found.distance:.3f}" for name, found in known.items() if found.distance < low]
    farther = [f"{name} {found.distance:.3f}" for name, found in known.items() if found.distance > high]
    like = [f"{name} {found.distance:.3f}" for name, found in known.items() if low <= found.distance <= high]
    told = [f"farther than {nearer[-1]}"] if nearer else []
    told += [f"like {', '.join(like)}"] if like else []
    told += [f"nearer than {farther[0]}"] if farther else []
    first, last = len(nearer) + 1, len(nearer) + len(like) + 1
    place = f"{first}" if first == last else f"{first} to {last}"
    return f"rank {place} of {len(known) + 1} ({', '.join(told)})"
