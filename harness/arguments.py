"""Command lines without the passwords in them: as they are recorded, and as what cannot be understood is said."""

import argparse
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NoReturn

from harness.storage import database


class Parser(argparse.ArgumentParser):
    """One that quotes no password where it refuses an argument."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As that of the base, which all ways to parse go through."""
        self._given = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print the usage and the message, and exit with code 2."""
        for _, url in _urls(self._given):
            if url:
                message = message.replace(url, database.shown(url))
        super().error(message)


def recorded_command(name: str, argv: Sequence[str] | None) -> str:
    """The command ``name`` with its arguments ``argv``, those of this process where None, as it may be recorded."""
    return shlex.join(["harness", name, *shown_arguments(sys.argv[1:] if argv is None else argv)])


def shown_arguments(argv: Sequence[str]) -> list[str]:
    """The arguments as they may be printed and recorded: a database's URL as `database.shown` has it."""
    return [before + database.shown(url) if url else before for before, url in _urls(argv)]


def _urls(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each argument in two: what is before a database's URL, and the URL, empty where there is none.

    A URL is what --storage is given, however it is written, and whatever looks like one: the option may be misspelled.
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
    return len(option) > 2 and "--storage".startswith(option)  # argparse takes what an option begins with
