"""Commands that only read make no database: not where the file's name is mistyped, not in that of another program."""

import sqlite3
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest

from harness import confirm, dashboard, export, run, studies, worker
from harness.core.spec import DatasetSpec

LOOKING: list[tuple[ModuleType, list[str]]] = [
    (studies, ["list"]),
    (studies, ["show", "mnist"]),
    (studies, ["split", "mnist"]),
    (studies, ["export", "mnist", "out.db"]),
    (studies, ["delete", "mnist"]),
    (dashboard, ["--study", "mnist"]),
    (worker, ["--study", "mnist"]),
    (confirm, ["--study", "mnist"]),
    (export, ["--study", "mnist", "--out", "model"]),
    (run, ["--data", "digits.toml", "--resume"]),
]


@pytest.mark.parametrize(
    ("module", "given"), LOOKING, ids=lambda value: "-".join(value) if isinstance(value, list) else ""
)
def test_looking_makes_no_database(
    module: ModuleType,
    given: list[str],
    digits: DatasetSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    for storage in ("sqlite:///typo.db", "sqlite:///results/harness.db"):
        assert module.main([*given, "--storage", storage]) == 2
        error = capsys.readouterr().err
        assert (
            error.startswith(f"error: there is no database '{storage[10:]}': run a study first")
            and error.count("\n") == 1
        )
        assert not list(tmp_path.rglob("*.db*"))
    with closing(sqlite3.connect("theirs.db")) as connection:
        connection.execute("create table theirs (a integer)")
    assert module.main([*given, "--storage", "sqlite:///theirs.db"]) == 2
    assert "theirs.db holds nothing of the harness: run a study first" in capsys.readouterr().err
    with closing(sqlite3.connect("theirs.db")) as connection:
        assert connection.execute("select name from sqlite_master").fetchall() == [("theirs",)]
    assert {path.name for path in tmp_path.iterdir()} - before <= {"theirs.db", "results"}


def test_an_import_reads_its_file_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("theirs.db")) as connection:
        connection.execute("create table theirs (a integer)")
    assert studies.main(["import", "theirs.db", "--storage", "sqlite:///new.db"]) == 2
    assert "theirs.db holds nothing of the harness" in capsys.readouterr().err
    assert studies.main(["import", "absent.db", "--storage", "sqlite:///new.db"]) == 2
    assert "there is no file absent.db" in capsys.readouterr().err
