"""Whether mirrored images keep their class."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.data.dataset import Images
from harness.guidance import mirroring
from harness.guidance.mirroring import Mirroring, measure_mirroring
from tests.helpers.tiny import tiny_backbone


def halves(classes_differ_by_side: bool) -> Images:
    """Images with a bright half: on the left or right, or, of the other kind, at the top or bottom."""
    draws = np.random.default_rng(0)
    pixels = draws.integers(0, 40, (40, 96, 96, 3)).astype(np.uint8)
    labels = np.arange(40) % 2
    for image, label in zip(pixels, labels, strict=True):
        half: NDArray[np.uint8] = image[:, :48] if classes_differ_by_side else image[:48]
        other = image[:, 48:] if classes_differ_by_side else image[48:]
        (other if label else half)[:] += np.uint8(200)
    return Images(pixels, labels, "halves")


@pytest.mark.parametrize("by_side", [True, False])
def test_images_that_differ_by_their_sides_lose_their_class(monkeypatch: pytest.MonkeyPatch, by_side: bool) -> None:
    monkeypatch.setattr(mirroring, "reference_backbone", lambda _: tiny_backbone())
    found = measure_mirroring(halves(by_side), None)
    assert found.n_images == 40 and found.accuracy > 0.9
    assert found.keeps_classes != by_side
    assert (found.mirrored < 0.1) if by_side else (found.mirrored > 0.9)
    advised = "leave data.flip = false" if by_side else "data.flip = true is worth trying"
    assert found.sentence().endswith(advised)


def test_a_small_loss_or_one_that_chance_explains_is_none() -> None:
    assert Mirroring(200, 0.9, 0.89, -0.02, -0.001).keeps_classes
    assert Mirroring(200, 0.9, 0.85, -0.11, 0.01).keeps_classes
    assert not Mirroring(200, 0.9, 0.85, -0.09, -0.01).keeps_classes


def test_one_image_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="mirrored images cannot be judged on 1 image"):
        measure_mirroring(Images(np.zeros((1, 96, 96, 3), np.uint8), np.zeros(1, np.int64), "one"), None)
