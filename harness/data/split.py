"""Draw the training, validation and test set of a study: seeded, stratified by class, with whole groups."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from harness.core.errors import DataError
from harness.core.spec import DataSpec
from harness.data.listing import Listing, PartName, examples, shown

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

    def notes(self, listing: Listing) -> list[str]:
        """Return a sentence for each of validation and test set that has no image of some class."""
        notes = []
        for part, rows in (("validation", self.validation), ("test", self.test)):
            absent = np.flatnonzero(_counts(listing, rows) == 0)
            if len(absent):
                names = [listing.class_names[label] for label in absent]
                notes.append(
                    f"classes without an image in the {part} set, whose scores say nothing about them: {len(names):,} "
                    f"({examples(names)})"
                )
        return notes


def draw_parts(listing: Listing, readable: Rows, data: DataSpec, seed: int) -> Parts:
    """Draw the parts of a study from the ``readable`` rows, reproducibly for the same listing, sizes and seed.

    Parts of the data set are kept, or sampled if a smaller size is asked for. Missing parts are drawn from its training
    images, with an image of every class that has one to spare. No group is on two sides, so that with groups the sizes
    are approximate.

    Raises:
        DataError: a size does not fit, or classes or groups cannot be split.
    """
    train, validation, test = (readable[listing.parts[readable] == part] for part in ("train", "validation", "test"))
    if len(train) == 0:
        raise DataError(f"{listing.name} has no training image that can be read: add some")
    _check_groups(listing, train, validation, test)
    _check_classes(listing, readable, train)
    if len(test):
        test = _sample(listing, test, data.test_size, seed, "test")
    else:
        n_test = data.test_size if data.test_size is not None else _default_size(listing, train, data)
        _check_sizes(listing, train, train=data.train_size, validation=data.validation_size, test=n_test)
        test, train = _cut(listing, train, n_test, seed, "test", data.test_size, leave=1 if len(validation) else 2)
    if len(validation):
        size = data.validation_size
        if size is None and data.max_images is not None and len(train) + len(validation) > data.max_images:
            size = min(len(validation), max(len(listing.class_names), int(data.max_images * DEFAULT_SHARE)))
        validation = _sample(listing, validation, size, seed + 1, "validation")
        _check_sizes(listing, train, train=data.train_size)
    else:
        n = data.validation_size if data.validation_size is not None else _default_size(listing, train, data)
        _check_sizes(listing, train, train=data.train_size, validation=n)
        validation, train = _cut(listing, train, n, seed + 1, "validation", data.validation_size, leave=1)
    n_train = _train_size(len(train), len(validation), data)
    if data.train_size is None and n_train < len(listing.class_names):
        raise DataError(
            f"data.max_images = {data.max_images} leaves {n_train:,} training images for the "
            f"{len(listing.class_names):,} classes of {listing.name}: ask for {len(listing.class_names):,} or more "
            "with --train-size (data.train_size)"
        )
    return Parts(_sample(listing, train, n_train, seed + 2, "train"), validation, test)


def _counts(listing: Listing, rows: Rows) -> NDArray[np.int64]:
    """Return the number of ``rows`` of each class (c,)."""
    return np.bincount(listing.labels[rows], minlength=len(listing.class_names))


def _default_size(listing: Listing, train: Rows, data: DataSpec) -> int:
    divisible = int(np.sum(_counts(listing, train) > 1))
    return max(divisible, int(min(len(train), data.max_images or len(train)) * DEFAULT_SHARE))


def _train_size(left: int, n_validation: int, data: DataSpec) -> int:
    if data.train_size is not None:
        return data.train_size
    return left if data.max_images is None else min(left, max(1, data.max_images - n_validation))


def _asked(part: PartName, size: int) -> str:
    return f"data.{part}_size {size}"


def _check_sizes(listing: Listing, rows: Rows, **sizes: int | None) -> None:
    """Raise DataError if the ``sizes`` of parts that come from ``rows`` are more than it has."""
    if sum(size or 0 for size in sizes.values()) <= len(rows):
        return
    asked = " + ".join(f"data.{part}_size {size}" for part, size in sizes.items() if size is not None)
    raise DataError(f"{asked} asked of {listing.name}, which has {len(rows)} images for them: ask for fewer")


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


def _check_classes(listing: Listing, readable: Rows, train: Rows) -> None:
    """Raise DataError, with the reason, if a class has no training image."""
    missing = np.flatnonzero(_counts(listing, train) == 0)
    if len(missing) == 0:
        return
    label = missing[0]
    own = np.flatnonzero(listing.labels == label)
    elsewhere = readable[listing.labels[readable] == label]
    if len(own) == 0:
        why = f"no image has its label {label}, and labels are numbered from 0: number them so, or leave the class out"
    elif len(elsewhere) == 0:
        why = f"none of its {len(own):,} images can be read: give it others, or leave the class out"
    else:
        where = " and ".join(sorted(set(listing.parts[elsewhere].tolist())))
        why = f"its {len(elsewhere):,} images are in the {where} set: give it training images, or leave the class out"
    more = f" (and {len(missing) - 1:,} other classes have none)" if len(missing) > 1 else ""
    raise DataError(f"{listing.name} has no training image of class {shown(listing.class_names[label])}{more}: {why}")


def _sample(listing: Listing, rows: Rows, size: int | None, seed: int, part: PartName) -> Rows:
    """Return ``size`` of ``rows``, stratified by class and shuffled; or all as they are. The others are not used, so
    that groups may be divided."""
    if size is None or size == len(rows):
        return rows
    if size > len(rows):
        raise DataError(
            f"{_asked(part, size)}, but {listing.name} has {len(rows)} {part} images: ask for {len(rows)} or fewer"
        )
    counts = _counts(listing, rows)
    _check_enough(listing, size, int(np.sum(counts > 0)), part)
    alone = counts[listing.labels[rows]] == 1
    drawn, others = _stratified(listing, rows[~alone], size - int(alone.sum()), seed)
    drawn = np.concatenate([drawn, rows[alone]])
    _swap(listing, drawn, others, least=np.minimum(counts, 1), least_left=np.zeros_like(counts))
    return drawn


def _cut(
    listing: Listing, rows: Rows, size: int, seed: int, part: PartName, asked: int | None, leave: int
) -> tuple[Rows, Rows]:
    """Return ``size`` of ``rows``, stratified by class, and the others; both shuffled.

    A class of two or more has a row drawn; ``leave`` others or all that it has are left. A class of one row is left.
    With groups this holds for its groups.
    """
    name, counts = listing.name, _counts(listing, rows)
    least = (counts > 1).astype(np.int64)
    least_left = np.minimum(leave, counts - least)
    left = len(rows) - size
    if least.sum() < 2 or (asked is None and left < least_left.sum()):
        smallest = int(np.where(counts > 0, counts, counts.max()).argmin())
        raise DataError(
            f"{name} has too few images to cut a {part} set from: {len(rows)} for {np.sum(counts > 0)} classes (the "
            f"smallest, {shown(listing.class_names[smallest])}, has {counts[smallest]} of them): give each class 3 or "
            "more, one for each of the training, validation and test set"
        )
    _check_enough(listing, size, int(least.sum()), part)
    if left < least_left.sum():
        raise DataError(
            f"{_asked(part, size)} leaves {left} of {len(rows)} images of {name}, but its other parts need "
            f"{least_left.sum()}: ask for fewer"
        )
    if listing.groups is not None:
        return _cut_groups(listing, rows, size, seed, leave)
    alone = counts[listing.labels[rows]] == 1
    drawn, others = _stratified(listing, rows[~alone], size, seed)
    others = np.concatenate([others, rows[alone]])
    _swap(listing, drawn, others, least, least_left)
    return drawn, others


def _check_enough(listing: Listing, size: int, classes: int, part: PartName) -> None:
    if size < classes:
        raise DataError(
            f"{_asked(part, size)} is fewer than the {classes:,} classes of {listing.name}: ask for {classes:,} or more"
        )


def _stratified(listing: Listing, rows: Rows, size: int, seed: int) -> tuple[Rows, Rows]:
    """Return ``size`` of ``rows``, in which every class has two or more, and the others; both shuffled."""
    counts = _counts(listing, rows)
    if len(rows) - size >= np.sum(counts > 0):
        drawn, others = train_test_split(rows, train_size=size, stratify=listing.labels[rows], random_state=seed)
        return drawn, others
    shuffled = np.random.default_rng(seed).permutation(rows)
    out = np.zeros(len(rows), np.bool_)
    for _ in range(len(rows) - size):  # too few for scikit-learn: out of the largest class, one by one
        label = counts.argmax()
        counts[label] -= 1
        out[np.flatnonzero((listing.labels[shuffled] == label) & ~out)[0]] = True
    return shuffled[~out], shuffled[out]


def _swap(listing: Listing, drawn: Rows, others: Rows, least: NDArray[np.int64], least_left: NDArray[np.int64]) -> None:
    """Exchange rows, in place, until each class has ``least`` (c,) of ``drawn`` and ``least_left`` (c,) of ``others``.
    Stratified draws round, so that a rare class may have none."""
    for here, there, needed in ((drawn, others, least), (others, drawn, least_left)):
        spare = _counts(listing, here) - needed
        for label in np.flatnonzero(spare < 0):
            for comes in np.flatnonzero(listing.labels[there] == label)[: -spare[label]]:
                goes = np.flatnonzero(listing.labels[here] == spare.argmax())[-1]
                spare[spare.argmax()] -= 1
                here[goes], there[comes] = there[comes], here[goes]


def _cut_groups(listing: Listing, rows: Rows, size: int, seed: int, leave: int) -> tuple[Rows, Rows]:
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
    _move_groups(counts, chosen, leave)
    there = counts.sum(axis=0) > 0
    lacking = {how: there & (counts[side].sum(axis=0) == 0) for how, side in (("drawn", chosen), ("left", ~chosen))}
    for how, absent in lacking.items():
        if (how == "left" and absent.any()) or np.sum(there & ~absent) < 2:
            raise DataError(
                f"the groups of {listing.name} cannot be split: with about {size} of {len(rows)} images drawn, class "
                f"{shown(listing.class_names[np.flatnonzero(absent)[0]])} has none {how}: give smaller groups or other "
                "sizes"
            )
    shuffled = draws.permutation(len(rows))
    return rows[shuffled[chosen[which][shuffled]]], rows[shuffled[~chosen[which][shuffled]]]


def _move_groups(counts: NDArray[np.float64], chosen: NDArray[np.bool_], leave: int) -> None:
    """Change ``chosen`` (g,) in place, small groups first, until each class of two groups or more has one chosen, and
    ``leave`` or all others left, as far as other classes can spare the groups. ``counts`` (g, c) are of images."""
    has = counts > 0
    groups = has.sum(axis=0)
    least = (groups > 1).astype(np.int64)
    needed = {True: least, False: np.minimum(leave, groups - least)}
    by_size = np.argsort(counts.sum(axis=1), kind="stable")
    for label in np.argsort(groups, kind="stable"):
        for side in (False, True):
            short = needed[side][label] - np.sum(has[:, label] & (chosen == side))
            for group in by_size[has[by_size, label] & (chosen[by_size] != side)] if short > 0 else ():
                spare = has[chosen != side].sum(axis=0) - needed[not side]
                if short > 0 and (spare[has[group]] > 0).all():
                    chosen[group] = side
                    short -= 1
