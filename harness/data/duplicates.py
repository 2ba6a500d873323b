"""Images that are in a data set more than once: the same bytes, and those that look alike."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from harness.data.inspection import Facts

LEAST_CORRELATION = 0.995
"""Between the grey levels of two thumbnails. Photos saved again at JPEG quality 40 or at half their size stay above it,
a border of two hundredths cut off does not; at .99 a thousand pairs of handwritten ones would be called alike."""

_AXES = 16  # directions in which thumbnails differ most, along which neighbours are looked for
_SAMPLE = 4096  # thumbnails that show these directions
_NEIGHBOURS = 8  # nearest images that are looked at: an image with more copies is found through them
_CHUNK = 32_768


def exact(facts: Facts, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Those of ``rows`` with the same digest, two or more each: the rows of each such image, ascending."""
    order = rows[np.argsort(facts.digests[rows], kind="stable")]
    ends = np.flatnonzero(facts.digests[order[1:]] != facts.digests[order[:-1]]) + 1
    return sorted((same for same in np.split(order, ends) if len(same) > 1), key=lambda same: int(same[0]))


def near(facts: Facts, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pairs (m, 2) of ``rows`` that look alike and are not the same, ascending.

    Alike are images whose 16 x 16 grey thumbnails correlate: copies that were scaled, saved again, made lighter or
    darker, not images of the same thing. Constant images are left out. Standardised thumbnails have a distance of
    sqrt(2 - 2 correlation), and projections are no farther apart: so the candidates are neighbours in a tree of the
    first principal components, and none is missed.
    """
    rows = rows[~facts.constant[rows]]
    if len(rows) < 2:
        return np.zeros((0, 2), np.int64)
    values = _standardised(facts.thumbnails[rows])
    sample = values[:: -(-len(values) // _SAMPLE)]
    axes = np.linalg.eigh(sample.T @ sample)[1][:, -_AXES:]
    places = values @ axes
    radius = np.sqrt(2 - 2 * LEAST_CORRELATION) + 1e-6
    _, neighbours = KDTree(places).query(places, k=1 + _NEIGHBOURS, distance_upper_bound=radius, workers=-1)
    own, place = np.nonzero(neighbours < len(rows))
    other = neighbours[own, place]
    pairs = np.unique(np.sort(np.stack([own, other], axis=1), axis=1)[own != other], axis=0)
    alike = [
        np.einsum("np,np->n", values[a], values[b]) >= LEAST_CORRELATION
        for a, b in (pairs[first : first + _CHUNK].T for first in range(0, len(pairs), _CHUNK))
    ]
    found: NDArray[np.int64] = rows[pairs[np.concatenate(alike)]] if alike else np.zeros((0, 2), np.int64)
    different: NDArray[np.int64] = found[facts.digests[found[:, 0]] != facts.digests[found[:, 1]]]
    return different


def _standardised(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, pixels) with mean 0 and length 1: products of two are correlations."""
    values: NDArray[np.float32] = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)
    return values
