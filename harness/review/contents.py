"""What the page of errors shows: the confusion matrix, galleries of images, and notes on what is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from harness.analysis.mistakes import Mistakes
from harness.data.listing import examples
from harness.review.study_images import Image, StudyImages
from harness.review.thumbnails import Thumbnail, jpeg, overlaid

if TYPE_CHECKING:  # takes a second
    from harness.review.suspects import Judged

_MOST = 1000
"""Images of the cells of the confusion matrix."""
_EACH = 40
"""Of one cell."""
GALLERY = 36
_OUTLIERS = 18
_SUSPECTS = 120
"""Label suspects on the page; the CSV lists all."""

NOT_KEPT = (
    "mistakes are left out: no predictions of this study's trials are kept, as it was made before they were, or no "
    "trial is complete. Run it again under another --name, or with --fresh"
)


@dataclass(frozen=True)
class Picture:
    """An image on the page. ``jpeg`` is its thumbnail, or the reason why there is none; ``heat`` its heat map."""

    file: str
    part: str
    label: str
    jpeg: bytes | str
    heat: bytes | None = None


@dataclass(frozen=True)
class Gallery:
    """Some of the pictures: their numbers, each with what is said of it there."""

    id: str
    title: str
    text: str
    pictures: Sequence[tuple[int, str]] = ()


@dataclass(frozen=True)
class Confusion:
    """Counts (classes, classes), true by predicted, and the pictures of each cell that has any, with their captions."""

    classes: Sequence[str]
    counts: NDArray[np.int64]
    cells: Mapping[tuple[int, int], Sequence[tuple[int, str]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Contents:
    """All that the page shows. Texts are plain."""

    title: str
    summary: Sequence[str] = ()
    notes: Sequence[str] = ()
    confusion: Confusion | None = None
    galleries: Sequence[Gallery] = ()
    pictures: Sequence[Picture] = ()

    @classmethod
    def of(
        cls,
        study: str,
        images: StudyImages,
        mistakes: Mistakes | None,
        judged: "Judged | None",
        heat: Mapping[Image, NDArray[np.float32]],
        notes: Sequence[str],
    ) -> Self:
        """Collect what is known of the images of ``study`` and read their thumbnails.

        Args:
            study: Its name.
            images: Its images.
            mistakes: What a trial predicted for those of a part.
            judged: The labels of training and validation set.
            heat: Where a network looks, for some images (see `harness.review.heat_maps`).
            notes: What is left out, and why.
        """
        album = _Album()
        confusion = None if mistakes is None else _confusion(mistakes, album)
        galleries = [] if mistakes is None else _of_mistakes(mistakes, album)
        galleries += [] if judged is None else _of_judged(judged, album)
        parts = ["train", "validation", *([mistakes.part] if mistakes is not None and mistakes.part == "test" else [])]
        return cls(
            f"Errors of study {study}",
            _summary(mistakes),
            [*notes, *_notes(mistakes), *images.changes(parts)],
            confusion,
            galleries,
            [
                Picture(images.name(image), image[0], images.label(image), *_jpegs(thumbnail, heat.get(image)))
                for image, thumbnail in zip(album.images, images.thumbnails(album.images), strict=True)
            ],
        )


class _Album:
    """The images that the page shows, each once, in the order in which it first does."""

    def __init__(self) -> None:
        self._numbers: dict[Image, int] = {}

    def number(self, part: str, at: int) -> int:
        """Return the number of an image's picture."""
        return self._numbers.setdefault((part, int(at)), len(self._numbers))

    @property
    def images(self) -> list[Image]:
        """The images by number."""
        return list(self._numbers)


def _confusion(mistakes: Mistakes, album: _Album) -> Confusion:
    cells: dict[tuple[int, int], list[tuple[int, str]]] = {}
    for at in mistakes.of_cells(_EACH, _MOST).tolist():
        cell = int(mistakes.true[at]), int(mistakes.predicted[at])
        cells.setdefault(cell, []).append((album.number(mistakes.part, at), _said(mistakes, at)))
    return Confusion(mistakes.classes, mistakes.counts(), cells)


def _of_mistakes(mistakes: Mistakes, album: _Album) -> list[Gallery]:
    """Return the most confident mistakes and the hardest images."""
    models = "seeds" if mistakes.part == "test" else "trials"
    return [
        Gallery(
            "mistakes",
            "Most confident mistakes",
            f"Images that {mistakes.name} gets wrong, with the probability of the class that it predicts.",
            [
                (album.number(mistakes.part, at), _said(mistakes, at))
                for at in mistakes.most_confident(GALLERY).tolist()
            ],
        ),
        Gallery(
            "hardest",
            "Hardest images",
            f"Images that at least half of {mistakes.n_models} {models} get wrong. Look at their labels first.",
            [
                (
                    album.number(mistakes.part, at),
                    f"wrong in {mistakes.wrong_in[at]} of {mistakes.n_models}; {_said(mistakes, at)}",
                )
                for at in mistakes.hardest(GALLERY).tolist()
            ],
        ),
    ]


def _said(mistakes: Mistakes, at: int) -> str:
    sure = f"{mistakes.probability[at]:.0%}"
    return f"predicted {mistakes.classes[mistakes.predicted[at]]}, {sure}" if mistakes.wrong[at] else f"right, {sure}"


def _of_judged(judged: "Judged", album: _Album) -> list[Gallery]:
    """Return the label suspects and the outliers of training and validation set."""
    n, shown = len(judged.suspects), judged.suspects[:_SUSPECTS]
    return [
        Gallery(
            "suspects",
            "Label suspects",
            "Training and validation images whose label is improbable to a linear probe that was trained without them, "
            f"the most suspicious first: {n:,}, of which {len(shown)} are shown. The probe agrees with "
            f"{judged.agreement:.0%} of all labels: the fewer, the more suspects are right all the same. --csv lists "
            "all, to decide on each.",
            [(album.number(*each.image), f"looks like {each.suggested}") for each in shown],
        ),
        Gallery(
            "outliers",
            "Outliers",
            "Images that are least like the five training images nearest to them, in the activations of a frozen "
            "network.",
            [
                (album.number(*image), f"{distance:.1f} times the usual distance")
                for image, distance in judged.outliers[:_OUTLIERS]
            ],
        ),
    ]


def _summary(mistakes: Mistakes | None) -> list[str]:
    said, test = [], mistakes is not None and mistakes.part == "test"
    if mistakes is not None:
        wrong, n = int(mistakes.wrong.sum()), len(mistakes.files)
        name = f"{mistakes.name[:1].upper()}{mistakes.name[1:]}"
        again = ", trained again by the last confirmation with the first of its seeds," if test else ""
        part = "held-out test" if test else "validation"
        said.append(f"{name}{again} gets {wrong:,} of {n:,} {part} images wrong.")
    which = (
        "Test images are marked; a confirmation has opened them."
        if test
        else "No image of the held-out test set is on this page."
    )
    return [*said, f"Thumbnails are cut out as the network sees the images. {which}"]


def _notes(mistakes: Mistakes | None) -> list[str]:
    if mistakes is None:
        return [NOT_KEPT]
    absent = [name for name, n in zip(mistakes.classes, mistakes.counts().sum(axis=1), strict=True) if not n]
    if not absent:
        return []
    rows = f"classes without an image in the {mistakes.part} set, whose rows are empty"
    return [f"{rows}: {len(absent):,} ({examples(absent)})"]


def _jpegs(thumbnail: Thumbnail, heat: NDArray[np.float32] | None) -> tuple[bytes | str, bytes | None]:
    if isinstance(thumbnail, str):
        return thumbnail, None
    return jpeg(thumbnail), None if heat is None else jpeg(overlaid(thumbnail, heat))
