"""Activations at a freeze boundary: computed once, kept on disk, shared by trials, workers and later studies."""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from harness.backbone import Backbone, as_numpy
from harness.cost import feature_shape
from harness.data import Images
from harness.errors import StorageError

_BATCH = 128
_PREPROCESSING = "bilinear, BGR, ImageNet mean; v1"
"""Part of every key. Change it with `harness.backbone.Prepare`."""


@dataclass(frozen=True, slots=True)
class Features:
    """``values`` (n, height, width, channels) float32, memory-mapped, in the order of the images. ``seconds`` is what
    computing them took when it was done; ``cached`` whether that was before this call."""

    values: NDArray[Any]
    seconds: float
    cached: bool


class FeatureCache:
    """Activations of ImageNet VGG16 under ``root``, one folder an entry, keyed by everything they depend on."""

    def __init__(self, root: Path, backbone: Backbone, max_bytes: int) -> None:
        """``max_bytes`` bounds the whole folder: the entries used longest ago are dropped. Raises StorageError."""
        self.root = root
        self.max_bytes = max_bytes
        self._backbone = backbone
        self._extractors: dict[int, keras.Model] = {}
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"the cache folder {root} cannot be made ({error}): set HARNESS_CACHE to another"
            ) from None

    def get(self, images: Images, boundary: int) -> Features:
        """Activations of ``images`` behind convolution ``boundary``; with boundary 0 the pictures themselves.

        Two processes that ask for the same entry compute it once. Raises StorageError where the disk is full.
        """
        if boundary == 0:
            return Features(images.pixels, 0.0, True)
        folder = self.root / self._key(images, boundary)
        with FileLock(f"{folder}.lock"):
            found = self._open(folder, len(images), boundary)
            if found is None:
                try:
                    self._compute(folder, images, boundary)
                except OSError as error:
                    raise StorageError(
                        f"activations cannot be written to {self.root} ({error}): "
                        "free space, lower budget.cache_size or set HARNESS_CACHE to another folder"
                    ) from None
                self._evict(keep=folder)
                found = self._open(folder, len(images), boundary)
                assert found is not None
                return Features(found.values, found.seconds, cached=False)
        os.utime(folder)
        return found

    def _key(self, images: Images, boundary: int) -> str:
        parts = (
            self._backbone.weights.digest,
            _PREPROCESSING,
            str(self._backbone.image_size),
            images.digest(),
            str(boundary),
            keras.config.dtype_policy().compute_dtype,
        )
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]

    def _shape(self, n_images: int, boundary: int) -> tuple[int, ...]:
        return n_images, *feature_shape(self._backbone.architecture, boundary, self._backbone.image_size)

    def _open(self, folder: Path, n_images: int, boundary: int) -> Features | None:
        """The entry, or None where there is none or it is not whole."""
        try:
            seconds = float(json.loads((folder / "entry.json").read_text())["seconds"])
            values = np.load(folder / "values.npy", mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, KeyError, EOFError):
            return None
        return Features(values, seconds, True) if values.shape == self._shape(n_images, boundary) else None

    def _compute(self, folder: Path, images: Images, boundary: int) -> None:
        extractor = self._extractor(boundary, images)
        start = time.perf_counter()
        with _new_folder(folder) as building:
            shape = self._shape(len(images), boundary)
            values = np.lib.format.open_memmap(building / "values.npy", mode="w+", dtype=np.float32, shape=shape)
            for first in range(0, len(images), _BATCH):
                chosen = slice(first, first + _BATCH)
                values[chosen] = as_numpy(extractor.predict_on_batch(images.pixels[chosen]))
            values.flush()
            del values
            (building / "entry.json").write_text(json.dumps({"seconds": time.perf_counter() - start}))

    def _extractor(self, boundary: int, images: Images) -> keras.Model:
        if boundary not in self._extractors:
            pixels = keras.Input(images.pixels.shape[1:], dtype="uint8")
            values = self._backbone.prepare(pixels)
            for layer in self._backbone.before(boundary):
                values = layer(values)
            self._extractors[boundary] = keras.Model(pixels, values)
        self._backbone.load(pretrained=True, seed=0)
        return self._extractors[boundary]

    def _evict(self, keep: Path) -> None:
        entries = sorted(
            (file.parent for file in self.root.glob("*/entry.json")), key=lambda path: path.stat().st_mtime
        )
        sizes = {path: sum(file.stat().st_size for file in path.iterdir()) for path in entries}
        excess = sum(sizes.values()) - self.max_bytes
        for path in entries:
            if excess > 0 and path != keep:
                shutil.rmtree(path)  # readers keep their mapping: the space is freed when they let go
                excess -= sizes[path]


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """A folder that appears as ``target`` whole or not at all."""
    building = Path(tempfile.mkdtemp(prefix="building-", dir=target.parent))
    try:
        yield building
        shutil.rmtree(target, ignore_errors=True)  # what is there was not whole
        building.replace(target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
