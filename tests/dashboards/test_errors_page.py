"""The page of errors: whatever files and classes are called, and however many there are."""

import json
import re

import numpy as np

from dashboards.errors_page import render
from harness.review.contents import Confusion, Contents, Gallery, Picture
from harness.review.thumbnails import SIDE, jpeg
from tests.helpers.synthetic import HOSTILE


def data(page: str, id: str) -> object:
    """Return what the page's script reads."""
    return json.loads(re.search(rf'id="{id}">(.*?)</script>', page, re.DOTALL).group(1))


def test_hostile_names_are_text_and_nothing_is_requested() -> None:
    name = f"{HOSTILE}</script><script>alert(2)</script>"
    pictures = [
        Picture(name, "validation", name, jpeg(np.zeros((8, 8), np.uint8)), jpeg(np.zeros((8, 8, 3), np.uint8))),
        Picture(name, "test", "b", f"gone {name}"),
    ]
    confusion = Confusion([name, "b"], np.array([[3, 1], [0, 2]]), {(0, 1): [(0, f"predicted {name}")]})
    galleries = [Gallery("mistakes", "Mistakes", name, [(0, name), (1, "")])]
    page = render(Contents(f"Errors of {name}", [name], [name], confusion, galleries, pictures))
    assert "<img src=x" not in page and "<script>alert" not in page
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", page) and "default-src 'none'" in page
    assert data(page, "cells") == {"0-1": [[0, f"predicted {name}"]]}
    assert [sorted(source) for source in data(page, "sources")] == [["heat", "jpeg"], []]
    assert data(page, "texts")[1] == [name, "test", "b", f"gone {name}"]
    assert page.count("held-out test image") == 2  # one picture, and the script that marks others
    assert '<button type="button" class="cell wrong" data-cell="0-1"' in page and page.count("data-cell=") == 3


def test_a_thousand_classes_are_a_list_of_pairs() -> None:
    counts = np.eye(1000, dtype=np.int64) * 5
    counts[7, 8], counts[1, 2] = 4, 9
    names = [f"class {i}" for i in range(1000)]
    page = render(Contents("t", confusion=Confusion(names, counts, {(1, 2): []})))
    assert page.count("data-cell=") == 2 and page.index("9 of class 1 predicted") < page.index("4 of class 7 predicted")
    assert len(page) < 100_000


def test_a_page_of_a_thousand_images_is_bounded() -> None:
    """Noise, which takes more bytes than any photo."""
    noise = jpeg(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8))
    picture = Picture("a.png", "validation", "a", noise)
    assert len(render(Contents("t", pictures=[picture] * 1200))) < 15e6
