"""Rank the rules that choose a strategy before any training: `python -m harness.league`.

Computed from the recorded outcomes that come with the harness. Nothing is trained.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dashboards.league import as_table, print_league, write_league
from harness import command
from harness.arguments import Parser
from harness.core.strict_json import dumps
from harness.rules.league import standings
from harness.rules.outcomes import recorded
from harness.storage.outputs import check_output


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see `harness.command.main`)."""
    return command.main(_parser(), _run, argv)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m harness.league",
        description="Rank the rules that choose a way of reusing a network before anything is trained: how many points "
        "of accuracy each is behind the best, on data sets that it has not seen. Computed from recorded outcomes.",
    )
    parser.add_argument("--out", type=Path, metavar="PAGE", help="also write a page with table and figure")
    parser.add_argument("--json", action="store_true", help="print the standings as JSON instead of a table")
    return parser


def _run(arguments: argparse.Namespace, _: str) -> None:
    outcomes = recorded()
    if arguments.out is not None:
        check_output(arguments.out, "page")
    table = standings(outcomes)
    if arguments.json:
        print(dumps(as_table(table), indent=2))
    else:
        print_league(table, outcomes)
    if arguments.out is not None:
        write_league(table, outcomes, arguments.out)
        command.say(f"page: {arguments.out}")


if __name__ == "__main__":
    sys.exit(main())
