"""Activations after a stage: computed once, kept on disk, shared by trials, workers and later studies."""

import errno
import hashlib
import json
import math
import mmap
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from harness.backbones.backbone import Backbone
from harness.backbones.batches import batches
from harness.backbones.devices import as_numpy, images_at_once
from harness.core.errors import StorageError
from harness.core.interrupts import stop_if_asked
from harness.data.dataset import Images

_PIECE = 2**20  # bytes that a checksum reads in one call
_PREPROCESSING = "bilinear; v3"
"""Part of every key. Change it with `harness.backbones.preprocessing.Prepare`."""

_MAPPED_BYTES = 32 * 2**20  # what may stay in memory of mapped values that were read

_SPARE_BYTES = 32 * 2**20  # left on the disk for the database and the page, which may be there too
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_BUILDING = "building-"  # how folders are called that are not entries yet, or no longer


class DiskFull(StorageError):
    """The disk has no room for the activations that a trial needs. Those of another stage or size may fit."""


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

    def get(self, images: Images, start: int, image_size: int, also: Collection[int] = ()) -> Features:
        """Return the output of stage ``start`` for ``images`` at ``image_size``; with start 0 the images as they
        are.

        If it has to be computed, the pass also stores the outputs of those stages ``also`` that it goes through.

        Processes that ask for the same entry at the same time, on one machine or on several that share the folder,
        compute it once; none ever sees half an entry. A damaged entry is computed again. A folder that cannot be
        written serves what it holds. Raises DiskFull, or another StorageError where something must be written and
        cannot be.
        """
        if start == 0:
            return Features(images.pixels, 0.0, True)
        folder, shape = self._entry(images, start, image_size)
        found = self._open(folder, shape) or self._build(images, start, image_size, also)
        with suppress(OSError):  # read-only, or another process has just made room
            os.utime(folder)
        return found

    def reserve(self, parts: Sequence[Images], start: int, image_size: int) -> None:
        """Make room for what is not stored yet of the output of stage ``start`` for all ``parts``.

        Raises DiskFull where the disk does not have it, before anything is computed.
        """
        needed = 0
        for images in parts if start else ():
            folder, shape = self._entry(images, start, image_size)
            if (folder / "entry.json").exists():
                with suppress(OSError):  # read-only
                    os.utime(folder)
            else:
                needed += _bytes_of(shape)
        if needed:
            self._make_room(needed, self._what(sum(map(len, parts)), start, image_size))

    def _build(self, images: Images, start: int, image_size: int, also: Collection[int]) -> Features:
        folder, shape = self._entry(images, start, image_size)
        stages = sorted({start, *(stage for stage in also if 0 < stage < start)})
        try:
            with ExitStack() as locks:
                for stage in stages:  # in ascending order everywhere, so that no two processes wait for each other
                    locks.enter_context(_acquired(self._entry(images, stage, image_size)[0]))
                found = self._open(folder, shape)  # another process may have computed it meanwhile
                if found is not None:
                    return found
                self._compute(images, stages, image_size)
                found = self._open(folder, shape)
                if found is None:
                    raise OSError("what was just written reads back otherwise")
        except OSError as error:
            kind = DiskFull if error.errno in _FULL else StorageError
            raise kind(
                f"{self._what(len(images), start, image_size)} cannot be written to {self.root} ({error}): "
                "free space, or set HARNESS_CACHE to another folder"
            ) from None
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

    def _compute(self, images: Images, stages: list[int], image_size: int) -> None:
        """Store the outputs of ``stages``, ascending, in one pass, which begins after the deepest stage that is stored.

        What is recorded as the seconds of each is what it takes alone. Called with the locks of all of them held.
        """
        before, inputs = self._deepest_before(images, stages[-1], image_size)
        sizes = [_bytes_of(self._entry(images, stage, image_size)[1]) for stage in stages if stage > before]
        if sum(sizes) > self._most_bytes():
            stages, sizes = stages[-1:], sizes[-1:]
        self._make_room(sum(sizes), self._what(len(images), stages[-1], image_size))
        self.backbone.load(pretrained=True, seed=0)
        with ExitStack() as open_entries:
            entries = {
                stage: open_entries.enter_context(_new_entry(*self._entry(images, stage, image_size), inputs.seconds))
                for stage in stages
                if stage > before
            }
            reader = Reader(inputs.values)
            for rows, weights in batches(len(images), images_at_once(image_size)):
                began = time.perf_counter()
                values, last, seconds = reader[rows], before, 0.0
                for stage, entry in entries.items():
                    values, last = self.backbone.forward(values, last, stage, image_size), stage
                    batch = as_numpy(values)[weights > 0]
                    seconds += time.perf_counter() - began
                    entry.add(batch, seconds)
                    began = time.perf_counter()

    def _entries(self) -> list[Path]:
        folders = (file.parent for file in self.root.glob("*/entry.json"))
        return [folder for folder in folders if not folder.name.startswith(_BUILDING)]

    def _sizes(self) -> dict[Path, int]:
        """Return the bytes of each entry, that used longest ago first. One that another process drops has none."""
        found = {}
        for path in self._entries():
            with suppress(FileNotFoundError):
                used = path.stat().st_mtime
                found[path] = used, sum(file.stat().st_size for file in path.iterdir())
        return {path: size for path, (_, size) in sorted(found.items(), key=lambda entry: entry[1][0])}

    def _most_bytes(self) -> int:
        """Return how many bytes all entries may have: `max_bytes`, or what the disk has for them."""
        free = shutil.disk_usage(self.root).free - _SPARE_BYTES
        return min(self.max_bytes, sum(self._sizes().values()) + free)

    def _make_room(self, needed: int, what: str) -> None:
        """Drop the entries used longest ago until ``needed`` bytes more are allowed. Raises DiskFull where the disk
        does not have them even so, for ``what`` needs them."""
        for left in self.root.glob(f"{_BUILDING}*"):  # by a process that was killed, unless its lock is held
            entry = left.name.removeprefix(_BUILDING).rpartition("-")[0]
            with suppress(Timeout, OSError), FileLock(_lock_of(self.root / entry), timeout=0):
                shutil.rmtree(left, ignore_errors=True)
        sizes = self._sizes()
        excess = sum(sizes.values()) + needed - self._most_bytes()
        for path, size in sizes.items():
            if excess > 0:
                with suppress(Timeout, OSError), FileLock(_lock_of(path), timeout=0):  # in use, or somebody else's
                    _remove(path)
                    excess -= size
        free = shutil.disk_usage(self.root).free - _SPARE_BYTES
        if needed > free:
            raise DiskFull(
                f"{what} need {needed / 1e9:.3g} GB, and {self.root} has {max(0, free) / 1e9:.3g} GB free: "
                "free space, or set HARNESS_CACHE to another folder"
            )

    def _what(self, n_images: int, start: int, image_size: int) -> str:
        stage = list(self.backbone.spec.stages)[start - 1]
        return f"activations of {n_images} images at {image_size} px after {stage} of {self.backbone.spec.label}"


def _bytes_of(shape: tuple[int, ...]) -> int:
    """Return the size of an entry's values of that shape, as float32 without the file's header."""
    return 4 * math.prod(shape)


class _NewEntry:
    """The values of an entry that is being written, their checksum and the ``seconds`` that they took."""

    def __init__(self, file: BinaryIO, shape: tuple[int, ...], seconds: float) -> None:
        self._file, self.checksum, self.seconds = file, 0, seconds
        header = {"descr": np.dtype(np.float32).str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)

    def add(self, batch: NDArray[np.float32], seconds: float) -> None:
        """Write the values of the next images, which took ``seconds`` to compute."""
        began = time.perf_counter()
        values = np.ascontiguousarray(batch, np.float32).data
        self._file.write(values)  # a mapped file that outgrows the disk ends the process
        self.checksum = zlib.crc32(values, self.checksum)
        self.seconds += seconds + time.perf_counter() - began


def _acquired(folder: Path) -> AbstractContextManager[Any]:
    """Wait for the lock of an entry."""
    lock = FileLock(_lock_of(folder))
    while True:
        with suppress(Timeout):
            return lock.acquire(timeout=1)
        stop_if_asked()


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


class Reader:
    """Takes batches of ``values``, which may be memory-mapped: ``reader[rows]``. Of what it has read little stays in
    memory, see `drop_pages`; to drop the pages of each small batch would take time."""

    def __init__(self, values: Any) -> None:
        self._values, self._read = values, 0

    def __getitem__(self, rows: Any) -> Any:
        """Return the values of ``rows``."""
        batch = self._values[rows]
        self._read += batch.nbytes
        if self._read > _MAPPED_BYTES:
            drop_pages(self._values)
            self._read = 0
        return batch


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


@contextmanager
def _new_entry(folder: Path, shape: tuple[int, ...], seconds: float) -> Iterator[_NewEntry]:
    """Yield an entry to write, which appears as ``folder`` with values of that ``shape``, whole or not at all."""
    with _new_folder(folder) as building:
        with (building / "values.npy").open("wb") as file:
            entry = _NewEntry(file, shape, seconds)
            yield entry
        (building / "entry.json").write_text(json.dumps({"seconds": entry.seconds, "crc32": entry.checksum}))
