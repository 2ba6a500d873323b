"""Activations after a stage: computed once, kept on disk, shared by trials, workers and later studies."""

import hashlib
import json
import mmap
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from harness.backbones.backbone import Backbone
from harness.backbones.batches import batches
from harness.backbones.devices import as_numpy, images_at_once
from harness.core.errors import StorageError
from harness.data.dataset import Images

_PIECE = 2**20  # bytes that a checksum reads in one call
_PREPROCESSING = "bilinear; v3"
"""Part of every key. Change it with `harness.backbones.preprocessing.Prepare`."""

_BUILDING = "building-"  # how folders are called that are not entries yet, or no longer


@dataclass(frozen=True, slots=True)
class Features:
    """``values`` (n, height, width, channels) float32, memory-mapped, in the order of the images. ``seconds`` is what
    computing them took when it was done; ``cached`` whether that was before this call."""

    values: NDArray[Any]
    seconds: float
    cached: bool


class FeatureCache:
    """Activations of an ImageNet backbone under ``root``, one folder an entry, keyed by everything they depend on."""

    def __init__(self, root: Path, backbone: Backbone, max_bytes: int) -> None:
        """Open the folder ``root``. ``max_bytes`` bounds it: the entries used longest ago are dropped. Raises
        StorageError."""
        self.root = root
        self.max_bytes = max_bytes
        self.backbone = backbone
        self._checked: set[tuple[str, int, int]] = set()
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"the cache folder {root} cannot be made ({error}): set HARNESS_CACHE to another"
            ) from None

    def get(self, images: Images, start: int, image_size: int) -> Features:
        """Return the output of stage ``start`` for ``images`` at ``image_size``; with start 0 the images as they
        are.

        Processes that ask for the same entry at the same time, on one machine or on several that share the folder,
        compute it once; none ever sees half an entry. A damaged entry is computed again. A folder that cannot be
        written serves what it holds. Raises StorageError where something must be written and cannot be.
        """
        if start == 0:
            return Features(images.pixels, 0.0, True)
        folder, shape = self._entry(images, start, image_size)
        found = self._open(folder, shape) or self._build(images, start, image_size)
        with suppress(OSError):  # read-only, or another process has just made room
            os.utime(folder)
        return found

    def _build(self, images: Images, start: int, image_size: int) -> Features:
        folder, shape = self._entry(images, start, image_size)
        try:
            with FileLock(_lock_of(folder)):
                found = self._open(folder, shape)  # another process may have computed it meanwhile
                if found is not None:
                    return found
                self._compute(images, start, image_size)
                found = self._open(folder, shape)
                if found is None:
                    raise OSError("what was just written reads back otherwise")
        except OSError as error:
            raise StorageError(
                f"activations cannot be written to {self.root} ({error}): "
                "free space, or set HARNESS_CACHE to another folder"
            ) from None
        with suppress(OSError):  # another process makes room as well, or the entry is somebody else's
            self._evict(keep=folder)
        return Features(found.values, found.seconds, cached=False)

    def _entry(self, images: Images, start: int, image_size: int) -> tuple[Path, tuple[int, ...]]:
        """Return the folder of an entry and the shape of its values."""
        parts = (
            self.backbone.weights.digest,
            _PREPROCESSING,
            self.backbone.spec.preprocessing.model_dump_json(),
            str(image_size),
            images.digest(),
            list(self.backbone.spec.stages.values())[start - 1],
            self.backbone.dtype,
        )
        key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
        return self.root / key, (len(images), *self.backbone.architecture.shape(start, image_size))

    def _open(self, folder: Path, shape: tuple[int, ...]) -> Features | None:
        """Return the entry, or None where there is none or it is damaged."""
        file = folder / "values.npy"
        try:
            entry = json.loads((folder / "entry.json").read_text())
            values = np.load(file, mmap_mode="r", allow_pickle=False)
            version = (str(folder), file.stat().st_ino, file.stat().st_mtime_ns)
            if values.shape != shape:
                return None
            if version not in self._checked:  # once for each process: it reads the whole file
                if _checksum(file, values) != entry["crc32"]:
                    return None
                self._checked.add(version)
            return Features(values, float(entry["seconds"]), True)
        except (OSError, ValueError, KeyError, EOFError):
            return None

    def _deepest_before(self, images: Images, start: int, image_size: int) -> tuple[int, Features]:
        """Return the last stage before ``start`` whose output is stored, and that output; 0 and the images where
        there is none."""
        for before in range(start - 1, 0, -1):
            if found := self._open(*self._entry(images, before, image_size)):
                return before, found
        return 0, Features(images.pixels, 0.0, True)

    def _compute(self, images: Images, start: int, image_size: int) -> None:
        folder, shape = self._entry(images, start, image_size)
        before, inputs = self._deepest_before(images, start, image_size)
        self.backbone.load(pretrained=True, seed=0)
        began = time.perf_counter()
        with _new_folder(folder) as building:
            checksum = 0
            with (building / "values.npy").open("wb") as file:  # a mapped file that outgrows the disk ends the process
                dtype = np.dtype(np.float32).str
                np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
                for rows, weights in batches(len(images), images_at_once(image_size)):
                    batch = as_numpy(self.backbone.forward(inputs.values[rows], before, start, image_size))
                    values = np.ascontiguousarray(batch[weights > 0], np.float32).data
                    file.write(values)
                    checksum = zlib.crc32(values, checksum)
            drop_pages(inputs.values)
            entry = {"seconds": inputs.seconds + time.perf_counter() - began, "crc32": checksum}
            (building / "entry.json").write_text(json.dumps(entry))

    def _entries(self) -> list[Path]:
        folders = (file.parent for file in self.root.glob("*/entry.json"))
        return [folder for folder in folders if not folder.name.startswith(_BUILDING)]

    def _evict(self, keep: Path) -> None:
        for left in self.root.glob(f"{_BUILDING}*"):  # by a process that was killed, unless its lock is held
            entry = left.name.removeprefix(_BUILDING).rpartition("-")[0]
            with suppress(Timeout), FileLock(_lock_of(self.root / entry), timeout=0):
                shutil.rmtree(left, ignore_errors=True)
        sizes: dict[Path, int] = {}
        for path in sorted(self._entries(), key=lambda path: path.stat().st_mtime):
            sizes[path] = sum(file.stat().st_size for file in path.iterdir())
        excess = sum(sizes.values()) - self.max_bytes
        for path in sizes:
            if excess > 0 and path != keep:
                with suppress(Timeout), FileLock(_lock_of(path), timeout=0):  # one that is being built is no longer old
                    _remove(path)
                    excess -= sizes[path]


def _lock_of(folder: Path) -> str:
    return f"{folder}.lock"


def _checksum(path: Path, values: np.memmap[Any, Any]) -> int:
    """Return the CRC-32 of the bytes of ``values`` in the file ``path``, read in pieces: mapped pages would stay."""
    found = 0
    with path.open("rb") as file:
        file.seek(values.offset)
        while piece := file.read(_PIECE):
            found = zlib.crc32(piece, found)
    return found


def drop_pages(values: Any) -> None:
    """Give back the memory of what has been read of ``values``, where they are memory-mapped. Read again they come from
    the system's cache, which keeps them for as long as nothing else needs the memory."""
    mapped: mmap.mmap | None = getattr(values, "_mmap", None)  # a result of NumPy's is called a memmap and has none
    if mapped is not None and values.mode == "r" and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def _remove(folder: Path) -> None:
    """Delete an entry: whoever has it open keeps it, and nobody finds half of it."""
    going = Path(tempfile.mkdtemp(prefix=f"{_BUILDING}{folder.name}-", dir=folder.parent))
    with suppress(FileNotFoundError):
        folder.replace(going)
    shutil.rmtree(going, ignore_errors=True)


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """Yield a folder that appears as ``target`` whole or not at all. Called with the entry's lock held."""
    for left in target.parent.glob(f"{_BUILDING}{target.name}-*"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    building = Path(tempfile.mkdtemp(prefix=f"{_BUILDING}{target.name}-", dir=target.parent))
    try:
        yield building
        _remove(target)  # what is there was not whole
        building.replace(target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
