"""The command line of the main job: `python -m harness.run --study mnist --trials 50`."""

import argparse
import gc
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from harness.arguments import Parser, recorded_command
from harness.core.environment import stop_on_sigterm
from harness.core.errors import HarnessError, SpecError, StorageError
from harness.core.paths import DEFAULT_STORAGE, RESULTS, page_path, recommendation_path
from harness.core.results import METRICS
from harness.core.spec import ANY_IMAGES, DatasetSpec, StudySpec, shipped
from harness.storage import database
from harness.storage.outputs import check_output
from harness.workers.progress import log_to

if TYPE_CHECKING:
    from harness.analysis.rows import Rows
    from harness.workers.session import Request

_OVERRIDES = {
    "name": "name",
    "trials": "budget.trials",
    "epochs": "budget.epochs",
    "batch_size": "budget.batch_size",
    "precision": "budget.precision",
    "time_limit": "budget.time_limit",
    "max_trial_cost": "budget.max_trial_cost",
    "train_size": "data.train_size",
    "validation_size": "data.validation_size",
    "test_size": "data.test_size",
    "image_size": "data.image_size",
    "seed": "seed",
    "metric": "metric",
    "class_weights": "class_weights",
}


@database.closing()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 2 for input that must be mended, 130 stopped by Ctrl-C."""
    arguments = _parser().parse_args(argv)
    stop_on_sigterm()
    try:
        return _run(arguments, recorded_command("run", argv))
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        again = "the same command without --fresh" if arguments.fresh else "the same command again"
        print(f"stopped; everything finished is kept. Run {again} to go on.", file=sys.stderr)
        return 130


def _parser() -> Parser:
    parser = Parser(
        prog="python -m harness.run",
        description="Search transfer strategies for VGG16 on a study's images. Running the same command again goes on "
        "where it stopped and adds only the trials that are missing.",
    )
    parser.add_argument("--study", help="a shipped study (see --list) or the path of a .toml file")
    parser.add_argument(
        "--data",
        metavar="PATH",
        help="your images: a folder of class folders, a manifest (.csv, .parquet), an .npz, a data set's .toml or "
        "name; with --study, that study's settings on them (default: those of the study images)",
    )
    parser.add_argument("--list", action="store_true", help="list the shipped studies and end")
    parser.add_argument(
        "--dry-run", action="store_true", help="print the resolved study and predicted costs, run nothing"
    )
    change = parser.add_argument_group("what of the study to override")
    change.add_argument("--name", help="name under which results are stored (default: the study's)")
    change.add_argument("--trials", type=int, metavar="N", help="trials in total, those already done included")
    change.add_argument("--train-size", type=int, metavar="N", help="training images")
    change.add_argument("--validation-size", type=int, metavar="N", help="validation images")
    change.add_argument("--test-size", type=int, metavar="N", help="test images, sealed")
    change.add_argument("--image-size", type=int, metavar="PIXELS", help="side of the square VGG16 sees, 32 or more")
    change.add_argument("--epochs", type=int, metavar="N", help="epochs of a whole trial")
    change.add_argument("--batch-size", type=int, metavar="N", help="images a step")
    change.add_argument("--precision", choices=["auto", "float32", "bfloat16"], help="of the arithmetic in training")
    change.add_argument("--seed", type=int, metavar="N", help="seed of split, search and training")
    change.add_argument("--metric", choices=METRICS, help="validation score that is searched for and pruned by")
    change.add_argument(
        "--class-weights", action="store_true", default=None, help="weigh the loss by inverse class frequency"
    )
    change.add_argument("--time-limit", type=float, metavar="SECONDS", help="no trial starts after that many seconds")
    change.add_argument("--max-trial-cost", type=float, metavar="TFLOP", help="do not begin trials predicted dearer")
    change.add_argument("--no-pruning", action="store_true", help="let every trial use its whole budget")
    where = parser.add_argument_group("where and how")
    where.add_argument(
        "--storage", default=DEFAULT_STORAGE, metavar="URL", help="SQLAlchemy URL (default: %(default)s)"
    )
    where.add_argument("--out", type=Path, metavar="PAGE", help="the page to write (default: results/<study>.html)")
    where.add_argument(
        "--weights", type=Path, metavar="PATH", help="VGG16 weights without top (.h5), else found by itself"
    )
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
        "--confirm", action="store_true", help="at the end confirm the finalists on the test part, as `harness confirm`"
    )
    where.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
    again = where.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with a study that must be there already")
    again.add_argument("--fresh", action="store_true", help="drop the study's results first")
    return parser


def _run(arguments: argparse.Namespace, command: str) -> int:
    if arguments.list:
        _list_studies()
        return 0
    if arguments.study is None and arguments.data is None:
        raise SpecError(
            f"no study given: add --study NAME, one of {', '.join(shipped('studies'))}, or a path; or your images with "
            "--data PATH"
        )
    if arguments.workers < 1:
        raise SpecError(f"--workers {arguments.workers}: give 1 or more")
    if arguments.engine == "ray" and arguments.storage.startswith("sqlite"):
        raise SpecError(
            f"--engine ray: its workers cannot reach {database.shown(arguments.storage)}: give a PostgreSQL --storage"
        )
    if arguments.worker_cpus <= 0 or arguments.worker_gpus < 0:
        given = f"--worker-cpus {arguments.worker_cpus} --worker-gpus {arguments.worker_gpus}"
        raise SpecError(f"{given}: give more than 0 processors, and 0 or more GPUs")
    overrides = {
        key: getattr(arguments, flag) for flag, key in _OVERRIDES.items() if getattr(arguments, flag) is not None
    }
    if arguments.no_pruning:
        overrides["pruning.enabled"] = False
    spec, dataset = _study(arguments.study, arguments.data, overrides)
    if arguments.dry_run:
        from dashboards.terminal import print_plan

        print_plan(spec, dataset)
        return 0
    with loading():
        from dashboards.terminal import as_json, print_report
        from harness.workers.ray_workers import Placement
        from harness.workers.session import Request, run_study  # heavy: TensorFlow or JAX is loaded

    request = Request(
        spec,
        dataset,
        storage=arguments.storage,
        page=arguments.out or page_path(spec.name),
        weights=arguments.weights,
        workers=arguments.workers,
        placement=(
            Placement(arguments.address, arguments.worker_cpus, arguments.worker_gpus)
            if arguments.engine == "ray"
            else None
        ),
        fresh=arguments.fresh,
        must_exist=arguments.resume,
        command=command,
    )
    written = {request.page.with_suffix(".log"): "log"}
    if arguments.confirm:
        written[recommendation_path(request.page)] = "recommendation"
    prepare_output(request.page, request.storage, written)
    log_to(request.page.with_suffix(".log"))
    rows = run_study(request)
    if arguments.confirm:
        rows = _confirm(request, arguments.study)
    if arguments.json:
        print(json.dumps(as_json(rows, request.storage, request.page), indent=2))
    else:
        print_report(rows, request.storage, request.page)
    done, asked = len(rows.trials), spec.budget.trials
    if done < asked:
        print(f"{done} of {asked} trials are done: the same command again goes on with the rest", file=sys.stderr)
    return 0


def _study(study: str | None, data: str | None, overrides: dict[str, object]) -> tuple[StudySpec, DatasetSpec]:
    """The study asked for, on the images ``data`` where they are given; then it is named after them."""
    if data is None:
        return StudySpec.load(study or ANY_IMAGES, overrides)
    dataset = DatasetSpec.load(data, Path.cwd())
    own = dataset.name if study is None else f"{dataset.name}_{Path(study).stem}"
    is_path = dataset.file is not None and data not in shipped("datasets")
    where = str(Path(data).absolute()) if is_path else data
    return StudySpec.load(study or ANY_IMAGES, {"name": own, **overrides, "data.dataset": where})


def _confirm(searched: "Request", study: str | None) -> "Rows":
    """Go on with the confirmation of the study that has just been searched, with the defaults of `harness confirm`."""
    from harness.confirmation.test_opening import Request as Confirming
    from harness.confirmation.test_opening import confirm

    return confirm(
        Confirming(
            study=searched.spec.name,
            dataset=searched.dataset,
            storage=searched.storage,
            page=searched.page,
            beside=Path(study or "").parent,
            weights=searched.weights,
            command=searched.command,
        ),
        lambda text: print(text, file=sys.stderr, flush=True),
    )


@contextmanager
def loading() -> Iterator[None]:
    """Import TensorFlow or JAX and what needs them: `silenced`, and with the garbage collector kept off the half
    million objects that stay, which it would look through again and again (0.5 s) and once more at the end."""
    gc.disable()
    try:
        with silenced():
            yield
    finally:
        gc.enable()
        gc.freeze()


@contextmanager
def silenced() -> Iterator[None]:
    """Keep what native code writes to stderr off it: TensorFlow's greetings, which no setting turns off.

    They are printed after all where the block raises.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept, os.fdopen(os.dup(2), "wb") as stderr:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            stderr.write(kept.read())
            raise
        finally:
            os.dup2(stderr.fileno(), 2)


def _list_studies() -> None:
    for name, path in shipped("studies").items():
        spec, dataset = StudySpec.load(name, {"data.dataset": "mnist"} if name == ANY_IMAGES else None)
        data = "--data PATH" if name == ANY_IMAGES else dataset.name
        print(f"{name:<14} {spec.description} ({data}, {spec.budget.trials} trials; {path.name})")


def prepare_output(page: Path, storage: str, beside: Mapping[Path, str]) -> None:
    """Make the folders results go to, before anything is computed. Raises StorageError where that cannot be, or where
    the page, or a file that is written ``beside`` it (with its kind), would take the place of something else."""
    if page.is_dir():
        raise StorageError(f"--out {page} is a folder: give the name of the page to write in it")
    if page in beside:
        raise StorageError(f"--out {page} is the name of the {beside[page]} beside the page: let it end in .html")
    for file, kind in {page: "page", **beside}.items():
        check_output(file, kind, storage)
    folders = [page.parent]
    if storage == DEFAULT_STORAGE:
        folders.append(RESULTS)  # a folder that the user names himself must be there: a typing error makes no database
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise StorageError(
                f"nothing can be written to the folder {folder} ({error}): choose another with --out"
            ) from None


if __name__ == "__main__":
    sys.exit(main())
