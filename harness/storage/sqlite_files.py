"""The file of a SQLite database, and its URL."""

import os
from pathlib import Path

from sqlalchemy.engine import URL

from harness.core.errors import StorageError
from harness.core.paths import expand
from harness.storage.database import split_url


def files_of(url: str) -> list[Path]:
    """Return the file of the SQLite database at ``url`` and those that SQLite keeps next to it; none for another kind
    of database or a URL that does not parse, which `parse_url` reports."""
    try:
        parsed = split_url(url)
    except StorageError:
        return []
    file = parsed.database if parsed.get_backend_name() == "sqlite" else None
    if not file or file.startswith((":memory:", "file:")):
        return []
    return [Path(file + suffix) for suffix in ("", "-wal", "-shm", "-journal")]


def refuse_missing_file(url: str) -> None:
    """Raise StorageError for a SQLite file that does not exist: what only reads must not create an empty database."""
    files = files_of(url)
    if files and not os.path.isfile(files[0]):  # noqa: PTH113 - a name that is too long for a path is no error here
        raise StorageError(
            f"there is no database {str(files[0])!r}: run a study first (python -m harness.run --study …), or give "
            "the URL of another with --storage"
        )


def url_of(file: Path) -> str:
    """Return the URL of a SQLite file, whatever characters its name has."""
    return URL.create("sqlite", database=str(file)).render_as_string()


def expand_home(url: str) -> str:
    """Return the URL with the home folder in place of the ``~`` that begins a SQLite file's path."""
    file = next(iter(files_of(url)), None)
    if file is None or not str(file).startswith("~"):
        return url
    return split_url(url).set(database=expand(str(file))).render_as_string(hide_password=False)
