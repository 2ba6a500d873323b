"""The page of a trial's errors: one HTML file with thumbnails, a confusion matrix to click, and galleries."""

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dashboards.page import TEMPLATES, as_json, asset
from dashboards.theme import DARK, INK, LINE, MUTED, PAPER

MOST_CLASSES = 30
"""Up to so many the confusion matrix is a table; with more, a list of the confused pairs."""
_MOST_PAIRS = 200


@dataclass(frozen=True)
class Picture:
    """An image on the page. ``jpeg`` is its thumbnail, or the reason why there is none; ``heat`` its heat map."""

    file: str
    part: str
    label: str
    jpeg: bytes | str
    heat: bytes | None = None

    def sources(self) -> dict[str, str]:
        """Return what the page's script shows, as data URIs."""
        shown = {"jpeg": self.jpeg, "heat": self.heat}
        return {name: _data_uri(value) for name, value in shown.items() if isinstance(value, bytes)}


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

    @property
    def is_table(self) -> bool:
        """Whether the matrix is small enough for a table."""
        return len(self.classes) <= MOST_CLASSES

    def pairs(self) -> list[tuple[int, int, int]]:
        """Return the most confused pairs: true class, predicted class, count."""
        off = self.counts * ~np.eye(len(self.classes), dtype=np.bool_)
        order = np.argsort(-off, axis=None, kind="stable")[:_MOST_PAIRS]
        found = [
            (int(true), int(predicted)) for true, predicted in zip(*np.unravel_index(order, off.shape), strict=True)
        ]
        return [(*pair, int(off[pair])) for pair in found if off[pair]]


def render(
    title: str,
    summary: Sequence[str],
    notes: Sequence[str],
    confusion: Confusion | None,
    galleries: Sequence[Gallery],
    pictures: Sequence[Picture],
) -> str:
    """Return the page as HTML. All text is escaped; the content policy allows no request and no other script."""
    cells = {} if confusion is None else confusion.cells
    return TEMPLATES.get_template("errors.html.j2").render(
        title=title,
        summary=summary,
        notes=notes,
        confusion=confusion,
        galleries=galleries,
        pictures=pictures,
        sources=as_json([picture.sources() for picture in pictures]),
        texts=as_json([[picture.file, picture.part, picture.label, _missing(picture)] for picture in pictures]),
        cells=as_json({f"{true}-{predicted}": list(shown) for (true, predicted), shown in cells.items()}),
        nonce=secrets.token_urlsafe(16),
        theme={"ink": INK, "muted": MUTED, "line": LINE, "paper": PAPER},
        dark=DARK,
        css=asset("page.css"),
        own_css=asset("errors.css"),
        js=asset("errors.js"),
    )


def _missing(picture: Picture) -> str:
    return picture.jpeg if isinstance(picture.jpeg, str) else ""


def _data_uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
