"""Two equal commands, in processes of their own, that begin the same study at the same time."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.storage.store import Store
from tests.conftest import ROOT, postgres_database


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=[pytest.mark.postgres, pytest.mark.large])])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables, which the two commands create."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/study.db"
        return
    with postgres_database(request.getfixturevalue("postgres")) as database:
        yield database


def test_the_second_joins_as_a_worker(url: str, tmp_path: Path, study_file: Path) -> None:
    study_file.write_text(study_file.read_text().replace("[baselines]", '[baselines]\nnames = ["majority"]'))
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.faults.stub",
            "--twice",
            "--study",
            study_file,
            "--storage",
            url,
            "--trials",
            "8",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HARNESS_CACHE": str(tmp_path / "cache"), "STUB_SECONDS": "0.6"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr and "error:" not in ended.stderr
    store = Store(url)
    trials = store.trials.frame("tiny")
    assert trials["number"].tolist() == list(range(8)) and trials["session"].nunique() == 2
    assert store.sessions.frame("tiny")["outcome"].tolist() == ["done", "done"]
    assert store.baselines.frame("tiny")["name"].tolist() == ["majority"]
    store.engine.dispose()
