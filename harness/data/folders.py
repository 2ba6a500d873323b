"""List a folder of class folders, with or without part folders (train, val, test) above them."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harness.core.errors import DataError
from harness.data.formats import READ, SUFFIXES, Unread, format_of
from harness.data.listing import PART_NAMES, Listing, PartName, examples, part_name, part_names_in, shown


@dataclass
class _Walk:
    """Walk the files below a folder, following links, and record what is ignored."""

    root: Path
    notes: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    unread: Unread = field(default_factory=Unread)
    by_content: list[str] = field(default_factory=list)
    hidden: dict[str, None] = field(default_factory=dict)

    def folders(self, folder: Path) -> list[Path]:
        """Return the folders in ``folder``, sorted by name."""
        return [Path(entry.path) for entry, is_folder in self._entries(folder) if is_folder]

    def home(self, top: Path) -> Path:
        """Return the folder that holds the classes of ``top``: some archives unpack the part train to train/train."""
        part = part_name(top.name)
        while part is not None and [part_name(folder.name) for folder in self.folders(top)] == [part]:
            top = self.folders(top)[0]
        return top

    def own_images(self, folder: Path) -> list[str]:
        """Return the images of any format directly in ``folder``, relative to the root."""
        entries = [entry for entry, is_folder in self._entries(folder) if not is_folder and _format(entry)]
        return [os.path.relpath(entry.path, self.root) for entry in entries]

    def images(self, folder: Path, class_name: str = "") -> Iterator[str]:
        """Yield the images of a class in ``folder`` and below, sorted by name, relative to the root."""
        waiting = self._entries(folder)[::-1]  # a stack: folders may be nested deeper than Python's calls
        while waiting:
            entry, is_folder = waiting.pop()
            if is_folder:
                waiting += self._entries(Path(entry.path))[::-1]
                continue
            name, kind = os.path.relpath(entry.path, self.root), _format(entry)
            if kind is None:
                self.ignored.append(name)
            elif kind not in READ:
                self.unread.add(class_name, kind, name)
            else:
                if Path(name).suffix.lower() not in SUFFIXES:
                    self.by_content.append(name)
                yield name

    def all_notes(self) -> list[str]:
        """Return a sentence for each kind of thing that was left out or guessed, and the other notes."""
        notes = [*dict.fromkeys(self.notes), *self.unread.notes()]
        if self.by_content:
            notes.append(
                f"files that are images, but not named like one, read: {len(self.by_content):,} "
                f"({examples(self.by_content)})"
            )
        if self.hidden:
            notes.append(f"hidden folders, left out: {len(self.hidden):,} ({examples(list(self.hidden))})")
        if self.ignored:
            notes.append(f"files not named like images, left out: {len(self.ignored):,} ({examples(self.ignored)})")
        return notes

    def _entries(self, folder: Path) -> list[tuple[os.DirEntry[str], bool]]:
        """Return the entries of ``folder``, sorted by name, and whether each is a folder. Skips links to a parent."""
        found = []
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            above = {_identity(path.stat()) for path in (folder, *folder.absolute().parents)}
        except OSError as error:
            raise DataError(f"the folder {shown(str(folder))} cannot be read ({error.strerror})") from None
        for entry in entries:
            try:
                if entry.is_dir():
                    if _identity(entry.stat()) in above:
                        self.notes.append(f"the link {self.shown(entry.path)} leads to a folder above it: not followed")
                    elif entry.name.startswith("."):
                        self.hidden[os.path.relpath(entry.path, self.root)] = None
                    else:
                        found.append((entry, True))
                elif entry.is_file():
                    found.append((entry, False))
                else:
                    what = "is a broken link" if entry.is_symlink() else "is not a file"
                    self.notes.append(f"{self.shown(entry.path)} {what}: left out")
            except OSError as error:  # a link to itself
                self.notes.append(f"{self.shown(entry.path)} cannot be followed ({error.strerror}): left out")
        return found

    def shown(self, *paths: Path | str) -> str:
        """Return the first few ``paths``, relative to the root, as printable text."""
        return examples([os.path.relpath(path, self.root) for path in paths])


def _format(entry: os.DirEntry[str]) -> str | None:
    return None if entry.name.startswith(".") else format_of(Path(entry.path))


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def images_below(folder: Path) -> tuple[list[str], list[str]]:
    """Return the images in ``folder`` and below, as a data set's are found, relative to it, and notes on what was left
    out. Raises DataError if a folder cannot be read."""
    walk = _Walk(folder)
    return list(walk.images(folder)), walk.all_notes()


def list_folder(name: str, root: Path) -> Listing:
    """List ``root/class/…`` or ``root/part/class/…``. Raises DataError if classes and parts cannot be distinguished."""
    walk = _Walk(root)
    tops = walk.folders(root)
    try:
        parts = _parts(walk, tops)
        of_class = {top: walk.folders(walk.home(top)) for top in parts} or {root: tops}
        for folders in of_class.values():
            _check_classes(walk, folders)
    except _Ambiguous as error:
        raise DataError(f"{name} ({root}): {error}") from None
    for top in [top for top in tops if parts and top not in parts]:
        why = "is not a part (train, val, test)" if part_name(top.name) is None else "holds no image"
        walk.notes.append(f"the folder {walk.shown(top)} {why}: left out")
    for part in PART_NAMES:
        together = [top for top in parts if parts[top] == part]
        if len(together) > 1:
            walk.notes.append(f"the folders {walk.shown(*together)} are read as one part, {part}")
    files: list[str] = []
    words: list[str] = []
    of_part: list[str] = []
    for top, folders in of_class.items():
        for folder in folders:
            before = len(walk.unread)
            found = list(walk.images(folder, folder.name))
            if not found and len(walk.unread) == before:
                walk.notes.append(f"the class folder {walk.shown(folder)} holds no image: left out")
            files += found
            words += [folder.name] * len(found)
            of_part += [parts.get(top, "train")] * len(found)
    walk.unread.refuse_lost_classes(f"{name} ({root})", set(words))
    around = dict.fromkeys([root, *parts, *map(walk.home, parts)])
    outside = [name for folder in around for name in walk.own_images(folder)]
    if outside:
        walk.notes.append(f"images in no class folder, left out: {len(outside):,} ({examples(outside)})")
    return Listing.of_words(name, root, files, words, of_part, notes=walk.all_notes())


class _Ambiguous(Exception):
    """Raised if folders may be classes or parts. The message names them and the fix."""


def _parts(walk: _Walk, tops: list[Path]) -> dict[Path, PartName]:
    """Return the folders of ``tops`` that are parts, or none if all are classes. A folder with the name of a part is a
    class only if it and all the others hold images directly."""
    used = [top for top in tops if walk.folders(walk.home(top)) or walk.own_images(walk.home(top))]
    parts = {top: part for top in used if (part := part_name(top.name)) is not None}
    others = [top for top in used if top not in parts]
    flat = [top for top in parts if not walk.folders(walk.home(top))]
    if flat == list(parts) and len(set(parts.values())) == 1 and others and all(map(walk.own_images, others)):
        walk.notes.append(
            f"{walk.shown(*flat)} is read as a class, like the folders next to it, which hold images too: if it is a "
            "part, put folders of the classes into train, val and test"
        )
        return {}
    if flat:
        raise _Ambiguous(
            f"{walk.shown(*flat)}: parts by their names, but they hold images and no class folders: put the images "
            f"into one folder a class ({flat[0].name}/NAME), list them with their labels in a .csv, or move away what "
            "has no labels"
        )
    if parts and "train" not in parts.values():
        raise _Ambiguous(
            f"{walk.shown(*parts)}: parts by their names, but there is no training part: name its folder train; or if "
            "they are classes, put their images directly into them, or list all in a .csv (filename,label)"
        )
    return parts


def _check_classes(walk: _Walk, classes: list[Path]) -> None:
    """Raise _Ambiguous if the folders ``classes`` look like parts under other names, or hold parts."""
    named = [folder for folder in classes if part_names_in(folder.name)]
    if len({part for folder in named for part in part_names_in(folder.name)}) > 1:
        raise _Ambiguous(
            f"{walk.shown(*named)}: parts or classes? Name parts train, val and test, next to each other; if they are "
            "classes, give them other names, or list all in a .csv (filename,label)"
        )
    inside = {folder: {found.name.casefold() for found in walk.folders(folder)} for folder in classes}
    inside = {folder: names for folder, names in inside.items() if names and not walk.own_images(folder)}
    counts = Counter(name for names in inside.values() for name in names)
    shared = sorted(name for name, count in counts.items() if count > 1)
    if not shared or len(counts) == 1:  # cat/images and dog/images are classes
        return
    where = f"{walk.shown(*inside)} hold folders of the same names ({examples(shared)})"
    if all(map(part_name, shared)):
        raise _Ambiguous(f"{where}: put the parts above the classes, as in {shared[0]}/{classes[0].name}")
    advice = (
        "name them train, val and test; if they are classes, put their images directly into them, or list all in a "
        ".csv (filename,label)"
    )
    if sum(counts[name] == len(inside) for name in shared) == min(map(len, inside.values())):
        raise _Ambiguous(f"{where}: parts or classes? If they are parts, {advice}")
    walk.notes.append(f"{where} and are read as classes: if they are parts, {advice}")
