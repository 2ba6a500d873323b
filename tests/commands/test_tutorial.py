"""The commands of docs/tutorial.md, run on a small folder of drawn images, searched at one size."""

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.helpers.drawn_shapes import CLASSES, draw, write_shapes


def commands() -> list[str]:
    page = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    return [line for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]


def test_the_tutorial_has_five_commands_of_the_harness() -> None:
    assert len(commands()) == 5
    assert all(re.match(r"python -m harness\.\w+ ", command) for command in commands())


@pytest.mark.large
def test_the_tutorial(shared: Path, tmp_path: Path) -> None:
    write_shapes(tmp_path / "photos", 45)
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
        if "harness.run" in arguments:
            arguments += ["--image-size", "64", "--epochs", "3"]
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
