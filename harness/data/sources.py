"""List a data set of any kind: folder, manifest, ``.npz`` or download."""

import hashlib
import os
from pathlib import Path

from harness.core.errors import DataError
from harness.core.spec import DatasetSpec
from harness.data import tables
from harness.data.archives import list_archive
from harness.data.downloads import fetch
from harness.data.folders import list_folder
from harness.data.listing import Listing, shown
from harness.data.manifests import list_manifests, manifests_beside


def read_listing(dataset: DatasetSpec) -> Listing:
    """List ``dataset``, downloaded first if necessary. Raises DataError if it is missing or invalid."""
    path = dataset.file if dataset.file is not None else fetch(dataset.download or "")
    if not os.path.exists(path):  # noqa: PTH110 - a name that is too long for a path is no error here
        raise DataError(f"there is no file or folder {shown(str(path))}: check the path of data set {dataset.name}")
    if not path.is_dir() and not path.is_file():  # to read a pipe would wait for ever
        raise DataError(f"{shown(str(path))} is neither a file nor a folder: give one that holds images")
    _check_digest(dataset, path)
    if path.is_dir():
        manifest = path / "train.csv"
        return _list_articles_layout(dataset.name, manifest) if manifest.is_file() else list_folder(dataset.name, path)
    if path.suffix.lower() in tables.SUFFIXES:
        return list_manifests(dataset.name, [path])
    if path.suffix.lower() == ".npz":
        return list_archive(dataset.name, path)
    raise DataError(
        f"{shown(str(path))} is not a data set: give a folder of class folders, a manifest (.csv, .parquet) or an .npz"
    )


def _list_articles_layout(name: str, train: Path) -> Listing:
    """List ``train.csv`` and the manifests next to it. An error says so where the folder holds class folders too."""
    try:
        return list_manifests(name, [train, *manifests_beside(train)], whole_folder=True)
    except DataError as error:
        try:
            list_folder(name, train.parent)
        except DataError:
            raise error from None
        raise DataError(
            f"{error}; {train.name} is read because it is there: to read the class folders next to it, move it away"
        ) from None


def _check_digest(dataset: DatasetSpec, path: Path) -> None:
    if dataset.sha256 is None:
        return
    if path.is_dir():
        raise DataError(f"{dataset.name}'s TOML declares a sha256, but {path} is a folder: leave the sha256 out")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != dataset.sha256:
        raise DataError(
            f"{path} is not the file that {dataset.name}'s TOML declares (sha256 {digest}, declared "
            f"{dataset.sha256}): restore it, or declare the new digest"
        )
