"""Draw the training, validation and test set of a study: seeded, stratified by class, with whole groups."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from harness.core.errors import DataError
from harness.core.spec import DataSpec
from harness.data.listing import Listing, shown

DEFAULT_SHARE = 0.2
"""Share of the training images (at least one per class) for a validation or test set that the data set does not have,
if no size is asked for."""

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Parts:
    """Rows of a listing, in the order in which they were drawn."""

    train: Rows
    validation: Rows
    test: Rows


def draw_parts(listing: Listing, readable: Rows, data: DataSpec, seed: int) -> Parts:
    """Draw the parts of a study from the ``readable`` rows, reproducibly for the same listing, sizes and seed.

    Parts of the data set are kept, or sampled if a smaller size is asked for. Missing parts are drawn from its training
    images. No group is on two sides, so that with groups the sizes are approximate.

    Raises:
        DataError: a size is too large, or classes or groups cannot be split.
    """
    train, validation, test = (readable[listing.parts[readable] == part] for part in ("train", "validation", "test"))
    if len(train) == 0:
        raise DataError(f"{listing.name} has no training image that can be read: add some")
    _check_groups(listing, train, validation, test)
    if len(test):
        test = _at_most(listing, test, data.test_size, seed, "test")
    else:
        n_test = data.test_size if data.test_size is not None else _default_size(listing, len(train), data)
        _check_sizes(listing.name, len(train), train=data.train_size, validation=data.validation_size, test=n_test)
        test, train = _draw(listing, train, n_test, seed)
    if len(validation):
        size = data.validation_size
        if size is None and data.max_images is not None and len(train) + len(validation) > data.max_images:
            size = min(len(validation), _default_size(listing, data.max_images, data))
        validation = _at_most(listing, validation, size, seed + 1, "validation")
        _check_sizes(listing.name, len(train), train=data.train_size)
    else:
        n = data.validation_size if data.validation_size is not None else _default_size(listing, len(train), data)
        _check_sizes(listing.name, len(train), train=_train_size(len(train) - n, n, data), validation=n)
        validation, train = _draw(listing, train, n, seed + 1)
    n_train = _train_size(len(train), len(validation), data)
    if n_train < len(train):
        # The others are not used, so that groups may be divided.
        train = _draw(replace(listing, groups=None), train, n_train, seed + 2)[0]
    missing = [name for label, name in enumerate(listing.class_names) if label not in listing.labels[train]]
    if missing:
        raise DataError(
            f"{listing.name} has no training image of class {shown(missing[0])}: give it some, or leave the class out"
        )
    return Parts(train, validation, test)


def _default_size(listing: Listing, available: int, data: DataSpec) -> int:
    return max(len(listing.class_names), int(min(available, data.max_images or available) * DEFAULT_SHARE))


def _train_size(left: int, n_validation: int, data: DataSpec) -> int:
    if data.train_size is not None:
        return data.train_size
    return left if data.max_images is None else min(left, max(1, data.max_images - n_validation))


def _at_most(listing: Listing, rows: Rows, size: int | None, seed: int, part: str) -> Rows:
    if size is not None and size > len(rows):
        raise DataError(
            f"data.{part}_size = {size}, but {listing.name} has {len(rows)} {part} images: ask for {len(rows)} or fewer"
        )
    return rows if size is None or size == len(rows) else _draw(replace(listing, groups=None), rows, size, seed)[0]


def _check_sizes(name: str, available: int, **asked: int | None) -> None:
    total = sum(size or 0 for size in asked.values())
    if total > available or 0 in asked.values():
        sizes = " + ".join(f"data.{part}_size {size}" for part, size in asked.items() if size is not None)
        raise DataError(
            f"{sizes} asked of {name}, which has {available} images for them: every part needs some, lower the sizes"
        )


def _check_groups(listing: Listing, *parts: Rows) -> None:
    if listing.groups is None:
        return
    groups = [set(listing.groups[rows].tolist()) for rows in parts]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        for group in groups[i] & groups[j]:
            a, b = (rows[listing.groups[rows] == group][0] for rows in (parts[i], parts[j]))
            raise DataError(
                f"{listing.name}: {shown(listing.row_name(a))} and {shown(listing.row_name(b))} are of one group, but "
                f"in the {listing.parts[a]} and the {listing.parts[b]} set: put every group into one of them"
            )


def _draw(listing: Listing, rows: Rows, size: int, seed: int) -> tuple[Rows, Rows]:
    """Return ``size`` of ``rows``, stratified by class, and the others; both shuffled."""
    labels = listing.labels[rows]
    classes, counts = np.unique(labels, return_counts=True)
    if counts.min() < 2 or size < len(classes) or len(rows) - size < len(classes):
        smallest = classes[counts.argmin()]
        raise DataError(
            f"{size} of {len(rows)} images of {listing.name} cannot be drawn with all {len(classes)} classes on both "
            f"sides (the smallest, {shown(listing.class_names[smallest])}, has {counts.min()} there): give each class "
            "one image for each part, or leave it out"
        )
    if listing.groups is not None:
        return _draw_groups(listing, rows, size, seed)
    drawn, others = train_test_split(rows, train_size=size, stratify=labels, random_state=seed)
    return drawn, others


def _draw_groups(listing: Listing, rows: Rows, size: int, seed: int) -> tuple[Rows, Rows]:
    """Return whole groups with about ``size`` rows, stratified by class, and the others. Like scikit-learn's
    StratifiedGroupKFold: largest groups first, in a seeded order, each taken if it brings the class counts nearer."""
    assert listing.groups is not None
    groups, which = np.unique(listing.groups[rows], return_inverse=True)
    counts = np.zeros((len(groups), len(listing.class_names)))
    np.add.at(counts, (which, listing.labels[rows]), 1)
    draws = np.random.default_rng(seed)
    order = draws.permutation(len(groups))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    missing = counts.sum(axis=0) * size / len(rows)
    chosen = np.zeros(len(groups), np.bool_)
    for group in order:
        if np.square(missing - counts[group]).sum() < np.square(missing).sum():
            chosen[group] = True
            missing = missing - counts[group]
    for side, there in ((chosen, "drawn"), (~chosen, "left")):
        absent = np.flatnonzero((counts[side].sum(axis=0) == 0) & (counts.sum(axis=0) > 0))
        if len(absent):
            raise DataError(
                f"the groups of {listing.name} cannot be split: with about {size} of {len(rows)} images drawn, class "
                f"{shown(listing.class_names[absent[0]])} has none {there}: give smaller groups or other sizes"
            )
    shuffled = draws.permutation(len(rows))
    return rows[shuffled[chosen[which][shuffled]]], rows[shuffled[~chosen[which][shuffled]]]
