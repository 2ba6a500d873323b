"""Find exact and near duplicates among the images of a data set."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from harness.data.inspection import Facts
from harness.data.listing import Listing

LEAST_CORRELATION = 0.995
"""Correlation of two thumbnails from which they are near duplicates. Photos saved again at JPEG quality 40 or at half
size stay above it, photos cropped by 2 % do not. At 0.99, a thousand pairs of handwritten ones would count."""

_AXES = 16  # principal components in which neighbours are searched
_SAMPLE = 4096  # thumbnails from which the components are computed
_NEIGHBOURS = 8  # nearest images compared; further copies are found through these
_CHUNK = 32_768


def exact(facts: Facts, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the sets of two or more ``rows`` with the same digest, each in ascending order."""
    order = rows[np.argsort(facts.digests[rows], kind="stable")]
    ends = np.flatnonzero(facts.digests[order[1:]] != facts.digests[order[:-1]]) + 1
    return sorted((same for same in np.split(order, ends) if len(same) > 1), key=lambda same: int(same[0]))


def near(facts: Facts, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the pairs (m, 2) of ``rows`` that are near but not exact duplicates, in ascending order.

    Near duplicates are images whose 16 x 16 grey thumbnails correlate: copies that were scaled, saved again, made
    lighter or darker. Constant images are left out. Candidates are neighbours in a k-d tree of the first principal
    components. The distance of standardised thumbnails is sqrt(2 - 2 correlation) and projection never increases it,
    so that no pair is missed.
    """
    rows = rows[~facts.constant[rows]]
    if len(rows) < 2:
        return np.zeros((0, 2), np.int64)
    values = _standardised(facts.thumbnails[rows])
    sample = values[:: -(-len(values) // _SAMPLE)]
    axes = np.linalg.eigh(sample.T @ sample)[1][:, -_AXES:]
    projected = values @ axes
    radius = np.sqrt(2 - 2 * LEAST_CORRELATION) + 1e-6
    _, neighbours = KDTree(projected).query(projected, k=1 + _NEIGHBOURS, distance_upper_bound=radius, workers=-1)
    own, column = np.nonzero(neighbours < len(rows))
    other = neighbours[own, column]
    pairs = np.unique(np.sort(np.stack([own, other], axis=1), axis=1)[own != other], axis=0)
    alike = [
        np.einsum("np,np->n", values[a], values[b]) >= LEAST_CORRELATION
        for a, b in (pairs[first : first + _CHUNK].T for first in range(0, len(pairs), _CHUNK))
    ]
    found: NDArray[np.int64] = rows[pairs[np.concatenate(alike)]] if alike else np.zeros((0, 2), np.int64)
    different: NDArray[np.int64] = found[facts.digests[found[:, 0]] != facts.digests[found[:, 1]]]
    return different


def _standardised(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return rows (n, pixels) with mean 0 and norm 1, whose dot products are correlations."""
    values: NDArray[np.float32] = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)
    return values


def kept_together(listing: Listing, facts: Facts, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each of ``rows`` (n,) the number of the set that must not be divided: images of one group, and exact
    and near duplicates."""
    position = {row: at for at, row in enumerate(rows.tolist())}
    pairs = [(same[0], other) for same in exact(facts, rows) for other in same[1:]]
    pairs += [(a, b) for a, b in near(facts, rows)]
    if listing.groups is not None:
        first: dict[int, int] = {}
        pairs += [(first.setdefault(group, row), row) for group, row in zip(listing.groups[rows], rows, strict=True)]
    a, b = (np.array([position[int(pair[side])] for pair in pairs], np.int64) for side in (0, 1))
    linked = coo_array((np.ones(len(pairs)), (a, b)), shape=(len(rows), len(rows)))
    numbers: NDArray[np.int64] = connected_components(linked, directed=False)[1].astype(np.int64)
    return numbers
