"""Classify images with an exported model: `python -m harness.predict MODEL IMAGES…`."""

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np
from numpy.typing import NDArray

from harness import command
from harness.arguments import Parser
from harness.core.environment import available_cores
from harness.core.errors import DataError, SpecError, StorageError
from harness.core.framework import loading
from harness.data.decoding import Unreadable, decode
from harness.data.folders import images_below
from harness.data.formats import SUFFIXES
from harness.data.listing import printable, shown
from harness.storage.outputs import check_output

if TYPE_CHECKING:  # heavy
    from harness.deployment.exported_model import Exported, Signature

_BATCH = 64


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see `harness.command.main`)."""
    return command.main(_parser(), _run, argv)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m harness.predict",
        description="Classify images with a model that `harness export` wrote and print CSV: file, label, probability. "
        "Images are decoded as in training. Files that cannot be read are named on standard error, the others are "
        "classified, and the exit code is 2.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="the folder of an export, or its model.keras")
    parser.add_argument(
        "images", type=Path, nargs="+", metavar="IMAGES", help="images, or folders that are searched for images"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the CSV here instead of to standard output")
    parser.add_argument(
        "--top", type=int, default=1, metavar="K", help="the K most probable classes, as label_2, probability_2, …"
    )
    parser.add_argument(
        "--reject",
        type=float,
        default=0.0,
        metavar="P",
        help="leave the label empty where its probability is below P, such as 0.9",
    )
    return parser


def _run(arguments: argparse.Namespace, _: str) -> None:
    if arguments.top < 1:
        raise SpecError(f"--top {arguments.top}: give 1 or more")
    if not 0 <= arguments.reject < 1:
        raise SpecError(f"--reject {arguments.reject:g}: give a probability from 0 to less than 1, such as 0.9")
    if arguments.out is not None:
        check_output(arguments.out, "CSV of predictions")
    files = _files(arguments.images)
    with loading():
        from harness.deployment.exported_model import Exported  # heavy: TensorFlow or JAX is loaded

        exported = Exported.load(arguments.model)
    if arguments.reject:
        command.say(_expected(exported, arguments.reject))
    top = min(arguments.top, len(exported.signature.class_names))
    if arguments.out is None:
        failed = _write(sys.stdout, exported, files, top, arguments.reject)
    else:
        try:
            with arguments.out.open("w", encoding="utf-8", newline="") as stream:
                failed = _write(stream, exported, files, top, arguments.reject)
        except OSError as error:
            raise StorageError(f"--out {arguments.out} cannot be written: {error}") from None
    if failed:
        raise DataError(f"{failed} of {len(files)} images could not be read: fix or remove the files named above")


def _expected(exported: "Exported", threshold: float) -> str:
    """Say what share of images like those of training is rejected, and how often the others are right."""
    found, n = exported.expected(threshold), exported.signature.n_calibrated
    if found is None:
        return "this export is not calibrated: export the model again to learn what share is rejected"
    kept = "none is left" if found.accuracy is None else f"{found.accuracy:.1%} of the others are right"
    return f"expected for images like those of training: {found.rejected:.1%} are rejected, {kept} ({n:,} images)"


def _files(given: Sequence[Path]) -> list[Path]:
    """Return the given images and those in the given folders, found as those of a data set are."""
    files: list[Path] = []
    for path in given:
        if not path.exists():
            raise DataError(f"there is no image or folder {shown(str(path))}")
        if not path.is_dir():
            files.append(path)
            continue
        inside, notes = images_below(path)
        for note in notes:
            command.say(f"{shown(str(path))}: {note}")
        if not inside:
            raise DataError(f"the folder {shown(str(path))} holds no image ({', '.join(sorted(SUFFIXES))})")
        files += [path / name for name in inside]
    return files


def _read(
    files: Sequence[Path], signature: "Signature"
) -> Iterator[tuple[Sequence[Path], list[NDArray[np.uint8] | str]]]:
    """Yield batches of files with the pixels of each, or the reason why it cannot be read. Prefetches one batch."""
    batches = [files[first : first + _BATCH] for first in range(0, len(files), _BATCH)]
    with ThreadPoolExecutor(available_cores()) as pool:

        def begin(batch: Sequence[Path]) -> list[Future[NDArray[np.uint8] | str]]:
            return [pool.submit(_image, file, signature) for file in batch]

        following = begin(batches[0])
        for index, batch in enumerate(batches):
            current, following = following, begin(batches[index + 1]) if index + 1 < len(batches) else []
            yield batch, [image.result() for image in current]


def _image(file: Path, signature: "Signature") -> NDArray[np.uint8] | str:
    try:
        with file.open("rb") as opened:
            pixels, _ = decode(opened, (signature.width, signature.height))
    except (OSError, Unreadable) as error:
        return str(error)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def _write(stream: TextIO, exported: "Exported", files: Sequence[Path], top: int, least: float) -> int:
    """Write the header and a row for each file that can be read, without labels where the first one's probability is
    under ``least``. Return the number of the others."""
    names = exported.signature.class_names
    writer = csv.writer(stream, lineterminator="\n")
    ranks = [f"_{rank}" if rank > 1 else "" for rank in range(1, top + 1)]
    writer.writerow(["file", *(f"{column}{rank}" for rank in ranks for column in ("label", "probability"))])
    failed = 0
    for chunk, images in _read(files, exported.signature):
        read = [(file, image) for file, image in zip(chunk, images, strict=True) if not isinstance(image, str)]
        failed += len(chunk) - len(read)
        for file, image in zip(chunk, images, strict=True):
            if isinstance(image, str):
                print(f"not read: {printable(str(file))!r}: {image}", file=sys.stderr)
        if not read:
            continue
        batch = np.stack([image for _, image in read])
        for (file, _), row in zip(read, exported.probabilities(batch), strict=True):
            best = np.argsort(-row, kind="stable")[:top]
            sure = row[best[0]] >= least
            cells = [value for index in best for value in (names[index] if sure else "", f"{row[index]:.6f}")]
            writer.writerow([printable(str(file)), *cells])
    return failed


if __name__ == "__main__":
    sys.exit(main())
