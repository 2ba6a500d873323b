"""A data set's images, split for a study; the test part stays sealed."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.core.spec import DatasetSpec, DataSpec
from harness.data.archives import read_images
from harness.data.checks import Report, check
from harness.data.decoding import squares
from harness.data.inspection import look
from harness.data.listing import PART_NAMES, Listing, PartName, printable, shown
from harness.data.sources import read_listing
from harness.data.split import Parts, draw_parts


@dataclass(frozen=True, slots=True)
class Images:
    """Labelled images: ``pixels`` (n, height, width) or (n, height, width, 3) uint8, maybe memory-mapped, ``labels``
    (n,) int64. ``key`` stands for the pixels where reading them all to tell would take long."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    key: str = ""

    def __len__(self) -> int:
        return len(self.labels)

    def digest(self) -> str:
        """sha256 of the pixels, their shape included, or of what they were decoded from: the key of everything computed
        from them."""
        if self.key:
            return self.key
        digest = hashlib.sha256(repr(self.pixels.shape).encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        return digest.hexdigest()


def join(first: Images, second: Images) -> Images:
    """Both as one, the first's images first: train and validation, for training what has been chosen."""
    pixels, labels = np.concatenate([first.pixels, second.pixels]), np.concatenate([first.labels, second.labels])
    return Images(pixels, labels, f"{first.digest()}, then {second.digest()}")


@dataclass(frozen=True, slots=True)
class SealedTest:
    """Where the test part lies: rows of a listing. It holds no image; only confirming finalists may open it."""

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
    """The parts of one study. A search sees ``train`` and ``validation`` only."""

    train: Images
    validation: Images
    test: SealedTest
    class_names: tuple[str, ...]

    @property
    def n_classes(self) -> int:
        """How many classes there are to tell apart."""
        return len(self.class_names)

    def n_searched(self) -> int:
        """Images that a search sees: those whose activations are stored."""
        return len(self.train) + len(self.validation)

    def majority_share(self) -> float:
        """Share of the validation part that the training part's commonest class gets right."""
        commonest = np.bincount(self.train.labels, minlength=self.n_classes).argmax()
        return float(np.mean(self.validation.labels == commonest))


@dataclass(frozen=True, slots=True)
class Drawn:
    """A study's parts as rows of a listing; nothing is decoded yet."""

    listing: Listing
    parts: Parts
    image_size: int

    def load(self) -> Split:
        """Read or decode the training and the validation part. Raises DataError, StorageError."""
        train, validation = _images(self.listing, self.image_size, self.parts.train, self.parts.validation)
        test = SealedTest(self.listing, self.parts.test, self.image_size)
        return Split(train, validation, test, self.listing.class_names)

    def some(self, size: int, image_size: int) -> Images:
        """``size`` of the training images, drawn at random and always the same, files as squares of ``image_size``; all
        where there are no more."""
        rows = np.sort(np.random.default_rng(0).permutation(self.parts.train)[:size])
        return _images(self.listing, image_size, rows)[0]

    def report(self) -> Report:
        """The checks of the whole data set, with these parts in place of its own."""
        parts = np.full(len(self.listing), "", f"U{max(map(len, PART_NAMES))}")
        for name in PART_NAMES:
            parts[getattr(self.parts, name)] = name
        return check(self.listing, look(self.listing), parts)

    def members(self) -> dict[PartName, list[tuple[str, str]]]:
        """For each part the files (absolute) or row numbers in the order drawn, each with its class."""

        def member(row: int) -> tuple[str, str]:
            listing = self.listing
            where = str(row) if listing.files is None else printable(str(listing.path(row).absolute()))
            return where, listing.class_names[listing.labels[row]]

        return {name: [member(row) for row in getattr(self.parts, name).tolist()] for name in PART_NAMES}


def draw(dataset: DatasetSpec, data: DataSpec, seed: int) -> Drawn:
    """Draw a study's parts from ``dataset``: see `draw_listed`. Raises DataError for what is no data set, too."""
    return draw_listed(read_listing(dataset), data, seed)


def draw_listed(listing: Listing, data: DataSpec, seed: int) -> Drawn:
    """Draw a study's parts from ``listing``: stratified by class, no group on two sides, the same for the same seed.

    Parts that the data set has are kept; those it lacks are cut from its training part. Files that cannot be read are
    left out. Raises DataError where no file can be read, for sizes over what there is, and for classes and groups that
    cannot be split.
    """
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
    return Drawn(listing, draw_parts(listing, readable, data, seed), data.image_size)


def load_split(dataset: DatasetSpec, data: DataSpec, seed: int) -> Split:
    """`draw` the parts and load them. Images of an ``.npz`` keep their size; files become squares of
    ``data.image_size``."""
    return draw(dataset, data, seed).load()


def _images(listing: Listing, image_size: int, *parts: NDArray[np.int64]) -> list[Images]:
    if listing.files is None:
        pixels = read_images(listing.home)
        whole = [Images(pixels[rows], listing.labels[rows]) for rows in parts]
        return [replace(images, key=images.digest()) for images in whole]  # each trial asks for it
    facts = look(listing)
    grey = bool(facts.grey[facts.readable()].all())  # of all parts, so that they have one shape
    found = []
    for rows in parts:
        digests = facts.digests[rows].astype(np.str_).tolist()
        pixels, key = squares([listing.path(row) for row in rows.tolist()], digests, image_size, grey=grey)
        found.append(Images(pixels, listing.labels[rows], key))
    return found
