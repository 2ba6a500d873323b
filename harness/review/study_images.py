"""The images of a study as they are now: which of them are still what it was begun with."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.core.spec import DatasetSpec, StudySpec
from harness.data.archives import read_images
from harness.data.dataset import Drawn, draw
from harness.data.decoding import in_parallel
from harness.data.inspection import DIGITS
from harness.data.listing import examples, printable
from harness.review.thumbnails import Thumbnail, thumbnails
from harness.storage.store import Store

Image = tuple[str, int]
"""A part and a position in it."""

_SEARCHED = {"train": "training", "validation": "validation"}


@dataclass(frozen=True, eq=False)
class StudyImages:
    """Where the images of a study are.

    Attributes:
        members: Of each part, the images as the study recorded them: (file or row number, class, digest).
        home: Where the data set is now: the ``.npz`` that the images are rows of, or the folder of their files.
        drawn: The parts drawn again from the data set; None where it cannot be listed.
        rows: Of the parts that are the same again, their rows of the listing.
        reason: Why training and validation set are not both the same, in a sentence; "" where they are.
    """

    members: Mapping[str, Sequence[tuple[str, str, str]]]
    home: Path | None
    drawn: Drawn | None = None
    rows: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    reason: str = ""

    @classmethod
    def find(cls, store: Store, study: str, dataset: DatasetSpec) -> Self:
        """Draw the study's parts again from ``dataset``."""
        spec = StudySpec.model_validate(store.studies.get(study).spec)
        members = store.studies.split(study)
        home = dataset.file
        if home is not None and home.is_file() and home.suffix.lower() != ".npz":
            home = home.parent  # of a manifest
        try:
            drawn = draw(dataset, spec.data, spec.seed)
        except DataError as error:
            return cls(members, home, reason=str(error))
        rows: dict[str, NDArray[np.int64]] = {
            part: getattr(drawn.parts, part)
            for part, images in drawn.members().items()
            if [_named(image) for image in images] == [_named(image) for image in members.get(part, [])]
        }
        lost = " and ".join(name for part, name in _SEARCHED.items() if part not in rows)
        reason = f"the {lost} images of {dataset.name} here are not those that the study was begun with" if lost else ""
        return cls(members, drawn.listing.home, drawn, rows, reason)

    @property
    def archive(self) -> Path | None:
        """The ``.npz`` that the images are rows of; None where they are files."""
        return self.home if self.home is not None and self.home.suffix.lower() == ".npz" else None

    def name(self, image: Image) -> str:
        """Return a printable name: the file as the data set lists it, or the row."""
        part, at = image
        if self.drawn is not None and part in self.rows:
            return self.drawn.listing.row_name(self.rows[part][at])
        return printable("/".join(Path(self._recorded(image)[0]).parts[-2:]))

    def label(self, image: Image) -> str:
        """Return the name of its class."""
        return self._recorded(image)[1]

    def thumbnails(self, images: Sequence[Image]) -> list[Thumbnail]:
        """Return a small copy of each image, or the reason why there is none."""
        return thumbnails([self._source(image) for image in images], self.archive)

    def changes(self, parts: Sequence[str]) -> list[str]:
        """Return a sentence on the images of ``parts`` that are gone, and one on those that have changed, if any."""
        images = [(part, at) for part in parts for at in range(len(self.members.get(part, [])))]
        now = self._digests(images)
        pairs = list(zip(images, now, strict=True))
        gone = [self.name(image) for image, digest in pairs if not digest]
        changed = [self.name(image) for image, digest in pairs if digest and digest != self._recorded(image)[2]]
        return [
            f"{what}: {len(names):,} ({examples(names)})"
            for what, names in (
                ("images that are gone or cannot be opened", gone),
                ("images that have changed since the study began, which saw others", changed),
            )
            if names
        ]

    def _digests(self, images: Sequence[Image]) -> list[str]:
        """Return the digest of each image as it is now, "" of one that is gone."""
        sources = [self._source(image) for image in images]
        if self.archive is None:
            return in_parallel(lambda i: _digest_of_file(Path(sources[i])), range(len(sources)), "comparing")
        try:
            pixels = read_images(self.archive)
        except DataError:
            return [""] * len(sources)
        rows = [np.ascontiguousarray(pixels[int(row)]).data if int(row) < len(pixels) else None for row in sources]
        return ["" if row is None else hashlib.sha256(row).hexdigest()[:DIGITS] for row in rows]

    def _recorded(self, image: Image) -> tuple[str, str, str]:
        part, at = image
        return self.members[part][at]

    def _source(self, image: Image) -> str:
        """Return its file, or its row in the archive."""
        part, at = image
        if self.archive is None and self.drawn is not None and part in self.rows:
            return str(self.drawn.listing.path(self.rows[part][at]))
        recorded = self._recorded(image)[0]
        return recorded if self.archive is not None or self.home is None else str(_moved(Path(recorded), self.home))


def _moved(file: Path, home: Path) -> Path:
    """Return where a file that is not there any more is below ``home``, if it is; else the file."""
    below = [home.joinpath(*file.parts[first:]) for first in range(1, len(file.parts))]
    return file if file.exists() else next((path for path in below if path.exists()), file)


def _named(image: tuple[str, str, str]) -> tuple[str, str]:
    """Return the file name and the class of an image, without its folder."""
    file, label, _ = image
    return Path(file).name, label


def _digest_of_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]
    except (OSError, ValueError):  # a NUL in the name
        return ""
