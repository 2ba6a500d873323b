"""Read manifests: tables that list files and their labels."""

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from harness.core.errors import DataError
from harness.data.listing import Listing, examples, part_name, shown

SUFFIXES = frozenset({".csv", ".parquet"})
COLUMNS = ("filename", "label", "split", "group")
"""The columns that are read, in upper or lower case."""


def manifests_beside(train: Path) -> list[Path]:
    """Return the manifests of other parts next to ``train.csv``, as in the article's layout."""
    return [path for path in sorted(train.parent.glob("*.csv")) if part_name(path.stem) not in (None, "train")]


def list_manifests(name: str, manifests: Sequence[Path]) -> Listing:
    """List one manifest, or ``train.csv`` and those next to it. Raises DataError if a table is invalid."""
    home = manifests[0].parent
    notes: list[str] = []
    frames = []
    for manifest in manifests:
        frame = _table(manifest)
        if "label" not in frame and manifest is not manifests[0]:
            notes.append(f"{manifest.name} has no column label: its {len(frame):,} files are left out")
            continue
        missing = {"filename", "label"} - set(frame)
        if missing:
            columns = ", ".join(map(shown, map(str, frame.columns)))
            raise DataError(f"{manifest} has no column {min(missing)!r}, only {columns}: add it (filename,label)")
        part = part_name(manifest.stem)
        if "split" not in frame:
            frame["split"] = part or "train"
        frame["filename"] = _found(home, frame["filename"].tolist(), part)
        frames.append(frame)
    rows = pd.concat(frames, ignore_index=True).fillna("")
    rows["label"] = rows["label"].str.strip()
    unlabelled = rows["label"] == ""
    if unlabelled.any():
        without = rows["filename"][unlabelled].tolist()
        notes.append(f"files without a label, left out: {len(without):,} ({examples(without)})")
        rows = rows[~unlabelled]
    parts = [part_name(word) for word in rows["split"]]
    if None in parts:
        word = rows["split"].iloc[parts.index(None)]
        raise DataError(f"{manifests[0]}: split has {shown(word)}: only train, validation (or val) and test are known")
    groups = rows["group"].tolist() if "group" in rows else None
    return Listing.of_words(
        name, home, rows["filename"].tolist(), rows["label"].tolist(), [part or "" for part in parts], groups, notes
    )


def _table(manifest: Path) -> pd.DataFrame:
    """Read the manifest with all cells as text, since "007" and "NA" may be labels."""
    try:
        if manifest.suffix.lower() == ".csv":
            frame = pd.read_csv(manifest, dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False)
        else:
            frame = pd.read_parquet(manifest).astype(object)
        frame = frame.where(frame.notna(), "").astype(str).rename(columns=lambda column: str(column).strip().casefold())
    except ImportError:
        raise DataError(f"{manifest} is a Parquet file: `pip install pyarrow` to read it, or give a .csv") from None
    except (OSError, ValueError) as error:  # the errors of pandas and Arrow are subclasses
        raise DataError(f"{manifest} cannot be read as a table ({error}): write it again, as UTF-8") from None
    for column in COLUMNS:
        if list(frame.columns).count(column) > 1:
            raise DataError(f"{manifest} has more than one column {column!r}: rename or remove all but one")
    return frame


def _found(home: Path, filenames: list[str], part: str | None) -> list[str]:
    """Return ``filenames`` relative to ``home``. Looks for the first one next to the manifest and in known folders."""
    folders = ["", *(f"{above}{part}" for above in ("Images/", "images/", "") if part), "Images", "images"]
    for filename in filenames[:1]:
        for folder in folders:
            if (home / folder / filename).is_file():
                return [os.path.join(folder, other) for other in filenames]  # noqa: PTH118
    return filenames
