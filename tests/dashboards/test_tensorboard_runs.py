"""A study for TensorBoard: what its own reader finds in the files is what the database holds, once."""

import math
from pathlib import Path
from typing import Any

import pytest

from harness import studies
from harness.storage.store import Store
from harness.storage.tables import STRATEGY
from tests.helpers.synthetic import write_study


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(f"sqlite:///{tmp_path / 'harness.db'}")
    write_study(store, "mnist", 12)
    return store


def export(store: Store, folder: object) -> int:
    return studies.main(["export", "mnist", str(folder), "--to", "tensorboard", "--storage", store.url])


def test_without_tensorboard_it_says_what_to_install(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dashboards.tensorboard_runs.find_spec", lambda _: None)
    assert export(store, tmp_path / "board") == 2
    expected = "error: TensorBoard is not installed: pip install 'transfer-harness[tensorboard]'\n"
    assert capsys.readouterr().err == expected and not (tmp_path / "board").exists()


def test_a_folder_that_cannot_be_written_is_one_line(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dashboards.tensorboard_runs.find_spec", lambda name: name)
    assert export(store, tmp_path / "harness.db") == 2
    assert capsys.readouterr().err.startswith(f"error: nothing can be written to {tmp_path / 'harness.db'} (")


def read(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder), {"scalars": 0, "tensors": 0}).Reload()


def test_the_files_hold_the_rows_of_the_database(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.plugins.hparams import metadata

    for _ in range(2):  # the second time changes nothing
        assert export(store, tmp_path / "board") == 0, capsys.readouterr().err
    assert f"{tmp_path / 'board'}, with 12 trials" in capsys.readouterr().out
    trials, checkpoints = store.trials.frame("mnist"), store.trials.checkpoints("mnist")
    folder = tmp_path / "board" / "mnist"
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {f"trial {n}" for n in trials["number"]}
    for trial in trials.to_dict("records"):
        found = read(folder / f"trial {trial['number']}")
        assert found.Scalars("seconds_total")[0].value == pytest.approx(trial["seconds_total"])
        points = checkpoints[checkpoints["number"] == trial["number"]]
        for name in ("val_accuracy", "train_flops", "val_loss"):
            known = {e: v for e, v in zip(points["epoch"], points[name], strict=True) if math.isfinite(v)}
            curve = found.Scalars(name) if known else []
            assert len(curve) == len(known) and {point.step: point.value for point in curve} == pytest.approx(known)
        told = found.summary_metadata[metadata.SESSION_START_INFO_TAG].plugin_data.content
        started = metadata.parse_session_start_info_plugin_data(told)
        assert started.start_time_secs == trial["started_at"].timestamp()
        for name in (*STRATEGY, "seed"):
            if name not in started.hparams:
                assert trial[name] is None or trial[name] != trial[name]
                continue
            kind = started.hparams[name].WhichOneof("kind")
            value = getattr(started.hparams[name], kind)
            assert value == (str(trial[name]) if kind == "string_value" else trial[name])
        told = found.summary_metadata[metadata.SESSION_END_INFO_TAG].plugin_data.content
        ended = metadata.parse_session_end_info_plugin_data(told)
        assert ended.end_time_secs == trial["finished_at"].timestamp()
        assert (ended.status == 1) == (trial["status"] == "complete")
    study = read(folder)
    best = study.Scalars("best_val_accuracy")
    assert [point.value for point in best] == [pytest.approx(trials["val_accuracy"].max())]
    described = metadata.parse_experiment_plugin_data(
        study.summary_metadata[metadata.EXPERIMENT_TAG].plugin_data.content
    )
    assert {info.name for info in described.hparam_infos} <= {*STRATEGY, "seed"}
    assert described.metric_infos[0].name.tag == "val_accuracy"
    assert "best" in study.Tensors("summary")[0].tensor_proto.string_val[0].decode()
