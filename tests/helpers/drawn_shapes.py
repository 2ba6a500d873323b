"""Small drawn images of three classes, in class folders."""

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("circle", "cross", "stripes")


def draw(kind: str, seed: int) -> Image.Image:
    """Draw an image of 80 x 64 in two colours: one of `CLASSES`, of any size and place."""
    draws = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :80]
    y, x = y - draws.uniform(24, 40), x - draws.uniform(32, 48)
    width = draws.uniform(4, 8)
    shape = {
        "circle": np.abs(np.hypot(x, y) - 3 * width) < width / 2,
        "cross": (np.minimum(np.abs(x), np.abs(y)) < width / 2) & (np.maximum(np.abs(x), np.abs(y)) < 3 * width),
        "stripes": np.sin((x + y) / width) > 0,
    }[kind]
    ground, ink = draws.integers(0, 100, 3), draws.integers(150, 256, 3)
    return Image.fromarray(np.where(shape[..., None], ink, ground).astype(np.uint8))


def write_shapes(folder: Path, n: int) -> None:
    """Write ``n`` images to class folders in ``folder``."""
    for number in range(n):
        kind = CLASSES[number % len(CLASSES)]
        file = folder / kind / f"{number:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        draw(kind, number).save(file)
