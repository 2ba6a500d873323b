"""Say what to do with images before any training: `python -m harness.advise photos/`."""

import argparse
import sys
from collections.abc import Sequence

from dashboards.advice import as_json, print_advice
from harness import command, main_job
from harness.arguments import Parser
from harness.core.framework import loading
from harness.core.paths import expand
from harness.core.spec import ANY_IMAGES
from harness.core.strict_json import dumps


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see `harness.command.main`)."""
    return command.main(_parser(), _run, argv)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m harness.advise",
        description="Say which way of reusing a network to begin with on your images, which accuracy to expect and "
        "what it costs, and how far advice of this kind was right on other data sets. Nothing is trained.",
    )
    parser.add_argument(
        "data", type=expand, metavar="PATH", help="your images: a folder, .csv, .npz or .toml, or a data set's name"
    )
    command.add_weights(parser)
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    return parser


def _run(arguments: argparse.Namespace, _: str) -> None:
    spec, dataset = main_job.resolve(ANY_IMAGES, arguments.data, {})
    with loading():
        from harness.data.dataset import draw  # heavy: TensorFlow or JAX is loaded
        from harness.rules.advising import advise
        from harness.rules.outcomes import recorded

    advised = advise(spec, dataset, draw(dataset, spec.data, spec.seed), recorded(), arguments.weights, command.say)
    if arguments.json:
        print(dumps(as_json(advised), indent=2))
    else:
        print_advice(advised)


if __name__ == "__main__":
    sys.exit(main())
