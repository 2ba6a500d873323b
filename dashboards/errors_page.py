"""The page of a trial's errors: one HTML file with thumbnails, a confusion matrix to click, and galleries."""

import base64
import secrets

import numpy as np

from dashboards.page import TEMPLATES, as_json, asset
from dashboards.theme import DARK, INK, LINE, MUTED, PAPER
from harness.review.contents import Confusion, Contents, Picture

MOST_CLASSES = 30
"""Up to so many the confusion matrix is a table; with more, a list of the confused pairs."""
_MOST_PAIRS = 200


def render(contents: Contents) -> str:
    """Return the page as HTML. All text is escaped; the content policy allows no request and no other script."""
    confusion, pictures = contents.confusion, contents.pictures
    cells = {} if confusion is None else confusion.cells
    return TEMPLATES.get_template("errors.html.j2").render(
        title=contents.title,
        summary=contents.summary,
        notes=contents.notes,
        confusion=confusion,
        galleries=contents.galleries,
        pictures=pictures,
        is_table=confusion is not None and len(confusion.classes) <= MOST_CLASSES,
        pairs=[] if confusion is None else _pairs(confusion),
        sources=as_json([_sources(picture) for picture in pictures]),
        texts=as_json([[picture.file, picture.part, picture.label, _missing(picture)] for picture in pictures]),
        cells=as_json({f"{true}-{predicted}": list(shown) for (true, predicted), shown in cells.items()}),
        nonce=secrets.token_urlsafe(16),
        theme={"ink": INK, "muted": MUTED, "line": LINE, "paper": PAPER},
        dark=DARK,
        css=asset("page.css"),
        own_css=asset("errors.css"),
        js=asset("errors.js"),
    )


def _pairs(confusion: Confusion) -> list[tuple[int, int, int]]:
    """Return the most confused pairs: true class, predicted class, count."""
    off = confusion.counts * ~np.eye(len(confusion.classes), dtype=np.bool_)
    order = np.argsort(-off, axis=None, kind="stable")[:_MOST_PAIRS]
    found = [(int(true), int(predicted)) for true, predicted in zip(*np.unravel_index(order, off.shape), strict=True)]
    return [(*pair, int(off[pair])) for pair in found if off[pair]]


def _sources(picture: Picture) -> dict[str, str]:
    """Return what the page's script shows, as data URIs."""
    shown = {"jpeg": picture.jpeg, "heat": picture.heat}
    return {name: _data_uri(value) for name, value in shown.items() if isinstance(value, bytes)}


def _missing(picture: Picture) -> str:
    return picture.jpeg if isinstance(picture.jpeg, str) else ""


def _data_uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
