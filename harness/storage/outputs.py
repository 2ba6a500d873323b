"""What a command writes takes the place of what an earlier one wrote, and of nothing else."""

from pathlib import Path

from harness.core.errors import StorageError
from harness.storage import database

_BEGINNINGS = {
    "page": (b"<!doctype html", b"<html"),
    "log": (b"",),  # is written on, so that nothing is lost
    "recommendation": (b"# what `harness confirm` recommends",),
    "table of rows": (b"[",),
    "CSV of predictions": (b"file,label",),
    "PDF": (b"%pdf",),
    "PNG": (b"\x89png",),
}
_READ = 200  # bytes, blanks before the beginning included


def check_output(file: Path, kind: str, storage: str | None = None, option: str = "--out") -> None:
    """Raises StorageError where ``file`` is the SQLite database at the URL ``storage``, or one of its companions, or
    holds something that does not begin as one of that kind does. An empty file holds nothing."""
    try:
        if storage is not None and any(_same(file, taken) for taken in database.files_of(storage)):
            raise StorageError(f"{option}: {file} is the database {database.shown(storage)}: give another file")
        if file.is_file():
            with file.open("rb") as opened:
                head = opened.read(_READ)
            if head and not head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_BEGINNINGS[kind]):
                raise StorageError(
                    f"{option}: {file} is there and is no {kind}, it would be lost: give another name, or move it away"
                )
    except OSError as error:
        raise StorageError(f"{option}: {file} cannot be looked at ({error.strerror}): give another file") from None


def _same(file: Path, other: Path) -> bool:
    return file.resolve() == other.resolve() or (file.exists() and other.exists() and file.samefile(other))
