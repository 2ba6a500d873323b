"""Find the files that a manifest lists, also where it spells their names as another system or program does."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.data.formats import SUFFIXES
from harness.data.listing import reading, shown

_Index = Sequence[Mapping[str, list[str]]]


def find_files(home: Path, filenames: Sequence[str], folders: Sequence[str]) -> tuple[list[str], list[str]]:
    """Find ``filenames`` in the one of ``folders`` in which most of them are, the first of these.

    A name that is not there is read with other slashes, blanks, Unicode form or case, or without a suffix, where
    exactly one file fits.

    Args:
        home: the folder that ``folders`` and what is returned are relative to.
        filenames: (n,) names as listed.
        folders: relative paths of folders, "" for ``home``.

    Returns:
        The files (n,), and a note on those that are spelled differently. What is not found keeps its name.
    """
    finder = _Finder(home)
    best: list[str | None] = [None] * len(filenames)
    where = ""
    for folder in folders:
        found = [finder.find(folder, name) for name in filenames]
        if found.count(None) < best.count(None):
            best, where = found, folder
        if None not in best:
            break
    listed = [_join(where, name) for name in filenames]
    files = [found or name for found, name in zip(best, listed, strict=True)]
    other = [row for row, file in enumerate(files) if file != listed[row]]
    if not other:
        return files, []
    return files, [
        f"files whose names are spelled differently in the manifest, read all the same: {len(other):,} "
        f"({shown(filenames[other[0]])} is {shown(files[other[0]])}{' and others' if len(other) > 1 else ''})"
    ]


class _Finder:
    """Find files below a folder. The folders that it has to look through are listed once."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._indices: dict[str, _Index] = {}

    def find(self, folder: str, name: str) -> str | None:
        """Return the file ``name`` in ``folder``, else the only one whose name differs in spelling, else None."""
        path = _join(folder, name)
        if self._is(os.path.isfile, path):
            return path
        *above, last = name.replace("\\", "/").split("/")
        where: str | None = "/" if above and not above[0] else folder
        for part in above:
            if where is not None and part.strip() not in ("", "."):
                where = self._only(where, part, os.path.isdir, [_spelling])
        return None if where is None else self._only(where, last, os.path.isfile, [_spelling, _spelling, reading])

    def _only(
        self, folder: str, name: str, kind: Callable[[str], bool], forms: Sequence[Callable[[str], str]]
    ) -> str | None:
        """Return the only entry of ``folder``, of a ``kind``, that the first index that knows ``name`` has for it."""
        if name.strip() == "..":
            return _join(folder, "..")
        if folder not in self._indices:
            self._indices[folder] = _index(self._home / folder)
        for index, form in zip(self._indices[folder], forms, strict=False):
            entries = [path for entry in index.get(form(name), ()) if self._is(kind, path := _join(folder, entry))]
            if entries:
                return entries[0] if len(entries) == 1 else None
        return None

    def _is(self, kind: Callable[[str], bool], path: str) -> bool:
        return kind(_join(str(self._home), path))


def _join(folder: str, name: str) -> str:
    return os.path.join(folder, name)  # noqa: PTH118 - a name stays as it is listed


def _index(folder: Path) -> _Index:
    """Return what is in ``folder`` by name, and its images also by name without suffix, and by that as a number."""
    names, stems, numbers = (defaultdict[str, list[str]](list) for _ in range(3))
    try:
        entries = sorted(os.listdir(folder))  # noqa: PTH208 - names, not paths
    except (OSError, ValueError):
        entries = []
    for entry in entries:
        names[_spelling(entry)].append(entry)
        stem, dot, suffix = entry.rpartition(".")
        if dot + suffix.lower() in SUFFIXES:
            stems[_spelling(stem)].append(entry)
            numbers[reading(stem)].append(entry)
    return [names, stems, numbers]


def _spelling(name: str) -> str:
    """Return ``name`` without what systems change in names: Unicode form, case, blanks at the ends."""
    return unicodedata.normalize("NFC", name).casefold().strip()
