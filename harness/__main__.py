"""The console command: ``harness COMMAND …`` is ``python -m harness.COMMAND …``."""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType

from harness import __version__
from harness.core.interrupts import exit_on_signals
from harness.core.streams import printing

COMMANDS = {
    "run": "search transfer-learning strategies on your images",
    "advise": "say before any training which way to begin with on your images",
    "data": "check a data set: counts, unreadable files, duplicates, labels",
    "league": "rank the rules that choose a strategy before any training",
    "atlas": "compare the article's four scenarios with searches on several data sets",
    "studies": "list, show, split, export, import or delete the studies of a database",
    "errors": "show the images that a trial gets wrong, label suspects and outliers",
    "confirm": "train the finalists again and evaluate them on the held-out test set",
    "worker": "run trials of an existing study on this machine",
    "export": "export a study's best model for use without the harness",
    "predict": "classify images with an exported model",
    "dashboard": "write a study's page and serve optuna-dashboard",
    "completion": "print what lets a shell complete commands, options and files",
}


def console() -> int:
    """Run what the command line says, as a process of its own."""
    exit_on_signals()
    return main()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the named command with the remaining arguments and return its exit code."""
    return printing(lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(
        prog="harness",
        usage="harness [--help] [--version] COMMAND ...",
        description="Search transfer-learning strategies on your images.",
        epilog="`harness COMMAND --help` describes a command and its options.",
    )
    parser.add_argument("--version", action="version", version=f"harness {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        commands.add_parser(name, help=summary, add_help=False)
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = parser.parse_args(arguments[:1]).command
    # Imported late, so that `harness --help` does not wait for imports.
    run: Callable[[Sequence[str]], int] = module_of(command).main
    return run(arguments[1:])


def module_of(command: str) -> ModuleType:
    """Import and return the module of a command."""
    module = import_module(f"harness.{command}")
    # A package is run by its __main__, as `python -m` does.
    return import_module(f"{module.__name__}.__main__") if hasattr(module, "__path__") else module


if __name__ == "__main__":
    sys.exit(console())
