"""Search transfer-learning strategies: `python -m harness.run --study mnist --trials 50`."""

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import command, main_job
from harness.arguments import Parser
from harness.core.errors import SpecError
from harness.core.framework import loading
from harness.core.paths import expand, page_path
from harness.core.results import METRICS
from harness.core.spec import ANY_IMAGES, StudySpec, shipped
from harness.core.strict_json import dumps
from harness.storage.database import shown
from harness.storage.queries import now
from harness.workers.children import check_main_guard

OVERRIDES: dict[str, dict[str, Any]] = {
    "name": {
        "metavar": "NAME",
        "help": "name under which results are stored (default: the study's or the --data folder's; of both, "
        "<folder>_<study>)",
    },
    "budget.trials": {"type": int, "metavar": "N", "help": "trials in total, those already done included"},
    "data.train_size": {"type": int, "metavar": "N", "help": "training images"},
    "data.validation_size": {"type": int, "metavar": "N", "help": "validation images"},
    "data.test_size": {"type": int, "metavar": "N", "help": "images of the held-out test set"},
    "search.image_size": {
        "type": int, "nargs": "+", "metavar": "PIXELS", "help": "sizes of the square input to search",
    },
    "budget.epochs": {"type": int, "metavar": "N", "help": "epochs of a complete trial"},
    "budget.batch_size": {"type": int, "metavar": "N", "help": "images in a batch"},
    "budget.precision": {"choices": ["auto", "float32", "bfloat16"], "help": "arithmetic of convolutions in training"},
    "seed": {"type": int, "metavar": "N", "help": "seed of split, search and training"},
    "metric": {"choices": METRICS, "help": "validation score to search for and prune by"},
    "class_weights": {"action": "store_true", "default": None, "help": "weight the loss by inverse class frequency"},
    "budget.time_limit": {"metavar": "TIME", "help": "time to plan for, such as 15m"},
    "budget.max_trial_cost": {"type": float, "metavar": "TFLOP", "help": "skip trials predicted to cost more"},
    "pruning.enabled": {"action": "store_false", "default": None, "help": "let every trial use its whole budget"},
}  # fmt: skip
"""Options that override a key of the study: --train-size for data.train_size."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see `harness.command.main`)."""
    stopped = "everything finished is kept. Run the same command again, without --fresh, to continue."
    return command.main(_parser(), _run, argv, stopped=stopped)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m harness.run",
        description="Search transfer-learning strategies on your images. Running the same command again continues "
        "where it stopped and adds only the trials that are missing.",
    )
    parser.add_argument("--study", type=expand, help="a shipped study (see --list) or the path of a .toml file")
    parser.add_argument(
        "--data",
        type=expand,
        metavar="PATH",
        help="your images: a folder of class folders, a manifest (.csv, .parquet), an .npz, a data set's .toml or "
        "name; with --study, that study's settings apply (default: those of the study images)",
    )
    parser.add_argument(
        "--relabel",
        type=Path,
        metavar="CSV",
        help="decisions on labels, as `harness errors --csv` lists them: columns file, label and decision (keep, drop "
        "or a class); applied to training and validation images, no file is touched",
    )
    parser.add_argument("--list", action="store_true", help="list the shipped studies and exit")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved study and its predicted costs only")
    overrides = parser.add_argument_group("study overrides")
    for key, options in OVERRIDES.items():
        overrides.add_argument(main_job.flag(key), dest=key, **options)
    where = parser.add_argument_group("where and how")
    command.add_storage(where)
    where.add_argument("--out", type=Path, metavar="PAGE", help="the page to write (default: results/<study>.html)")
    command.add_weights(where)
    where.add_argument("--workers", type=int, default=1, metavar="N", help="processes that run trials (default: 1)")
    where.add_argument(
        "--engine",
        choices=["processes", "ray"],
        default="processes",
        help="what workers are: processes of this machine (default), or actors of a Ray cluster (extra [ray]; the "
        "--storage must be PostgreSQL)",
    )
    where.add_argument("--address", metavar="HOST:PORT", help="the Ray cluster (default: one on this machine)")
    where.add_argument(
        "--worker-cpus", type=float, default=1.0, metavar="N", help="processors of a Ray worker (default: %(default)s)"
    )
    where.add_argument(
        "--worker-gpus", type=float, default=0.0, metavar="N", help="GPUs of a Ray worker (default: %(default)s)"
    )
    where.add_argument(
        "--confirm", action="store_true", help="then evaluate the finalists on the test set, as `harness confirm` does"
    )
    where.add_argument(
        "--mlflow", metavar="URI", help="then write the study to this MLflow store: http://host:port, sqlite:///file.db"
    )
    where.add_argument(
        "--tensorboard", type=Path, metavar="DIR", help="then write the study to this folder of `tensorboard --logdir`"
    )
    where.add_argument("--quiet", action="store_true", help="show no progress: only warnings, errors and the result")
    where.add_argument(
        "--json", action="store_true", help="print the result, the --dry-run or the --list as JSON on standard output"
    )
    again = where.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="continue a study that must exist already")
    again.add_argument("--fresh", action="store_true", help="start over: delete the study's results first")
    return parser


def _run(arguments: argparse.Namespace, recorded: str) -> None:
    if arguments.list:
        _list_studies(arguments.json)
        return
    overrides = {key: value for key, value in vars(arguments).items() if key in OVERRIDES and value is not None}
    with main_job.naming_options([*overrides, "data.relabel"]):
        _search(arguments, overrides, recorded)


def _search(arguments: argparse.Namespace, overrides: dict[str, object], recorded: str) -> None:
    started = now()
    _check(arguments)
    spec, dataset = main_job.resolve(arguments.study, arguments.data, overrides, arguments.relabel)
    if arguments.dry_run:
        from dashboards.terminal import plan_as_json, print_plan
        from harness.training.predicted_costs import predict_costs

        plan = predict_costs(spec, dataset)
        if arguments.json:
            command.print_json(plan_as_json(spec, *plan))
        else:
            print_plan(spec, *plan)
        return
    if arguments.workers > 1:
        check_main_guard(f"--workers {arguments.workers}")
    elif arguments.engine == "ray":
        check_main_guard("--engine ray")
    with loading():
        from dashboards.terminal import as_json, print_report
        from harness.workers.ray_workers import Placement
        from harness.workers.session import Request  # heavy: TensorFlow or JAX is loaded

    page = arguments.out or page_path(spec.name)
    placement = Placement(arguments.address, arguments.worker_cpus, arguments.worker_gpus)
    request = Request(
        spec,
        dataset,
        storage=arguments.storage,
        weights=arguments.weights,
        workers=arguments.workers,
        placement=placement if arguments.engine == "ray" else None,
        fresh=arguments.fresh,
        must_exist=arguments.resume,
        command=recorded,
        started=started,
    )
    with main_job.tracking(spec.name, request.storage, arguments.mlflow, arguments.tensorboard):
        begun = time.monotonic()
        rows = main_job.search(request, page, then_confirm=arguments.confirm, quiet=arguments.quiet)
        seconds = time.monotonic() - begun
        if arguments.confirm:  # with the defaults of `harness confirm`
            rows = main_job.confirm(
                spec.name,
                page,
                storage=request.storage,
                recorded=recorded,
                weights=request.weights,
                study_folder=Path(arguments.study or "").parent,
                quiet=arguments.quiet,
            )
    if arguments.json:
        command.print_json(as_json(rows, request.storage, page))
    else:
        print_report(rows, request.storage, page)
    done, asked, limit = len(rows.trials), spec.budget.trials, spec.budget.time_limit
    if done < asked and limit is not None and seconds > limit:
        command.say(
            f"{done} of {asked} trials are done: none was started after the time limit of {limit:g} s. To run the "
            "rest, repeat the command with a longer --time-limit"
        )
    elif done < asked:
        command.say(f"{done} of {asked} trials are done: the same command again runs the rest")


def _check(arguments: argparse.Namespace) -> None:
    """Raise SpecError if an option is invalid or does not fit another."""
    if arguments.workers < 1:
        raise SpecError(f"--workers {arguments.workers}: give 1 or more")
    if arguments.engine == "ray" and arguments.storage.startswith("sqlite"):
        raise SpecError(
            f"--engine ray: its workers cannot reach {shown(arguments.storage)}: give a PostgreSQL --storage"
        )
    if not (0 < arguments.worker_cpus < math.inf and 0 <= arguments.worker_gpus < math.inf):  # not a NaN either
        given = f"--worker-cpus {arguments.worker_cpus} --worker-gpus {arguments.worker_gpus}"
        raise SpecError(f"{given}: give more than 0 processors, and 0 or more GPUs")


def _list_studies(as_json: bool) -> None:
    found = []
    for name, path in shipped("studies").items():
        spec, dataset = StudySpec.load(name, {"data.dataset": "mnist"} if name == ANY_IMAGES else None)
        data = None if name == ANY_IMAGES else dataset.name
        listed = {
            "study": name,
            "description": spec.description,
            "data": data,
            "trials": spec.budget.trials,
            "cost": spec.search.cost,
        }
        found.append({**listed, "file": path.name})
    if as_json:
        print(dumps(found, indent=2))
        return
    for study in found:
        where = f"{study['data'] or '--data PATH'}, {study['trials']} trials; {study['file']}"
        print(f"{study['study']:<14} {study['description']} ({where})")


if __name__ == "__main__":
    sys.exit(main())
