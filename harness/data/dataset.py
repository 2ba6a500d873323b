"""Load a data set's images, split for a study. The held-out test set stays sealed."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.core.spec import DatasetSpec, DataSpec, StudySpec
from harness.data.archives import read_images
from harness.data.checks import Report, check
from harness.data.decoding import squares
from harness.data.inspection import DIGITS, look
from harness.data.listing import PART_NAMES, Listing, PartName, printable, shown
from harness.data.relabelling import relabelled
from harness.data.sources import read_listing
from harness.data.split import Parts, draw_parts


@dataclass(frozen=True, slots=True)
class Images:
    """Labelled images: ``pixels`` uint8 (n, height, width[, 3]), possibly memory-mapped, and ``labels`` int64 (n,).
    ``key``, if given, identifies the pixels, so that `digest` need not read them."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    key: str = ""

    def __len__(self) -> int:
        return len(self.labels)

    def digest(self) -> str:
        """Return ``key``, or the sha256 of the pixels and their shape: the cache key of results computed from them."""
        if self.key:
            return self.key
        digest = hashlib.sha256(repr(self.pixels.shape).encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        return digest.hexdigest()


def join(first: Images, second: Images) -> Images:
    """Concatenate two sets, as training and validation set for a final training."""
    pixels, labels = np.concatenate([first.pixels, second.pixels]), np.concatenate([first.labels, second.labels])
    return Images(pixels, labels, f"{first.digest()}, then {second.digest()}")


@dataclass(frozen=True, slots=True)
class SealedTest:
    """The held-out test set as rows of a listing, without images. Only a confirmation may open it."""

    listing: Listing
    rows: NDArray[np.int64]
    image_size: int

    def __len__(self) -> int:
        return len(self.rows)

    def open(self) -> Images:
        """Read the test images. The search never calls this."""
        return _images(self.listing, self.image_size, self.rows)[0]


@dataclass(frozen=True, slots=True)
class Split:
    """Training, validation and test set of a study. A search uses ``train`` and ``validation`` only."""

    train: Images
    validation: Images
    test: SealedTest
    class_names: tuple[str, ...]

    @property
    def n_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    def n_searched(self) -> int:
        """Return the number of images that a search uses, whose activations may be cached."""
        return len(self.train) + len(self.validation)

    def majority_share(self) -> float:
        """Return the validation accuracy of predicting the most common class of the training set."""
        commonest = np.bincount(self.train.labels, minlength=self.n_classes).argmax()
        return float(np.mean(self.validation.labels == commonest))


@dataclass(frozen=True, slots=True)
class Drawn:
    """A study's parts as rows of a listing, before any image is decoded."""

    listing: Listing
    parts: Parts

    def load(self, image_size: int) -> Split:
        """Read or decode the training and validation sets; files become squares of ``image_size``.

        Raises DataError or StorageError (see `squares`).
        """
        train, validation = _images(self.listing, image_size, self.parts.train, self.parts.validation)
        test = SealedTest(self.listing, self.parts.test, image_size)
        return Split(train, validation, test, self.listing.class_names)

    def some(self, size: int, image_size: int) -> Images:
        """Return ``size`` training images or all, drawn with a fixed seed; files become squares of ``image_size``."""
        rows = np.sort(np.random.default_rng(0).permutation(self.parts.train)[:size])
        return _images(self.listing, image_size, rows)[0]

    def own_size(self) -> int:
        """Return the median of the longer sides of the training images as they are, in pixels."""
        return int(np.median(look(self.listing).sizes[self.parts.train].max(axis=1)))

    def report(self) -> Report:
        """Check the whole data set, with these parts instead of its own."""
        parts = np.full(len(self.listing), "", f"U{max(map(len, PART_NAMES))}")
        for name in PART_NAMES:
            parts[getattr(self.parts, name)] = name
        report = check(self.listing, look(self.listing), parts)
        return replace(report, notes=[*report.notes, *self.parts.notes(self.listing)])

    def members(self) -> dict[PartName, list[tuple[str, str, str]]]:
        """Return for each part its images in the order drawn: of each its file (absolute) or row number, the name of
        its class and the first digits of its digest (see `Facts`)."""
        listing, facts = self.listing, look(self.listing)

        def member(row: int) -> tuple[str, str, str]:
            where = str(row) if listing.files is None else printable(str(listing.path(row).absolute()))
            return where, listing.class_names[listing.labels[row]], facts.digests[row].decode()[:DIGITS]

        return {name: [member(row) for row in getattr(self.parts, name).tolist()] for name in PART_NAMES}


def draw(dataset: DatasetSpec, data: DataSpec, seed: int) -> Drawn:
    """List ``dataset`` and draw a study's parts from it: see `draw_listed` and `read_listing`."""
    return draw_listed(read_listing(dataset), data, seed)


def draw_listed(listing: Listing, data: DataSpec, seed: int) -> Drawn:
    """Draw a study's parts from the readable rows of ``listing``, and apply its decisions on labels to them: see
    `draw_parts` and `relabelled`. Raises DataError if no row is readable."""
    if listing.files is None:
        readable = np.arange(len(listing))
    else:
        facts = look(listing)
        readable = facts.readable()
        if len(readable) == 0:
            raise DataError(
                f"none of the {len(listing):,} images of {listing.name} can be read; the first, "
                f"{shown(listing.files[0])}: {facts.errors[0]}"
            )
    return Drawn(*relabelled(listing, draw_parts(listing, readable, data, seed), data.relabel))


def load_split(dataset: DatasetSpec, study: StudySpec) -> Split:
    """Draw a study's parts and load them.

    Images of an ``.npz`` keep their size; files become squares of the study's largest image size, of which the network
    makes the smaller ones.
    """
    return draw(dataset, study.data, study.seed).load(study.search.image_size[-1])


def _images(listing: Listing, image_size: int, *parts: NDArray[np.int64]) -> list[Images]:
    if listing.files is None:
        pixels = read_images(listing.home)
        whole = [Images(pixels[rows], listing.labels[rows]) for rows in parts]
        return [replace(images, key=images.digest()) for images in whole]  # computed once, used by every trial
    facts = look(listing)
    grey = bool(facts.grey[facts.readable()].all())  # decided on all parts, so that they have the same shape
    found = []
    for rows in parts:
        digests = facts.digests[rows].astype(np.str_).tolist()
        pixels, key = squares([listing.path(row) for row in rows.tolist()], digests, image_size, grey=grey)
        found.append(Images(pixels, listing.labels[rows], key))
    return found
