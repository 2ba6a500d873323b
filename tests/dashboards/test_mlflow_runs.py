"""A study in MLflow: every figure of the database is there once, however often it is written."""

import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from harness import studies
from harness.storage.store import Store
from harness.storage.tables import STRATEGY
from tests.helpers.synthetic import write_study


def test_without_mlflow_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(f"sqlite:///{tmp_path / 'harness.db'}")
    write_study(store, "mnist", 1)
    monkeypatch.setattr("dashboards.mlflow_runs.find_spec", lambda _: None)
    assert studies.main(["export", "mnist", "uri", "--to", "mlflow", "--storage", store.url]) == 2
    assert capsys.readouterr().err == "error: MLflow is not installed: pip install 'transfer-harness[mlflow]'\n"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of an MLflow server of this test."""
    pytest.importorskip("mlflow", reason="MLflow is not installed: pip install 'transfer-harness[mlflow]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    options = ["--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db", "--artifacts-destination", tmp_path / "kept"]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1", *options]
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(300):
            try:
                urlopen(f"{address}/health").close()
                break
            except OSError:
                assert process.poll() is None, (tmp_path / "server.log").read_text()
                time.sleep(1)
        yield address
    finally:
        os.killpg(process.pid, 15)
        process.wait()


@pytest.mark.large
def test_the_rows_of_a_server_are_those_of_the_database(
    server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    store = Store(f"sqlite:///{tmp_path / 'harness.db'}")
    write_study(store, "mnist", 12)
    export = ["export", "mnist", server, "--to", "mlflow", "--storage", store.url]
    assert studies.main(export) == 0, capsys.readouterr().err
    assert f"in MLflow at {server}, with 12 trials" in capsys.readouterr().out
    client = MlflowClient(server)
    experiment = client.get_experiment_by_name("mnist").experiment_id
    runs = {run.data.tags["harness.part"]: run for run in client.search_runs([experiment])}
    trials, checkpoints = store.trials.frame("mnist"), store.trials.checkpoints("mnist")
    assert set(runs) == {"study", *(f"trial {number}" for number in trials["number"])}
    for trial in trials.to_dict("records"):
        run = runs[f"trial {trial['number']}"]
        assert run.data.params == {name: str(trial[name]) for name in (*STRATEGY, "seed")}
        assert run.data.tags["status"] == trial["status"]
        assert run.info.end_time == round(1000 * trial["finished_at"].timestamp())
        assert run.data.metrics["seconds_total"] == trial["seconds_total"]
        points = checkpoints[checkpoints["number"] == trial["number"]]
        for name in ("val_accuracy", "train_flops", "val_loss"):
            curve = [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
            known = [(e, v) for e, v in zip(points["epoch"], points[name], strict=True) if math.isfinite(v)]
            assert sorted(curve) == known
    study = runs["study"]
    assert study.data.metrics["best_val_accuracy"] == trials["val_accuracy"].max()
    assert [file.path for file in client.list_artifacts(study.info.run_id)] == ["page.html", "study.json"]
    assert client.download_artifacts(study.info.run_id, "page.html", str(tmp_path))
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")

    client.update_run(runs["trial 3"].info.run_id, "RUNNING")  # as where writing was interrupted
    assert studies.main(export) == 0
    again = {run.data.tags["harness.part"]: run.info.run_id for run in client.search_runs([experiment])}
    assert {part for part, run in again.items() if run != runs[part].info.run_id} == {"trial 3"}
    assert len(again) == len(client.search_runs([experiment])) == 13


@pytest.mark.large
def test_a_server_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed: pip install 'transfer-harness[mlflow]'")
    store = Store(f"sqlite:///{tmp_path / 'harness.db'}")
    write_study(store, "mnist", 1)
    assert studies.main(["export", "mnist", "http://127.0.0.1:9", "--to", "mlflow", "--storage", store.url]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: MLflow at http://127.0.0.1:9 cannot be used: ")
