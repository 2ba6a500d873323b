"""Manage the studies of a database: `python -m harness.studies list | show | split | export | import | delete`."""

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from rich.console import Console
from rich.table import Table

from harness import command
from harness.arguments import Parser, path_option
from harness.core.errors import StorageError
from harness.core.framework import loading
from harness.core.paths import expand
from harness.core.results import METRIC_NAMES
from harness.data.listing import PART_NAMES
from harness.storage.database import shown
from harness.storage.sqlite_files import files_of, url_of
from harness.storage.store import Store


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see `harness.command.main`)."""
    return command.main(_parser(), _run, argv)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m harness.studies",
        description="List the studies of a database and move them between databases. An exported study is a SQLite "
        "database of this study alone, which can be continued, shown and queried like any other.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def subcommand(name: str, run: object, summary: str) -> argparse.ArgumentParser:
        found = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:])
        found.set_defaults(run=run)
        command.add_storage(found)
        return found

    subcommand("list", _list, "list the studies with their progress")
    show = subcommand("show", _show, "show one study: its resolved spec, trials by status, sessions")
    parts = subcommand(
        "split", _split, "print a study's split as a manifest, which --data accepts if the images are files"
    )
    export = subcommand(
        "export", _export, "copy a study into a new SQLite file, or write it to MLflow or for TensorBoard"
    )
    imported = subcommand("import", _import, "copy a study from an exported file into this database")
    delete = subcommand("delete", _delete, "delete a study with all its rows; this cannot be undone")
    for parsed in (show, parts, export, delete):
        parsed.add_argument("study", metavar="NAME")
    export.add_argument(
        "--to",
        choices=["sqlite", "mlflow", "tensorboard"],
        default="sqlite",
        help="what to write (default: %(default)s)",
    )
    export.add_argument(
        "target",
        type=expand,
        metavar="FILE",
        help="a file that does not exist yet; with --to mlflow the URI of an MLflow store (extra [mlflow]), with --to "
        "tensorboard a folder for `tensorboard --logdir` (extra [tensorboard])",
    )
    imported.add_argument("file", type=Path, metavar="FILE")
    imported.add_argument("--as", dest="new_name", metavar="NAME", help="another name, if this one is taken")
    return parser


def _run(arguments: argparse.Namespace, _: str) -> None:
    if arguments.run is _import:
        _import(arguments)
    else:
        arguments.run(Store(arguments.storage, must_exist=True), arguments)


def _list(store: Store, _: argparse.Namespace) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("study", "trials", "finished", "best", "metric", "last finished (UTC)"):
        table.add_column(column, justify="left" if column == "study" else "right", no_wrap=True)
    for name in store.studies.names():
        row, trials = store.studies.get(name), store.trials.frame(name)
        best = trials.loc[trials["status"] == "complete", f"val_{row.metric}"].max()
        table.add_row(
            name,
            str(row.spec.get("budget", {}).get("trials", "")),
            str(len(trials)),
            f"{best:.4f}" if best == best else "",
            METRIC_NAMES[row.metric],
            f"{trials['finished_at'].max():%Y-%m-%d %H:%M}" if len(trials) else "",
        )
    Console(width=None if sys.stdout.isatty() else 400, highlight=False, markup=False).print(table)


def _show(store: Store, arguments: argparse.Namespace) -> None:
    row = store.studies.get(arguments.study)
    trials, sessions = store.trials.frame(row.name), store.sessions.frame(row.name)
    shown = {
        "name": row.name,
        "created_at": row.created_at.isoformat(timespec="seconds"),
        "spec": row.spec,
        "data": row.data,
        "advice": row.advice,
        "trials": trials["status"].value_counts().to_dict(),
        "retries": int(trials["retries"].sum()),
        "sessions": sessions["outcome"].fillna("open").value_counts().to_dict(),
        "hosts": sorted({host.partition("/")[0] for host in sessions["host"]}),
    }
    command.print_json(shown)


def _split(store: Store, arguments: argparse.Namespace) -> None:
    store.studies.get(arguments.study)
    manifest = csv.writer(sys.stdout, lineterminator="\n")
    manifest.writerow(("filename", "label", "split"))
    members = store.studies.split(arguments.study)
    for part in PART_NAMES:
        manifest.writerows((image, label, part) for image, label, _ in members.get(part, []))


def _export(store: Store, arguments: argparse.Namespace) -> None:
    store.studies.get(arguments.study)
    if arguments.to == "mlflow":
        from dashboards.mlflow_runs import write_mlflow

        count = write_mlflow(store, arguments.study, arguments.target)
        print(f"study {arguments.study!r} is in MLflow at {shown(arguments.target)}, with {count} trials")
        return
    if arguments.to == "tensorboard":
        from dashboards.tensorboard_runs import write_tensorboard

        count = write_tensorboard(store, arguments.study, path_option(arguments.target))
        print(f"study {arguments.study!r} is written for TensorBoard to {arguments.target}, with {count} trials")
        return
    _copying().nobody_works_on(store, arguments.study)
    try:
        file = path_option(arguments.target)
    except argparse.ArgumentTypeError as error:
        raise StorageError(f"FILE: {error}") from None
    if file.exists():
        raise StorageError(f"{file} exists already: give the name of a new file")
    url = url_of(file)
    try:
        _copying().copy_study(store, Store(url), arguments.study)
    except BaseException:
        for part in files_of(url):  # an incomplete copy would look complete
            part.unlink(missing_ok=True)
        raise
    print(f"study {arguments.study!r} is in {file}")


def _import(arguments: argparse.Namespace) -> None:
    if not arguments.file.is_file():
        raise StorageError(f"there is no file {arguments.file}: give one that `harness studies export` wrote")
    source = Store(url_of(arguments.file), must_exist=True)
    names = source.studies.names()
    if len(names) != 1:
        raise StorageError(f"{arguments.file} holds {len(names)} studies: export the one you want from it first")
    store = Store(arguments.storage)  # not before: a wrong file must not leave an empty database
    _copying().copy_study(source, store, names[0], arguments.new_name)
    print(f"study {arguments.new_name or names[0]!r} is in the database")


def _delete(store: Store, arguments: argparse.Namespace) -> None:
    store.studies.get(arguments.study)
    _copying().nobody_works_on(store, arguments.study)
    store.delete_study(arguments.study)
    print(f"study {arguments.study!r} is deleted")


def _copying() -> ModuleType:
    with loading():
        from harness.strategy_search import copying  # heavy: imports the search
    return copying


if __name__ == "__main__":
    sys.exit(main())
