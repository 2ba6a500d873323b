"""Command lines: no database password is recorded or shown, and ``~`` is the home folder in every path."""

import argparse
import errno
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from harness import __version__
from harness.core.paths import user_path
from harness.storage import database

_WANTED = {"int": "a whole number", "float": "a number"}


class Parser(argparse.ArgumentParser):
    """An argument parser with ``--version``, whose errors show no password. ``type=Path`` is read with `user_path`, and
    not empty: an empty path would be the current folder."""

    def __init__(self, **options: Any) -> None:
        """Create the parser with the ``options`` of the base class."""
        super().__init__(**options)
        self.register("type", Path, path_option)
        self.add_argument(
            "--version", action="version", version=f"harness {__version__}", help="print the version and exit"
        )

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as the base class does, and keep the arguments for `error`."""
        self._given = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print the message as one line, as all commands print errors, and exit with code 2."""
        for _, url in _urls(self._given):
            if url:
                message = message.replace(url, database.shown(url))
        for kind, wanted in _WANTED.items():
            message = message.replace(f"invalid {kind} value: ", f"give {wanted}, not ")
        message = " ".join(message.removeprefix("argument ").split())
        self.exit(2, f"error: {message}. `{self.prog} --help` lists the options\n")


def path_option(text: str) -> Path:
    """Return the path that a user has given. Raises ArgumentTypeError where it is empty or too long."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty: give one, or . for this folder")
    path = user_path(text)
    try:
        path.lstat()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise argparse.ArgumentTypeError(f"{text[:60]!r}… is too long for a path: give a shorter one") from None
    return path


def recorded_command(name: str, argv: Sequence[str] | None) -> str:
    """Return the command line of ``name`` without passwords; ``argv`` None means this process's arguments."""
    return shlex.join(["harness", name, *shown_arguments(sys.argv[1:] if argv is None else argv)])


def shown_arguments(argv: Sequence[str]) -> list[str]:
    """Return the arguments with database URLs as `database.shown` shows them, to be printed or recorded."""
    return [before + database.shown(url) if url else before for before, url in _urls(argv)]


def _urls(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Split each argument into the text before a database URL and the URL, which may be empty.

    URLs are the values of --storage and all arguments that look like one, in case the option is misspelled.
    """
    for option, argument in pairwise(["", *argv]):
        name, equals, value = argument.partition("=")
        if _is_storage(option):
            yield "", argument
        elif equals and _is_storage(name):
            yield name + equals, value
        elif found := re.search(r"\w[\w+.-]*://", argument):
            yield argument[: found.start()], argument[found.start() :]
        else:
            yield argument, ""


def _is_storage(option: str) -> bool:
    return len(option) > 2 and "--storage".startswith(option)  # argparse accepts abbreviated options
