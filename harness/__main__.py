"""The console command: ``harness COMMAND …`` is ``python -m harness.COMMAND …``."""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from harness import __version__

COMMANDS = {
    "run": "search transfer strategies on a study's images",
    "data": "check a data set: counts, unreadable files, duplicates, labels",
    "atlas": "map over several data sets where the four scenarios are right",
    "studies": "list, show, split, export, import or delete the studies of a database",
    "confirm": "train the finalists anew and measure them on the test part",
    "worker": "help with a study from this machine",
    "export": "write a study's winner as a model that needs no harness",
    "predict": "print what an exported model says of images",
    "dashboard": "write a study's page and serve optuna-dashboard",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Hand the arguments after the command's name to that command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="harness",
        usage="harness [--help] [--version] COMMAND ...",
        description="Which way of re-using VGG16 pays on your images?",
        epilog="`harness COMMAND --help` tells more.",
    )
    parser.add_argument("--version", action="version", version=f"harness {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        commands.add_parser(name, help=summary, add_help=False)
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = parser.parse_args(arguments[:1]).command
    # Imported only now: `harness --help` should not wait for a second of TensorFlow.
    module = import_module(f"harness.{command}")
    if hasattr(module, "__path__"):  # as `python -m` runs a package
        module = import_module(f"{module.__name__}.__main__")
    run: Callable[[Sequence[str]], int] = module.main
    return run(arguments[1:])


if __name__ == "__main__":
    sys.exit(main())
