"""Apply a user's decisions on labels to a study's images. No file is touched."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.core.errors import DataError
from harness.core.spec import Relabelled
from harness.core.validation import nearest
from harness.data.listing import Listing, shown
from harness.data.split import Parts
from harness.data.tables import read_table

COLUMNS = ("file", "label", "decision")
"""The columns that are read. An empty decision is `KEEP`; one that is neither `KEEP` nor `DROP` names a class."""
KEEP, DROP = "keep", "drop"


def read_decisions(table: Path, listing: Listing) -> tuple[Relabelled, ...]:
    """Read the decisions that change something from a CSV or Parquet file like the one that `harness errors` writes.

    Raises DataError, one line, for a missing column, a file or class that ``listing`` does not have, a label that is
    not the file's, and rows that contradict each other.
    """
    frame = read_table(table, key="file")
    for column in COLUMNS:
        if list(frame.columns).count(column) != 1:
            many = "more than one" if column in frame else "no"
            raise DataError(
                f"{table} has {many} column {column!r}, but {', '.join(map(shown, frame.columns))}: it needs one each "
                f"of {', '.join(COLUMNS)}"
            )
    known = _rows(listing)
    decisions: dict[tuple[str, str], str | None] = {}
    for file, label, word in zip(*(frame[column].str.strip() for column in COLUMNS), strict=True):
        if (file, label) not in known:
            raise DataError(f"{table}: {_unknown(file, label, listing)}")
        becomes = _class(word, label, listing, f"{table}, {shown(file)}")
        if decisions.setdefault((file, label), becomes) != becomes:
            raise DataError(
                f"{table} has two decisions on {shown(file)}, {_in_words(decisions[file, label], label)} and "
                f"{_in_words(becomes, label)}: leave one of its rows"
            )
    changes = [(file, label, becomes) for (file, label), becomes in decisions.items() if becomes != label]
    return tuple(Relabelled(file=file, label=label, becomes=becomes) for file, label, becomes in sorted(changes))


def relabelled(listing: Listing, parts: Parts, decisions: Sequence[Relabelled]) -> tuple[Listing, Parts]:
    """Apply ``decisions`` to training and validation images, whose parts were drawn before, so that an image stays in
    its part.

    Test images keep their label and stay: the test set measures what it did before. The returned listing notes what
    was done. Raises DataError where an image or class does not exist, or a part would lack what a study needs.
    """
    if not decisions:
        return listing, parts
    rows_of, number = _rows(listing), {name: label for label, name in enumerate(listing.class_names)}
    labels, kept = listing.labels.copy(), np.ones(len(listing), np.bool_)
    searched = np.zeros(len(listing), np.bool_)
    searched[parts.train] = searched[parts.validation] = True
    on_test, on_others = 0, 0
    for decision in decisions:
        rows = rows_of.get((decision.file, decision.label))
        if rows is None:
            raise DataError(f"--relabel: {_unknown(decision.file, decision.label, listing)}")
        if decision.becomes is not None and decision.becomes not in number:
            raise DataError(f"--relabel: {_no_class(decision.becomes, listing)}")
        on_test += int(np.isin(rows, parts.test).sum())
        on_others += int((~np.isin(rows, parts.test) & ~searched[rows]).sum())
        rows = [row for row in rows if searched[row]]
        if decision.becomes is None:
            kept[rows] = False
        else:
            labels[rows] = number[decision.becomes]
    changed, dropped = int((labels != listing.labels).sum()), int((~kept).sum())
    train, validation = (rows[kept[rows]] for rows in (parts.train, parts.validation))
    _check(replace(listing, labels=labels), Parts(train, validation, parts.test))
    note = f"decided with --relabel: {in_words(changed, dropped)}, in training and validation set"
    if on_test:
        note += f"; decisions on test images, not followed, so that the test set stays as it was: {on_test:,}"
    if on_others:
        note += f"; decisions on images that this study does not use: {on_others:,}"
    notes = (*listing.notes, note)
    return replace(listing, labels=labels, notes=notes), replace(parts, train=train, validation=validation)


def in_words(changed: int, dropped: int) -> str:
    """Say how many decisions there are: ``12 labels changed, 3 images dropped``."""
    return f"{changed:,} label{'s' * (changed != 1)} changed, {dropped:,} image{'s' * (dropped != 1)} dropped"


def count(decisions: Sequence[Relabelled]) -> tuple[int, int]:
    """Return the number of decisions that change a label, and of those that drop an image."""
    dropped = sum(decision.becomes is None for decision in decisions)
    return len(decisions) - dropped, dropped


def _rows(listing: Listing) -> dict[tuple[str, str], list[int]]:
    """Return the rows of each file and class. A manifest may list a file more than once."""
    found: dict[tuple[str, str], list[int]] = {}
    for row, label in enumerate(listing.labels.tolist()):
        found.setdefault((listing.row_name(row), listing.class_names[label]), []).append(row)
    return found


def _class(word: str, label: str, listing: Listing, where: str) -> str | None:
    """Return the class that a decision gives an image of class ``label``, or None where it is dropped."""
    decision = word.casefold()
    if decision in (KEEP, DROP) and word in listing.class_names:
        raise DataError(
            f"{where}: decision {word!r} is also a class of {listing.name}, and which is meant is not known: rename "
            "the class"
        )
    if decision in ("", KEEP):
        return label
    if decision == DROP:
        return None
    if word not in listing.class_names:
        raise DataError(f"{where}: decision {shown(word)}: {_no_class(word, listing)}")
    return word


def _unknown(file: str, label: str, listing: Listing) -> str:
    rows = [row for row in range(len(listing)) if listing.row_name(row) == file]
    if not rows:
        return f"{listing.name} has no image {shown(file)}: name it as `harness errors --csv` does, or remove the row"
    classes = " and ".join(shown(listing.class_names[listing.labels[row]]) for row in rows)
    return f"{shown(file)} is of class {classes} in {listing.name}, not {shown(label)}: correct or remove the row"


def _no_class(word: str, listing: Listing) -> str:
    return (
        f"{listing.name} has no class {shown(word)}{nearest(word, listing.class_names)} Give {KEEP}, {DROP} or a class"
    )


def _in_words(becomes: str | None, label: str) -> str:
    return DROP if becomes is None else KEEP if becomes == label else shown(becomes)


def _check(listing: Listing, parts: Parts) -> None:
    """Raise DataError where a class has no training image left, or the validation set no image."""
    left = Counter(listing.labels[parts.train].tolist())
    empty = [name for label, name in enumerate(listing.class_names) if not left[label]]
    if empty:
        raise DataError(f"--relabel leaves class {shown(empty[0])} without a training image: keep one of them")
    if len(parts.validation) == 0:
        raise DataError("--relabel leaves the validation set without an image: keep some of them")
