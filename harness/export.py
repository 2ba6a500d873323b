"""Export a study's best model for use without the harness: `python -m harness.export --study NAME --out DIR`."""

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from harness import command
from harness.analysis import formatting
from harness.analysis.confirmed import confirmation
from harness.analysis.rows import Rows
from harness.arguments import Parser
from harness.core.environment import describe
from harness.core.errors import SpecError, StorageError
from harness.core.framework import loading, silenced
from harness.core.results import Checkpoint
from harness.core.spec import DatasetSpec
from harness.data.dataset import load_split
from harness.deployment.formats import FORMATS, Format
from harness.storage.store import Store

if TYPE_CHECKING:  # heavy
    import keras
    import numpy as np
    from numpy.typing import NDArray

    from harness.deployment.exported_model import Signature
    from harness.deployment.performance import Comparison
    from harness.deployment.winner import Winner

_OTHERS = {
    "spec.toml": "the study, the strategy and the seed that make this model",
    "README.md": "this card",
}
FILES = {form.target: form.what for form in FORMATS.values()} | _OTHERS
_REPRESENTATIVE, _COMPARED = 200, 500
"""Most training images that integers are chosen on, most validation images that files are compared on."""
_BUILDING = ".export-"
_HOW = "# What makes this model again: python -m harness.export --spec spec.toml --out DIR\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see `harness.command.main`)."""
    return command.main(_parser(), _run, argv, stopped="nothing was exported.")


def _parser() -> Parser:
    parser = Parser(
        prog="python -m harness.export",
        description="Export a study's best model for use without the harness, including preprocessing, with a model "
        "card and a spec to reproduce it: as Keras and, if their packages are installed, TensorFlow SavedModel and "
        "ONNX, or for LiteRT and OpenVINO. A search stores no weights, so the model is trained again on the training "
        "and validation images for the study's epochs. The test set stays sealed.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--study", metavar="NAME", help="the study's name in the database")
    what.add_argument("--spec", type=Path, metavar="FILE", help="the spec.toml of an export, to reproduce its model")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export in DIR")
    parser.add_argument(
        "--trial", type=int, metavar="N", help="trial to export (default: the complete one that validates best)"
    )
    parser.add_argument(
        "--formats",
        nargs="+",
        choices=list(FORMATS),
        metavar="FORMAT",
        help=f"any of {', '.join(FORMATS)} (default: those of the first three whose packages are installed)",
    )
    command.add_storage(parser)
    command.add_weights(parser)
    command.add_moved_data(parser)
    return parser


def _run(arguments: argparse.Namespace, _: str) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    check_target(arguments.out, arguments.overwrite)
    if arguments.spec and arguments.trial is not None:
        raise SpecError(f"--trial {arguments.trial}: with --spec the strategy is the file's, leave --trial out")
    if arguments.spec:
        formats = formats_of(arguments.formats)
        source = _of_spec(arguments.spec, arguments.data)
    else:
        store = Store(arguments.storage, must_exist=True)
        formats = formats_of(arguments.formats)
        source = of_study(store, arguments.study, arguments.trial, arguments.data)
    write(arguments.out, *source, formats, arguments.weights)
    print(f"exported to {arguments.out}: {', '.join(sorted(path.name for path in _files_in(arguments.out)))}")


def of_study(store: Store, study: str, trial: int | None, data: str | None) -> tuple["Winner", DatasetSpec]:
    """Return what `write` exports of a study: its trial ``trial`` or its best one, and its images, which are at
    ``data`` if they have moved. Raises SpecError where there are none."""
    with loading():
        from harness.deployment.winner import Winner

    return _confirmed(Winner.of(store, study, trial), store), command.dataset_of(store, study, data)


def _of_spec(file: Path, data: str | None) -> tuple["Winner", DatasetSpec]:
    """Return the same of the ``spec.toml`` of an export."""
    with loading():
        from harness.deployment.winner import Winner

    winner = Winner.load(file)
    try:
        given = winner.study.data.dataset if data is None else command.data_given(data)
        return winner, DatasetSpec.load(given, file.parent if data is None else Path.cwd())
    except SpecError as error:
        raise SpecError(f"{error}. Give the data set of {file} with --data") from None


def write(
    out: Path, winner: "Winner", dataset: DatasetSpec, formats: Sequence[str], weights: Mapping[str, Path]
) -> "Comparison":
    """Train the winner on the training and validation images and write it to the folder ``out``.

    Args:
        out: the folder, after `check_target`.
        winner: what to train.
        dataset: its images.
        formats: any of `FORMATS`.
        weights: given files of weights by backbone.

    Returns:
        How the files compare on validation images.

    Raises:
        HarnessError: the images are not the study's, the training cannot be finished, or nothing can be written.
    """
    with loading():
        from harness.backbones.devices import device  # heavy: TensorFlow or JAX is loaded
        from harness.deployment.exported_model import Signature
        from harness.deployment.model_card import model_card
        from harness.deployment.performance import compare, rgb, some
        from harness.deployment.winner import train

    split = load_split(dataset, winner.study)
    command.say(
        f"trial {winner.evidence.trial}, {winner.strategy.label()}: training it on {split.n_searched():,} images, the "
        "training and validation sets"
    )

    def on_epoch(checkpoint: Checkpoint) -> None:
        epochs = winner.study.budget.epochs_of(winner.strategy)
        command.say(
            f"epoch {checkpoint.epoch} of {epochs}: training loss {checkpoint.train_loss:.4f}, "
            f"{formatting.seconds(checkpoint.train_seconds)}"
        )

    model, result = train(winner, split, weights, on_epoch)
    height, width = split.train.pixels.shape[1:3]
    channels = 3 if split.train.pixels.ndim == 4 else 1
    signature = Signature(
        class_names=list(split.class_names),
        height=height,
        width=width,
        channels=channels,
        n_calibrated=0 if winner.calibration is None else winner.calibration.n,
        rejections=[] if winner.calibration is None else winner.calibration.rejections,
    )
    with _new_files(out) as folder:
        with silenced():
            _write_model(model, folder, formats, signature, rgb(some(split.train, _REPRESENTATIVE).pixels))
            comparison = compare(model, folder, formats, some(split.validation, _COMPARED))
        (folder / "spec.toml").write_text(_HOW + winner.toml() + "\n", encoding="utf-8")
        files = {name: FILES[name].format(height=height, width=width) for name in FILES if (folder / name).exists()}
        card = model_card(winner, dataset, split, result, describe(device()).as_dict(), files, comparison)
        (folder / "README.md").write_text(card, encoding="utf-8")
    return comparison


def _confirmed(winner: "Winner", store: Store) -> "Winner":
    """Return the winner with the test accuracy of the last confirmation, if it was a candidate there."""
    from harness.deployment.winner import Measured

    found = confirmation(Rows.read(store, winner.study.name))
    if found is None:
        return winner
    measured = next((c.test for c in found.candidates if c.candidate.trial == winner.evidence.trial), None)
    if measured is None:
        return winner
    test = Measured(measured.mean, measured.low, measured.high, found.n_test, len(found.seeds), found.number)
    return replace(winner, evidence=replace(winner.evidence, test=test))


def formats_of(asked: Sequence[str] | None) -> list[str]:
    """Return the formats asked for, or else all usual ones that can be written here. Raises SpecError if one cannot be
    written or is unknown."""
    formats = []
    for name in asked or [name for name, form in FORMATS.items() if form.usual]:
        if name not in FORMATS:
            raise SpecError(f"--formats {name}: give any of {', '.join(FORMATS)}")
        lacked = lacks(FORMATS[name])
        if lacked and asked:
            raise SpecError(f"--formats {name}: it {lacked}")
        if lacked:
            command.say(f"{name} is left out: it {lacked}")
        else:
            formats.append(name)
    return formats


def lacks(form: Format) -> str:
    """Return a phrase for what this environment lacks to write the format, or ""."""
    import keras

    absent = [package for package in form.packages if find_spec(package) is None]
    if absent:
        install = f"transfer-harness[{form.extra}]" if form.extra else "transfer-harness"
        return f"needs {' and '.join(absent)}: pip install '{install}'"
    if form.packages and keras.backend.backend() != "tensorflow":
        return f"needs KERAS_BACKEND=tensorflow, not {keras.backend.backend()}"
    return ""


def _write_model(
    model: "keras.Model",
    folder: Path,
    formats: Sequence[str],
    signature: "Signature",
    representative: "NDArray[np.uint8]",
) -> None:
    from harness.deployment.one_size import save_litert, save_onnx, save_openvino
    from harness.deployment.standalone import save_keras, save_saved_model

    savers: dict[str, Callable[[keras.Model, Path, Signature], None]] = {
        "keras": save_keras,
        "saved_model": save_saved_model,
        "onnx": save_onnx,
        "litert": save_litert,
        "litert_int8": partial(save_litert, representative=representative),
        "openvino": save_openvino,
        "openvino_int8": partial(save_openvino, representative=representative),
    }
    for form in formats:
        savers[form](model, folder / FORMATS[form].target, signature)


def check_target(out: Path, overwrite: bool) -> None:
    """Raise StorageError if an export cannot be written to ``out``, before anything is trained."""
    if out.exists() and not out.is_dir():
        raise StorageError(f"--out {out} is a file: give the name of a folder")
    folder = out if out.exists() else out.parent
    try:
        there = sorted(path.name for path in _files_in(out)) if out.exists() else []
        spec = out / "spec.toml"  # every export has one
        exported = spec.is_file() and spec.read_bytes().startswith(_HOW.encode())
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StorageError(f"nothing can be written to {folder} ({error}): choose another --out") from None
    others = [name for name in there if name not in FILES or not exported]
    if others:
        raise StorageError(f"--out {out} holds {others[0]}, which no export wrote: give the name of a new folder")
    if there and not overwrite:
        raise StorageError(
            f"--out {out} holds an earlier export: add --overwrite to replace it, or give another folder"
        )


def _files_in(folder: Path) -> list[Path]:
    """Return what is in the folder, without what an export that was killed may have left there."""
    return [path for path in folder.iterdir() if not path.name.startswith(_BUILDING)]


@contextmanager
def _new_files(target: Path) -> Iterator[Path]:
    """Yield a new folder; on success its files replace those in ``target``, else ``target`` stays as it was.

    The folder itself is never replaced: it may be the current one, or a mounted one.
    """
    is_new = not target.exists()
    try:
        target.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=_BUILDING, dir=target, ignore_cleanup_errors=True) as building:
            new, old = Path(building, "new"), Path(building, "old")
            new.mkdir()
            old.mkdir()
            yield new
            _move([(path, old) for path in _files_in(target)] + [(path, target) for path in new.iterdir()])
    except OSError as error:
        raise StorageError(
            f"the export cannot be written to {target} ({error}): free space or choose another --out"
        ) from None
    finally:
        if is_new and target.is_dir() and not any(target.iterdir()):
            target.rmdir()


def _move(files: Sequence[tuple[Path, Path]]) -> None:
    """Move each file, in order, to the folder given with it. If that fails, all are moved back."""
    moved = []
    try:
        for path, folder in files:
            moved.append((path, path.replace(folder / path.name)))
    except BaseException:
        for path, place in reversed(moved):
            place.replace(path)
        raise


if __name__ == "__main__":
    sys.exit(main())
