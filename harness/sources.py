"""Reading what a data set lists: a folder of class folders, a manifest, an ``.npz``."""

import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.downloads import fetch
from harness.errors import DataError
from harness.listing import Listing, examples, part_name, printable, shown
from harness.spec import DatasetSpec

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"})
"""What a picture in a folder is called. A manifest may name its files as it likes."""

MANIFESTS = frozenset({".csv", ".parquet"})


def read_listing(dataset: DatasetSpec) -> Listing:
    """What ``dataset`` lists, downloaded first where it has to be. Raises DataError."""
    path = dataset.file if dataset.file is not None else fetch(dataset.download or "")
    if not path.exists():
        raise DataError(f"there is no file or folder {shown(str(path))}: check the path of data set {dataset.name}")
    _check_digest(dataset, path)
    if path.is_dir():
        manifest = path / "train.csv"
        return (
            _manifests(dataset.name, [manifest, *_beside(manifest)]) if manifest.is_file() else _folder(dataset, path)
        )
    if path.suffix.lower() in MANIFESTS:
        return _manifests(dataset.name, [path])
    if path.suffix.lower() == ".npz":
        return _arrays(dataset.name, path)
    raise DataError(
        f"{shown(str(path))} is no data set: give a folder of class folders, a manifest (.csv, .parquet) or an .npz"
    )


def _check_digest(dataset: DatasetSpec, path: Path) -> None:
    if dataset.sha256 is None:
        return
    if path.is_dir():
        raise DataError(f"{dataset.name}'s TOML declares a sha256, but {path} is a folder: leave it out")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != dataset.sha256:
        raise DataError(
            f"{path} is not the file that {dataset.name}'s TOML declares (sha256 {digest}, declared "
            f"{dataset.sha256}): restore it, or declare the new digest"
        )


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


def _folder(dataset: DatasetSpec, root: Path) -> Listing:
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
        walk.notes.append(f"{len(outside):,} pictures lie in no class folder and are left out: {examples(outside)}")
    if walk.ignored:
        walk.notes.append(
            f"{len(walk.ignored):,} files are no pictures by their names and are left out: {examples(walk.ignored)}"
        )
    return Listing.of_words(dataset.name, root, files, words, of_part, notes=dict.fromkeys(walk.notes))


def _beside(train: Path) -> list[Path]:
    """The manifests of other parts beside ``train.csv``: the article's layout."""
    return [path for path in sorted(train.parent.glob("*.csv")) if part_name(path.stem) not in (None, "train")]


def _manifests(name: str, manifests: Sequence[Path]) -> Listing:
    """One manifest, or ``train.csv`` and those beside it: columns filename and label, maybe split and group."""
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
    rows = pd.concat(frames, ignore_index=True)
    rows["label"] = rows["label"].str.strip()
    unlabelled = rows["label"] == ""
    if unlabelled.any():
        without = rows["filename"][unlabelled].tolist()
        notes.append(f"{len(without):,} files have no label and are left out: {examples(without)}")
        rows = rows[~unlabelled]
    parts = [part_name(word) for word in rows["split"]]
    if None in parts:
        word = rows["split"].iloc[parts.index(None)]
        raise DataError(f"{manifests[0]}: split says {shown(word)}: only train, validation (or val) and test are known")
    groups = rows["group"].fillna("").tolist() if "group" in rows else None
    return Listing.of_words(
        name, home, rows["filename"].tolist(), rows["label"].tolist(), [part or "" for part in parts], groups, notes
    )


def _table(manifest: Path) -> pd.DataFrame:
    """The manifest as text, whatever it looks like: "007" and "NA" are labels too."""
    try:
        if manifest.suffix.lower() == ".csv":
            return pd.read_csv(manifest, dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False)
        frame = pd.read_parquet(manifest)
        return frame.where(frame.notna(), "").astype(str)
    except ImportError:
        raise DataError(f"{manifest} is a Parquet file: `pip install pyarrow` to read it, or give a .csv") from None
    except (OSError, ValueError, UnicodeDecodeError) as error:  # pandas' and Arrow's errors are ValueErrors or OSErrors
        raise DataError(f"{manifest} cannot be read as a table ({error}): write it again, as UTF-8") from None


def _found(home: Path, filenames: list[str], part: str | None) -> list[str]:
    """``filenames`` relative to ``home``: they are beside the manifest, or in the folder of its part or of images."""
    folders = ["", *(f"{above}{part}" for above in ("Images/", "images/", "") if part), "Images", "images"]
    for filename in filenames[:1]:
        for folder in folders:
            if (home / folder / filename).is_file():
                return [os.path.join(folder, other) for other in filenames]  # noqa: PTH118
    return filenames


def read_images(path: Path) -> NDArray[np.uint8]:
    """The pictures of an ``.npz`` that has been listed, (n, height, width[, 3]). Raises DataError."""
    images: NDArray[np.uint8] = _npz(path, ["images"])["images"]
    return images.reshape(images.shape[:3]) if images.shape[3:] == (1,) else images


def _npz(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Those of the arrays ``names`` that the file holds. Raises DataError."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in names if name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError, zlib.error) as error:
        raise DataError(f"{path} cannot be read as an .npz of plain arrays ({error}): write it again") from None


def _arrays(name: str, path: Path) -> Listing:
    """The rows of an ``.npz``. Its pictures are not read, only their shape."""
    where = f"{name} ({path.name})"
    arrays = _npz(path, ["labels", "split", "class_names", "groups"])
    shape = _image_shape(path, where)
    if "labels" not in arrays:
        raise DataError(f"{where} has no array 'labels': add one integer for each image")
    labels = arrays["labels"]
    n = shape[0]
    if n == 0:
        raise DataError(f"{where} is empty: it has 0 images")
    if labels.shape != (n,) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"{where}: labels are {labels.dtype} {labels.shape}; give one integer for each of the {n} images"
        )
    for other in ("split", "groups"):
        if other in arrays and arrays[other].shape != (n,):
            raise DataError(
                f"{where}: {other} has shape {arrays[other].shape}, labels {labels.shape}: give one for each image"
            )
    words, which = np.unique(arrays.get("split", np.full(n, "train")).astype(np.str_), return_inverse=True)
    parts = [part_name(word) for word in words]
    if None in parts:
        said = ", ".join(map(shown, words))
        raise DataError(f"{where}: split says {said}: only 'train', 'validation' (or 'val') and 'test' are known")
    present = np.unique(labels)
    if len(present) < 2:
        raise DataError(
            f"{where} has one class only (label {present[0]}): there is nothing to tell apart, give two or more"
        )
    class_names = tuple(
        printable(str(word)) for word in arrays.get("class_names", np.arange(int(present[-1]) + 1).astype(np.str_))
    )
    if present[0] < 0 or present[-1] >= len(class_names):
        raise DataError(
            f"{where}: labels run from {present[0]} to {present[-1]}, but there are {len(class_names)} classes: "
            f"number them 0 to {len(class_names) - 1}"
        )
    groups = np.unique(arrays["groups"], return_inverse=True)[1] if "groups" in arrays else None
    return Listing(name, path, None, labels.astype(np.int64), class_names, np.array(parts, np.str_)[which], groups)


def _image_shape(path: Path, where: str) -> tuple[int, ...]:
    """The shape of the array ``images``, if it is one of pictures."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        with zipfile.ZipFile(path) as archive:
            if "images.npy" not in archive.namelist():
                held = sorted(name.removesuffix(".npy") for name in archive.namelist())
                raise DataError(f"{where} has no array 'images', only {held}: add it")
            with archive.open("images.npy") as file:
                shape, _, dtype = readers[np.lib.format.read_magic(file)](file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError, zlib.error) as error:
        raise DataError(f"{path} cannot be read as an .npz of plain arrays ({error}): write it again") from None
    if dtype.hasobject:
        raise DataError(f"{path} cannot be read as an .npz of plain arrays: images are Python objects, give uint8")
    if dtype != np.uint8 or len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
        raise DataError(
            f"{where}: images are {dtype} {shape}; "
            "give uint8 (n, height, width) or (n, height, width, 3), values 0 to 255"
        )
    return tuple(shape)
