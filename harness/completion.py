"""Print what lets a shell complete commands, options and files: `python -m harness.completion bash`."""

import argparse
import sys
from collections.abc import Iterator, Sequence

import shtab

from harness import command
from harness.__main__ import COMMANDS, module_of
from harness.arguments import Parser

_FILES = ("FILE", "PATH", "PAGE", "CSV", "JSON", "DIR", "MODEL", "IMAGES")
"""How what is written for a file in `--help` ends."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see `harness.command.main`)."""
    return command.main(_parser(), _run, argv)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m harness.completion",
        description="Print a script that completes commands, options and files of `harness`. For bash, write it to "
        "~/.local/share/bash-completion/completions/harness; for zsh, to _harness in a folder of $fpath; for fish, to "
        "~/.config/fish/completions/harness.fish.",
    )
    parser.add_argument("shell", choices=["bash", "zsh", "fish"], help="the shell to write for")
    return parser


def _run(arguments: argparse.Namespace, _: str) -> None:
    print(shtab.complete(_all(), arguments.shell))


def _all() -> argparse.ArgumentParser:
    """Return the parser of `harness` with those of all commands in it."""
    parser = argparse.ArgumentParser(prog="harness")
    commands = parser.add_subparsers(metavar="COMMAND")
    for name, summary in COMMANDS.items():
        of_command: argparse.ArgumentParser = module_of(name)._parser()
        commands.add_parser(name, help=summary, parents=[of_command], add_help=False)
    for action in _actions(parser):
        if action.type is not None and str(action.metavar).endswith(_FILES):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    return parser


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        for sub in action.choices.values() if isinstance(action.choices, dict) else ():
            yield from _actions(sub)


if __name__ == "__main__":
    sys.exit(main())
