"""The option ``--weights`` that several commands have."""

import argparse
from pathlib import Path

import pytest

from harness import command
from harness.arguments import Parser


def call(*flags: str) -> tuple[int, dict[str, Path]]:
    """Return the exit code of a command with the option, and the files it was given."""
    given: dict[str, Path] = {}

    def run(arguments: argparse.Namespace, _: str) -> None:
        given.update(arguments.weights)

    parser = Parser(prog="test")
    command.add_weights(parser)
    return command.main(parser, run, flags), given


@pytest.mark.parametrize(
    ("flags", "given"),
    [
        ([], {}),
        (["--weights", "mine.h5"], {"vgg16": "mine.h5"}),
        (["--weights=vgg16=mine.h5"], {"vgg16": "mine.h5"}),
        (["--weights", "runs/lr=0.1/a.h5"], {"vgg16": "runs/lr=0.1/a.h5"}),
        (["--weights", "./lr=0.1.h5"], {"vgg16": "lr=0.1.h5"}),
        (["--weights", "vgg16=lr=0.1.h5"], {"vgg16": "lr=0.1.h5"}),
        (
            ["--weights", "efficientnet_lite0=/tmp/a b.h5", "--weights", "mine.h5"],
            {"efficientnet_lite0": "/tmp/a b.h5", "vgg16": "mine.h5"},
        ),
    ],
)
def test_files_are_given_by_backbone(flags: list[str], given: dict[str, str]) -> None:
    assert call(*flags) == (0, {name: Path(path) for name, path in given.items()})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["efficientnet_lite=a.h5"], "unknown backbone 'efficientnet_lite': did you mean 'efficientnet_lite0'?"),
        (["VGG16=a.h5"], "unknown backbone 'VGG16': did you mean 'vgg16'?"),
        (["lr=0.1.h5"], "If this is a path, write ./lr=0.1.h5"),
        ([""], "--weights '': give the path of a file"),
        (["vgg16="], "--weights 'vgg16=': give the path of a file"),
        (["a.h5", "vgg16=b.h5"], "--weights vgg16=b.h5: vgg16 has a.h5 already"),
    ],
)
def test_what_names_no_file_of_a_backbone_ends_with_one_line(
    capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    code, given = call(*(part for flag in flags for part in ("--weights", flag)))
    err = capsys.readouterr().err
    assert (code, given) == (2, {})
    assert err.startswith("error: --weights") and message in err and err.count("\n") == 1
