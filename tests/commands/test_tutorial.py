"""The commands of docs/tutorial.md, as they stand there, on a small folder of drawn pictures and the real network."""

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT

CLASSES = ("circle", "cross", "stripes")


def commands() -> list[str]:
    page = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    return [line for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]


def draw(kind: str, seed: int) -> Image.Image:
    """A picture of 80 x 64 in two colours: one of `CLASSES`, of any size and place."""
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


def test_the_tutorial_has_five_commands_of_the_harness() -> None:
    assert len(commands()) == 5
    assert all(re.match(r"python -m harness\.\w+ ", command) for command in commands())


@pytest.mark.large
def test_the_tutorial(shared: Path, tmp_path: Path) -> None:
    for number in range(90):
        file = tmp_path / "photos" / CLASSES[number % 3] / f"{number:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        draw(CLASSES[number % 3], number).save(file)
    (tmp_path / "new").mkdir()
    for number, kind in enumerate(CLASSES * 4):
        draw(kind, 1000 + number).save(tmp_path / "new" / f"{number:02}-{kind}.png")
    environment = os.environ | {
        "HARNESS_CACHE": str(tmp_path / "cache"),
        "HARNESS_VGG16_WEIGHTS": str(shared / "weights" / "vgg16_imagenet_notop.weights.h5"),
        "PYTHONPATH": str(ROOT),
    }
    for command in commands():
        _, *arguments = shlex.split(command)
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
    assert {"README.md", "model.keras", "saved_model", "spec.toml"} <= {
        path.name for path in (tmp_path / "model").iterdir()
    }
    with (tmp_path / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    right = [row["label"] == Path(row["file"]).stem.partition("-")[2] for row in rows]
    assert sum(right) >= 9  # chance is 4
