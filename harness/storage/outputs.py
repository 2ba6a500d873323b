"""Check that a command overwrites only files that an earlier command wrote."""

from pathlib import Path

from harness.core.errors import StorageError
from harness.storage import database
from harness.storage.sqlite_files import files_of

_MAGIC = {
    "page": (b"<!doctype html", b"<html"),
    "log": (b"",),  # logs are appended to, so that nothing is lost
    "recommendation": (b"# what `harness confirm` recommends",),
    "table of rows": (b"[",),
    "CSV of predictions": (b"file,label",),
    "PDF": (b"%pdf",),
    "PNG": (b"\x89png",),
}
_STREAMED = ("log", "CSV of predictions")  # opened and written to; the others replace the file
_READ = 200  # bytes, including leading blanks


def check_output(file: Path, kind: str, storage: str | None = None, option: str = "--out") -> None:
    """Raise StorageError if ``file`` belongs to the SQLite database ``storage``, is a device that would be replaced, or
    exists, is not empty and does not start like a file of this ``kind``. The error names the ``option``."""
    try:
        if storage is not None and any(_same(file, taken) for taken in files_of(storage)):
            raise StorageError(f"{option}: {file} is the database {database.shown(storage)}: give another file")
        if file.is_file():
            with file.open("rb") as opened:
                head = opened.read(_READ)
            if head and not head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_MAGIC[kind]):
                raise StorageError(
                    f"{option}: {file} exists and is not a {kind}, it would be lost: give another name, or move it away"
                )
        elif kind not in _STREAMED and file.exists() and not file.is_dir():
            raise StorageError(f"{option}: {file} is a device or a pipe, a {kind} is a file: give the name of one")
    except OSError as error:
        raise StorageError(f"{option}: {file} cannot be read ({error.strerror}): give another file") from None


def _same(file: Path, other: Path) -> bool:
    return file.resolve() == other.resolve() or (file.exists() and other.exists() and file.samefile(other))
