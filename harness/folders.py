"""A folder of class folders, whatever lies in it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import DataError
from harness.listing import Listing, examples, part_name, shown

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"})
"""What a picture in a folder is called. A manifest may name its files as it likes."""


@dataclass
class _Walk:
    """Files below a folder, links followed, and what was met on the way that is no picture."""

    root: Path
    notes: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    def folders(self, folder: Path) -> list[Path]:
        """The folders in ``folder``, by name."""
        return [Path(entry.path) for entry, is_folder in self._entries(folder) if is_folder]

    def own_pictures(self, folder: Path) -> list[str]:
        """The pictures in ``folder`` itself."""
        return [entry.name for entry, is_folder in self._entries(folder) if not is_folder and _is_picture(entry.name)]

    def pictures(self, folder: Path) -> Iterator[str]:
        """The pictures in ``folder`` and below, by name, relative to the root."""
        for entry, is_folder in self._entries(folder):
            if is_folder:
                yield from self.pictures(Path(entry.path))
            elif not _is_picture(entry.name):
                self.ignored.append(os.path.relpath(entry.path, self.root))
            else:
                yield os.path.relpath(entry.path, self.root)

    def _entries(self, folder: Path) -> list[tuple[os.DirEntry[str], bool]]:
        """What is in ``folder``, by name, and whether it is a folder; links are followed unless they lead back."""
        found = []
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            above = {path.stat().st_ino for path in (folder, *folder.absolute().parents)}
        except OSError as error:
            raise DataError(f"the folder {shown(str(folder))} cannot be read ({error.strerror})") from None
        for entry in entries:
            try:
                if entry.is_dir():
                    if entry.stat().st_ino in above:
                        self.notes.append(
                            f"the link {self._shown(entry.path)} leads to a folder above it: not followed"
                        )
                    elif not entry.name.startswith("."):
                        found.append((entry, True))
                elif entry.is_file():
                    found.append((entry, False))
                else:
                    what = "leads nowhere" if entry.is_symlink() else "is no file"
                    self.notes.append(f"{self._shown(entry.path)} {what}: left out")
            except OSError as error:  # a link to itself
                self.notes.append(f"{self._shown(entry.path)} cannot be followed ({error.strerror}): left out")
        return found

    def _shown(self, path: str) -> str:
        return shown(os.path.relpath(path, self.root))


def _is_picture(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES


def list_folder(name: str, root: Path) -> Listing:
    """``root/class/…`` or ``root/part/class/…``: a folder called train is a part where it holds folders and no picture
    of its own, else it is a class of trains."""
    walk = _Walk(root)
    parts = {folder: part_name(folder.name) for folder in walk.folders(root)}
    has_parts = any(
        part == "train" and walk.folders(folder) and not walk.own_pictures(folder) for folder, part in parts.items()
    )
    files: list[str] = []
    words: list[str] = []
    of_part: list[str] = []
    for top, part in parts.items():
        if has_parts and part is None:
            walk.notes.append(f"the folder {shown(top.name)} is no part (train, val, test): left out")
            continue
        for folder in walk.folders(top) if has_parts else [top]:
            found = list(walk.pictures(folder))
            if not found:
                where = os.path.relpath(folder, root)
                walk.notes.append(f"the class folder {shown(where)} holds no picture: left out")
            files += found
            words += [folder.name] * len(found)
            of_part += [part if has_parts and part else "train"] * len(found)
    outside = [name for top in ([root, *parts] if has_parts else [root]) for name in walk.own_pictures(top)]
    if outside:
        walk.notes.append(f"pictures in no class folder, left out: {len(outside):,} ({examples(outside)})")
    if walk.ignored:
        walk.notes.append(
            f"files that are no pictures by their names, left out: {len(walk.ignored):,} ({examples(walk.ignored)})"
        )
    return Listing.of_words(name, root, files, words, of_part, notes=dict.fromkeys(walk.notes))
