"""Whether a database is one whole file, as somebody finds it who copies that file alone."""

import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from harness.storage.store import Store


def copy_is_whole(file: Path, study: str, **counts: int) -> None:
    """The file alone has what it has with its log beside it, and of ``harness_<table>`` so many rows of the study."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.db"
        shutil.copyfile(file, copy)
        with closing(sqlite3.connect(copy)) as alone, closing(sqlite3.connect(file)) as beside:
            assert list(alone.iterdump()) == list(beside.iterdump())
            for table, count in counts.items():
                query = f"select count(*) from harness_{table} where study = ?"
                assert alone.execute(query, (study,)).fetchone() == (count,), table
        store = Store(f"sqlite:///{copy}")
        assert study in store.studies.names()
        store.engine.dispose()
