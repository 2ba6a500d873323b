"""Read manifests: tables that list files and their labels."""

import os
from collections.abc import Sequence, Set
from pathlib import Path

import pandas as pd

from harness.core.errors import DataError
from harness.data.filenames import find_files
from harness.data.folders import images_below
from harness.data.listing import Listing, examples, part_name, shown
from harness.data.tables import read_table

COLUMNS = ("filename", "label", "split", "group")
"""The columns that are read, in upper or lower case."""


def manifests_beside(train: Path) -> list[Path]:
    """Return the manifests of other parts next to ``train.csv``, as in the article's layout."""
    return [path for path in sorted(train.parent.glob("*.csv")) if part_name(path.stem) not in (None, "train")]


def list_manifests(name: str, manifests: Sequence[Path], *, whole_folder: bool = False) -> Listing:
    """List one manifest, or ``train.csv`` and those next to it.

    With ``whole_folder``, note the images in their folder that they do not list. Raises DataError if a table is
    invalid.
    """
    home = manifests[0].parent
    notes: list[str] = []
    frames = []
    listed: set[str] = set()
    for manifest in manifests:
        frame = _read(manifest)
        part = part_name(manifest.stem)
        if "filename" in frame:
            frame["filename"], spelled = find_files(home, frame["filename"].tolist(), _folders(part))
            listed.update(map(os.path.normpath, frame["filename"]))
            notes += [f"{manifest.name}: {note}" for note in spelled]
        if "label" not in frame and manifest is not manifests[0]:
            notes.append(f"{manifest.name} has no column label: its {len(frame):,} files are left out")
            continue
        check_columns(frame, str(manifest))
        if "split" not in frame:
            frame["split"] = part or "train"
        frames.append(frame)
    rows = pd.concat(frames, ignore_index=True).fillna("")
    unlabelled = rows["label"].str.strip() == ""
    if unlabelled.any():
        without = rows["filename"][unlabelled].tolist()
        notes.append(f"files without a label, left out: {len(without):,} ({examples(without)})")
        rows = rows[~unlabelled]
    parts = [part_name(word) for word in rows["split"]]
    if None in parts:
        word = rows["split"].iloc[parts.index(None)]
        raise DataError(f"{manifests[0]}: split has {shown(word)}: only train, validation (or val) and test are known")
    if whole_folder:
        notes += _unlisted(home, listed)
    groups = rows["group"].tolist() if "group" in rows else None
    return Listing.of_words(
        name, home, rows["filename"].tolist(), rows["label"].tolist(), [part or "" for part in parts], groups, notes
    )


def check_columns(frame: pd.DataFrame, where: str) -> None:
    """Raise DataError if the table ``where`` lacks a column that a manifest needs."""
    missing = {"filename", "label"} - set(frame)
    if missing:
        columns = ", ".join(map(shown, map(str, frame.columns)))
        raise DataError(
            f"{where} has no column {min(missing)!r}, only {columns}: rename one or add it (filename,label)"
        )


def _unlisted(home: Path, listed: Set[str]) -> list[str]:
    """Return a note on the images below ``home`` that are not ``listed``."""
    try:
        others = [file for file in images_below(home)[0] if file not in listed]
    except DataError as error:  # the images that are listed may be elsewhere
        return [f"{error}: whether it holds images that no manifest lists is not known"]
    if not others:
        return []
    return [
        "train.csv comes before class folders; images that no manifest here lists, left out: "
        f"{len(others):,} ({examples(others)})"
    ]


def _read(manifest: Path) -> pd.DataFrame:
    """Return the known columns of a manifest, all of it if one of the needed is missing."""
    frame = read_table(manifest, key="filename")
    for column in COLUMNS:
        if list(frame.columns).count(column) > 1:
            raise DataError(f"{manifest} has more than one column {column!r}: rename or remove all but one")
    known = [column for column in COLUMNS if column in frame]
    return frame[known] if {"filename", "label"} <= set(known) else frame


def _folders(part: str | None) -> list[str]:
    """Return where the files of a manifest may be, relative to its folder."""
    return ["", *(f"{above}{part}" for above in ("Images/", "images/", "") if part), "Images", "images"]
