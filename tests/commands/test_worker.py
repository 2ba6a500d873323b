"""`harness worker`: joining a study."""

from pathlib import Path

import pytest

from harness import command, worker
from harness.core.errors import SpecError
from harness.core.spec import DatasetSpec
from harness.storage.store import Store


def test_bad_input(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["--study", "absent"], "there is no study 'absent' in this database. It holds: tiny"),
        (["--study", "tiny", "--workers", "0"], "--workers 0: give 1 or more"),
        (["--study", "tiny", "--data", "mnits"], "did you mean 'mnist'?"),
    ):
        assert worker.main([*arguments, "--storage", store.url]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and message in error and "Traceback" not in error


def test_the_data_set_is_that_of_the_study(store: Store, digits: DatasetSpec, tmp_path: Path) -> None:
    shipped = {"data": {"dataset": "mnist"}}
    own = {"data": {"dataset": "digits.toml"}}
    store.studies.create("shipped", spec=shipped, data={}, advice={})
    store.studies.create("own", spec=own, data={"declared": digits.model_dump(mode="json")}, advice={})
    assert command.dataset_of(store, "shipped", None).name == "mnist"
    assert command.dataset_of(store, "own", None) == digits
    digits.file.rename(tmp_path / "moved.npz")
    with pytest.raises(SpecError, match=r"digits.npz of study 'own' are not here: give them with --data"):
        command.dataset_of(store, "own", None)
