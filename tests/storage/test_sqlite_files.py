"""Names of SQLite files in URLs: home folders, and characters that mean something in a URL."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from harness.core.errors import StorageError
from harness.storage.database import parse_url, shown
from harness.storage.sqlite_files import expand_home, files_of, refuse_missing_file, url_of
from harness.storage.store import Store

NAMES = ["a?b.db", "a#b.db", "a%41.db", "100%.db", "a b.db", "a{b}.db", "a&b=c.db", "é's.db", "a:b@c.db", "~.db"]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_makes_a_url_of_its_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    for file in (Path(name), tmp_path / name):
        url = url_of(file)
        assert files_of(url)[0] == file and parse_url(url).database == str(file)
        assert parse_url(shown(parse_url(url))).database == str(file)  # as it is printed, to be pasted


def test_both_engines_open_the_file_of_that_name(tmp_path: Path) -> None:
    file = tmp_path / "a?b#c %41{d}.db"
    store = Store(url_of(file))
    store.optuna_storage().engine.dispose()
    store.engine.dispose()
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    with closing(sqlite3.connect(file)) as connection:
        tables = {name for (name,) in connection.execute("select name from sqlite_master")}
    assert {"harness_trial", "trials"} <= tables


def test_a_url_that_would_open_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for url in ("sqlite:///a?b.db", "sqlite:///a.db?b=s3cret", "sqlite:///a.db?timeout=5&mode=ro"):
        with pytest.raises(StorageError, match=r"write \? in the name of a file as %3F") as caught:
            parse_url(url)
        assert "s3cret" not in str(caught.value)
    Path("a%41.db").touch()
    with pytest.raises(StorageError, match=r"'aA\.db' is not the file 'a%41\.db': write % in its name as %25"):
        parse_url("sqlite:///a%41.db")
    assert parse_url("sqlite:///a%2541.db").database == "a%41.db"
    assert parse_url("sqlite:///a.db?timeout=5").database == "a.db"


def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "50% of ?"
    monkeypatch.setenv("HOME", str(home))
    assert files_of(expand_home("sqlite:///~/a b.db"))[0] == home / "a b.db"
    for url in ("sqlite:///a/~/b.db", "sqlite:////~/b.db", "postgresql://~:~@h/~", "nonsense", "sqlite://"):
        assert expand_home(url) == url


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"there is no database '.*typo\.db': run a study first"):
        refuse_missing_file(f"sqlite:///{tmp_path}/typo.db")
    refuse_missing_file("postgresql://h/db")
