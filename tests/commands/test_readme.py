"""The commands of README.md, with a smaller budget for searches."""

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.helpers.drawn_shapes import write_shapes

# Appended to searches, which would take minutes otherwise.
SMALL = {
    "harness.run": "--trials 3 --train-size 40 --validation-size 20 --epochs 1 --image-size 32",
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
    for command in commands():
        module, arguments = parsed(command)
        module._parser().parse_args(arguments)


def parsed(command: str) -> tuple[Any, list[str]]:
    """Return the module that ``python -m`` would run, and its arguments."""
    name, *arguments = shlex.split(command)[2:]
    return importlib.import_module("harness.data.__main__" if name == "harness.data" else name), arguments


@pytest.mark.large
def test_the_commands(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, which imports TensorFlow once; those of the tutorial are processes of their own."""
    write_shapes(tmp_path / "path" / "to" / "photos", 90)
    write_shapes(tmp_path / "path" / "to" / "images", 6)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HARNESS_VGG16_WEIGHTS", str(shared / "weights" / "vgg16_imagenet_notop.weights.h5"))
    for command in in_order(commands()):
        module, arguments = parsed(command)
        if "--serve" in arguments:
            arguments.remove("--serve")  # tests/dashboards serve
        code = module.main(arguments)
        assert code == 0, f"{command}: {capsys.readouterr().err}"
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
