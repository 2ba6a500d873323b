"""The commands of README.md, with a smaller budget for searches."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.helpers.drawn_shapes import write_shapes

# Appended to searches, which would take minutes otherwise.
SMALL = {
    "harness.run": "--trials 3 --train-size 40 --validation-size 20 --epochs 1 --image-size 64",
    "harness.confirm": "--finalists 1 --seeds 2",
}


def commands() -> list[str]:
    """Return the commands of the harness in the README's code blocks and tables, without comments."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = (line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines())
    cells = re.findall(r"\| `(python -m [^`]*)` \|", text)
    return [line.partition("  #")[0].strip() for line in [*blocks, *cells] if line.startswith("python -m")]


def test_the_two_commands_are_targets_of_make() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"^make (\S+)", text, re.MULTILINE)
    assert targets == ["run", "test"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    assert len(text.split()) <= 730


def test_every_option_in_the_readme_exists() -> None:
    from harness import confirm, dashboard, export, predict, run
    from harness.data import __main__ as data

    modules = {
        "confirm": confirm,
        "dashboard": dashboard,
        "data": data,
        "export": export,
        "predict": predict,
        "run": run,
    }
    for command in commands():
        name, *arguments = shlex.split(command)[2:]
        modules[name.removeprefix("harness.")]._parser().parse_args(arguments)


@pytest.mark.large
def test_the_commands(shared: Path, tmp_path: Path) -> None:
    write_shapes(tmp_path / "path" / "to" / "photos", 90)
    write_shapes(tmp_path / "path" / "to" / "images", 6)
    environment = os.environ | {
        "HARNESS_CACHE": str(tmp_path / "cache"),
        "HARNESS_VGG16_WEIGHTS": str(shared / "weights" / "vgg16_imagenet_notop.weights.h5"),
        "PYTHONPATH": str(ROOT),
    }
    for command in in_order(commands()):
        _, *arguments = shlex.split(command)
        if "--serve" in arguments:
            arguments.remove("--serve")  # tests/dashboards serve
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
    assert (tmp_path / "results" / "photos.html").is_file()
    assert (tmp_path / "results" / "mnist.recommendation.toml").is_file()
    assert (tmp_path / "model" / "model.keras").is_file()


def in_order(found: list[str]) -> Iterator[str]:
    """Yield a small search of mnist, then the searches with a small budget, then the other commands."""
    searches = [command for command in found if "harness.run" in command and "--list" not in command]
    assert any("--fresh" in command for command in searches)
    yield f"python -m harness.run --study mnist {SMALL['harness.run']}"
    yield from (f"{command} {SMALL['harness.run']}" for command in searches)
    yield from (f"{c} {SMALL.get(c.split()[2], '')}" for c in found if c not in searches)
