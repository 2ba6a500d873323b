"""Whether a database is one whole file, as somebody finds it who copies that file alone."""

import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from harness.storage.store import Store


def copy_is_whole(file: Path, study: str, **counts: int) -> None:
    """Check that a copy without SQLite's log holds all that the file does, and ``harness_<table>`` so many rows of the
    study."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.db"
        shutil.copyfile(file, copy)
        with closing(sqlite3.connect(copy)) as copied, closing(sqlite3.connect(file)) as original:
            assert list(copied.iterdump()) == list(original.iterdump())
            for table, count in counts.items():
                query = f"select count(*) from harness_{table} where study = ?"
                assert copied.execute(query, (study,)).fetchone() == (count,), table
        store = Store(f"sqlite:///{copy}")
        assert study in store.studies.names()
        store.engine.dispose()
