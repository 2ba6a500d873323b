"""A data set's images, split for a study; the test part stays sealed."""

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from harness.errors import DataError
from harness.spec import DatasetSpec, DataSpec

DEFAULT_VALIDATION_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Images:
    """Labelled pictures: ``pixels`` (n, height, width) or (n, height, width, 3) uint8, ``labels`` (n,) int64."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def digest(self) -> str:
        """sha256 of the pixels, their shape included: the key of everything computed from them."""
        digest = hashlib.sha256(repr(self.pixels.shape).encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        return digest.hexdigest()


def join(first: Images, second: Images) -> Images:
    """Both as one, the first's images first: train and validation, for training what has been chosen."""
    return Images(np.concatenate([first.pixels, second.pixels]), np.concatenate([first.labels, second.labels]))


@dataclass(frozen=True, slots=True)
class SealedTest:
    """Where the test part lies: a file and its rows. It holds no image; only confirming finalists may open it."""

    file: Path
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def open(self) -> Images:
        """Read the test images. The search never calls this."""
        arrays = _read(self.file)
        return Images(arrays["images"][self.rows], arrays["labels"][self.rows].astype(np.int64))


@dataclass(frozen=True, slots=True)
class Split:
    """The parts of one study. A search sees ``train`` and ``validation`` only."""

    train: Images
    validation: Images
    test: SealedTest
    class_names: tuple[str, ...]

    @property
    def n_classes(self) -> int:
        """How many classes there are to tell apart."""
        return len(self.class_names)

    def n_searched(self) -> int:
        """Images that a search sees: those whose activations are stored."""
        return len(self.train) + len(self.validation)

    def majority_share(self) -> float:
        """Share of the validation part that the training part's commonest class gets right."""
        commonest = np.bincount(self.train.labels, minlength=self.n_classes).argmax()
        return float(np.mean(self.validation.labels == commonest))


def load_split(dataset: DatasetSpec, data: DataSpec, seed: int) -> Split:
    """Read ``dataset`` and draw the study's parts from it: stratified by class, the same for the same seed.

    Train and validation come from the data set's own train part and the test part from its test part; a data set
    without parts is cut in three. Raises DataError for a missing, corrupt, empty or one-class data set and for sizes
    over what there is.
    """
    arrays = _read(dataset.file)
    if dataset.sha256 is not None:
        digest = hashlib.sha256(dataset.file.read_bytes()).hexdigest()
        if digest != dataset.sha256:
            raise DataError(
                f"{dataset.file} is not the file that {dataset.name}'s TOML declares (sha256 {digest}, declared "
                f"{dataset.sha256}): restore it, or declare the new digest"
            )
    images, labels, class_names = _checked(arrays, dataset)
    rows = np.arange(len(labels))
    if "split" in arrays:
        is_test = arrays["split"] == "test"
        train_rows, test_rows = rows[~is_test], rows[is_test]
        if data.test_size is not None and data.test_size < len(test_rows):
            test_rows = _draw(test_rows, labels, data.test_size, seed)[0]
        elif data.test_size is not None and data.test_size > len(test_rows):
            raise DataError(
                f"data.test_size = {data.test_size}, but {dataset.name} has {len(test_rows)} test images: "
                f"ask for {len(test_rows)} or fewer"
            )
    else:
        test_size = data.test_size if data.test_size is not None else int(len(rows) * DEFAULT_VALIDATION_SHARE)
        _check_sizes(dataset.name, len(rows), train=data.train_size, validation=data.validation_size, test=test_size)
        test_rows, train_rows = _draw(rows, labels, test_size, seed)
    default_validation = int(len(train_rows) * DEFAULT_VALIDATION_SHARE)
    n_validation = data.validation_size if data.validation_size is not None else default_validation
    n_train = data.train_size if data.train_size is not None else len(train_rows) - n_validation
    _check_sizes(dataset.name, len(train_rows), train=n_train, validation=n_validation)
    validation_rows, others = _draw(train_rows, labels, n_validation, seed + 1)
    if n_train < len(others):
        others = _draw(others, labels, n_train, seed + 2)[0]
    missing = [name for label, name in enumerate(class_names) if label not in labels[others]]
    if missing:
        raise DataError(f"{dataset.name} has no training image of class {missing[0]!r}: leave it out of class_names")

    def part(chosen: NDArray[np.int64]) -> Images:
        return Images(images[chosen], labels[chosen])

    return Split(part(others), part(validation_rows), SealedTest(dataset.file, test_rows), class_names)


def _read(file: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise DataError(f"there is no file {file}: check `file` in the data set's TOML") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise DataError(f"{file} cannot be read as an .npz of plain arrays ({error}): write it again") from None


def _checked(
    arrays: dict[str, NDArray[Any]], dataset: DatasetSpec
) -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]:
    where = f"{dataset.name} ({dataset.file.name})"
    for name in ("images", "labels"):
        if name not in arrays:
            raise DataError(f"{where} has no array {name!r}, only {sorted(arrays)}: add it")
    images, labels = arrays["images"], arrays["labels"]
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3)):
        raise DataError(
            f"{where}: images are {images.dtype} {images.shape}; "
            "give uint8 (n, height, width) or (n, height, width, 3), values 0 to 255"
        )
    if len(images) == 0:
        raise DataError(f"{where} is empty: it has 0 images")
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"{where}: labels are {labels.dtype} {labels.shape}; give one integer for each of the {len(images)} images"
        )
    if "split" in arrays and arrays["split"].shape != labels.shape:
        raise DataError(
            f"{where}: split has shape {arrays['split'].shape}, labels {labels.shape}: give one for each image"
        )
    if "split" in arrays and not set(np.unique(arrays["split"])) <= {"train", "test"}:
        words = ", ".join(map(repr, map(str, np.unique(arrays["split"]))))
        raise DataError(f"{where}: split says {words}: only 'train' and 'test' are known")
    present = np.unique(labels)
    if len(present) < 2:
        raise DataError(
            f"{where} has one class only (label {present[0]}): there is nothing to tell apart, give two or more"
        )
    if "class_names" in arrays:
        class_names = tuple(str(name) for name in arrays["class_names"])
    else:
        class_names = tuple(str(label) for label in range(int(present[-1]) + 1))
    if present[0] < 0 or present[-1] >= len(class_names):
        raise DataError(
            f"{where}: labels run from {present[0]} to {present[-1]}, but there are {len(class_names)} classes: "
            f"number them 0 to {len(class_names) - 1}"
        )
    return (
        images.reshape(images.shape[:3]) if images.shape[3:] == (1,) else images,
        labels.astype(np.int64),
        class_names,
    )


def _check_sizes(name: str, available: int, **asked: int | None) -> None:
    total = sum(size or 0 for size in asked.values())
    if total > available or 0 in asked.values():
        sizes = " + ".join(f"data.{part}_size {size}" for part, size in asked.items() if size is not None)
        raise DataError(
            f"{sizes} asked of {name}, which has {available} images for them: every part needs some, lower the sizes"
        )


def _draw(
    rows: NDArray[np.int64], labels: NDArray[np.int64], size: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """``size`` of ``rows`` with every class in its share, and the others; both in a shuffled order."""
    classes, counts = np.unique(labels[rows], return_counts=True)
    if counts.min() < 2 or size < len(classes) or len(rows) - size < len(classes):
        smallest = classes[counts.argmin()]
        raise DataError(
            f"{size} of {len(rows)} images cannot be drawn with all {len(classes)} classes on both sides "
            f"(the smallest, label {smallest}, has {counts.min()}): give each class 2 images, and each part one of each"
        )
    drawn, others = train_test_split(rows, train_size=size, stratify=labels[rows], random_state=seed)
    return drawn, others
