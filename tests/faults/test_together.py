"""Two equal commands, in processes of their own, that begin the same study at the same time."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.storage.store import Store
from tests.conftest import Runs, postgres_database


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables, which the two commands create."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/study.db"
        return
    with postgres_database(request.getfixturevalue("postgres")) as database:
        yield database


@pytest.mark.large
def test_the_second_joins_as_a_worker(
    url: str, runs: Runs, tmp_path: Path, study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study_file.write_text(study_file.read_text().replace("[baselines]", '[baselines]\nnames = ["majority"]'))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("STUB_SECONDS", "0.6")
    runs.start("--study", str(study_file), "--storage", url, "--trials", "8", pause_in="twice")
    code, _, err = runs.end()
    assert code == 0, err
    assert "Traceback" not in err and "error:" not in err
    store = Store(url)
    trials = store.trials.frame("tiny")
    assert trials["number"].tolist() == list(range(8)) and trials["session"].nunique() == 2
    assert store.sessions.frame("tiny")["outcome"].tolist() == ["done", "done"]
    assert store.baselines.frame("tiny")["name"].tolist() == ["majority"]
    store.engine.dispose()
