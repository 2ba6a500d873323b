"""Functions shared by all commands: exit codes, signals, standard output, common options, output files."""

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.arguments import Parser, recorded_command
from harness.core.backbone import BackboneSpec
from harness.core.clock import seconds_of
from harness.core.errors import HarnessError, SpecError, StorageError
from harness.core.interrupts import INTERRUPTED, interrupts
from harness.core.paths import DEFAULT_STORAGE, RESULTS, expand, user_path
from harness.core.spec import DatasetSpec, shipped
from harness.core.streams import printing
from harness.core.strict_json import dumps
from harness.storage import database
from harness.storage.outputs import check_output
from harness.storage.sqlite_files import expand_home
from harness.storage.store import Store
from harness.workers.children import exit_if_repeated


def main(
    parser: Parser,
    run: Callable[[argparse.Namespace, str], int | None],
    argv: Sequence[str] | None,
    *,
    stopped: str = "",
) -> int:
    """Run a command and return its exit code.

    Args:
        parser: the parser of the command's options.
        run: the command: (options, command line to record) -> exit code, None for 0.
        argv: the arguments; None for those of this process.
        stopped: message after "stopped; " when the user stops the command.

    Returns:
        0 on success, 2 for a user error, reported in one line on stderr, 130 after Ctrl-C or SIGTERM; where standard
        output cannot be written, see `harness.core.streams.printing`.
    """
    exit_if_repeated()

    def call() -> int:
        try:
            arguments = parser.parse_args(argv)
            _check_current_folder()
            with interrupts(), database.closing():
                return run(arguments, recorded_command(parser.prog.rpartition(".")[2], argv)) or 0
        except HarnessError as error:
            say(f"error: {error}")
            return error.exit_code
        except KeyboardInterrupt:
            say(f"stopped; {stopped}" if stopped else "stopped.")
            return INTERRUPTED

    return printing(call)


def _check_current_folder() -> None:
    try:
        Path.cwd()
    except FileNotFoundError:
        raise StorageError("the current folder has been deleted: change to another") from None


def say(text: str) -> None:
    """Print a message to stderr, which keeps stdout for results."""
    print(text, file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """Print a value as JSON. Where standard output lacks characters, all but ASCII is escaped, which stays JSON."""
    print(dumps(value, indent=2, ensure_ascii=(sys.stdout.encoding or "").lower() not in ("utf-8", "utf8")))


def add_storage(parser: argparse._ActionsContainer) -> None:
    """Add the option ``--storage``."""
    parser.add_argument(
        "--storage",
        type=expand_home,
        default=DEFAULT_STORAGE,
        metavar="URL",
        help="SQLAlchemy URL (default: %(default)s)",
    )


def add_weights(parser: argparse._ActionsContainer) -> None:
    """Add the option ``--weights``. Its value is a dictionary: backbone -> file."""
    parser.add_argument(
        "--weights",
        action=_WeightsByBackbone,
        default={},
        metavar="[NAME=]PATH",
        help="ImageNet weights without top (.h5) of backbone NAME (default: vgg16); repeat it for others; found or "
        "downloaded if not given",
    )


def duration(text: str) -> float:
    """Parse the value of a time option, as `seconds_of` does, for the parser."""
    try:
        return seconds_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


class _WeightsByBackbone(argparse.Action):
    def __call__(self, _: argparse.ArgumentParser, namespace: argparse.Namespace, value: Any, __: Any = None) -> None:
        """Add the file to those given before. Raises SpecError for an unknown backbone and for a second file."""
        before, name, path = getattr(namespace, self.dest), "vgg16", value
        if named := re.fullmatch(r"([\w.-]+)=(.*)", value, re.DOTALL):  # a path with a slash before "=" has no name
            name, path = named.groups()
            try:
                BackboneSpec.load(name)
            except SpecError as error:
                raise SpecError(f"--weights {value}: {error}. If this is a path, write ./{value}") from None
        if not path:
            raise SpecError(f"--weights {value!r}: give the path of a file after it, {name}=PATH")
        if name in before:
            raise SpecError(f"--weights {value}: {name} has {before[name]} already, give one file for each backbone")
        setattr(namespace, self.dest, {**before, name: user_path(path)})


def add_moved_data(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--data`` of commands on an existing study."""
    parser.add_argument(
        "--data", type=expand, metavar="PATH", help="the study's images, if they have moved since `harness run`"
    )


def data_given(name: str) -> str:
    """Return the value of an option ``--data`` as it is recorded: an existing path, made absolute, or a name. Say it if
    the path comes before a shipped data set of its name."""
    if not os.path.exists(name):  # noqa: PTH110 - a name that is too long for a path is no error here
        return name
    path = str(Path(name).absolute())
    if name in shipped("datasets"):
        say(f"{name!r} is read from {path}, not from the shipped data set of that name: rename it to have the latter")
    return path


def dataset_of(store: Store, study: str, given: str | None) -> DatasetSpec:
    """Return the data set of a study: ``given`` by name or path, else the one that the study names.

    Raises SpecError if there is no such study or its images are not here.
    """
    row = store.studies.get(study)
    if given is not None:
        return DatasetSpec.load(data_given(given), Path.cwd())
    name = row.spec["data"]["dataset"]
    if name in shipped("datasets"):
        return DatasetSpec.load(name, Path.cwd())
    declared = DatasetSpec.model_validate(row.data["declared"])
    if declared.file is not None and not declared.file.exists():
        raise SpecError(f"the images {declared.file} of study {study!r} are not here: give them with --data")
    return declared


def prepare_output(page: Path, storage: str, others: Mapping[str, str]) -> None:
    """Check the output files and create their folders before anything is computed.

    Args:
        page: the page to write.
        storage: the database's URL.
        others: files that will be written next to the page: their suffix, and their kind (see `check_output`).

    Raises:
        StorageError: a folder or a file cannot be written, or a file would overwrite something else.
    """
    if page.is_dir():
        raise StorageError(f"--out {page} is a folder: give the name of the page to write in it")
    files = {page.with_suffix(suffix): kind for suffix, kind in others.items()}
    if page in files:
        raise StorageError(f"--out {page} is the name of the {files[page]} next to the page: use the suffix .html")
    for file, kind in {page: "page", **files}.items():
        check_output(file, kind, storage)
    options = {page.parent: "--out"}
    if storage == DEFAULT_STORAGE:  # a folder in a given URL must exist, so that a typing error creates no database
        options[RESULTS] = "--out and --storage" if page.parent == RESULTS else "--storage"
    for folder, option in options.items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
            for file in files:
                if file.parent == folder and file.exists():
                    file.open("ab").close()
        except OSError as error:
            raise StorageError(
                f"nothing can be written to the folder {folder} ({error}): choose another with {option}"
            ) from None
