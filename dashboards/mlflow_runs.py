"""Write a study to MLflow, from its rows: an experiment with a run for each trial and one for the study with its page.

Writing again adds what is new: a trial's run that is complete stays as it is.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dashboards.page import render, save
from dashboards.tracked_runs import Run, study_run, trial_runs
from harness.analysis.rows import Rows
from harness.analysis.summary import summarise
from harness.core.errors import SpecError, StorageError
from harness.storage.database import shown
from harness.storage.store import Store

_ENDED = {"complete": "FINISHED", "pruned": "KILLED", "over_budget": "KILLED"}  # the others: FAILED
_MOST = 1000  # metrics of a call, as MLflow's servers take them
_TAG = "harness.part"
_CREATED = "harness.created_at"


def check_mlflow(uri: str) -> None:
    """Raise SpecError where MLflow is not installed, StorageError where its store at ``uri`` does not answer."""
    with _reaching(uri) as client:
        client.search_experiments(max_results=1)


def write_mlflow(store: Store, study_name: str, uri: str) -> int:
    """Write a study to the MLflow store at ``uri`` and return the number of its trials that are there.

    The experiment has the study's name. A run is named after its trial; its parameters are the strategy, its metrics
    the learning curve by epoch and, at the last epoch, the costs. The study's own run has the summary, the baselines'
    scores and the page.

    Args:
        store: the database of the study.
        study_name: its name.
        uri: a tracking URI: ``http://host:port``, ``sqlite:///file.db`` or a folder.

    Raises:
        SpecError: MLflow is not installed, or there is no such study.
        StorageError: the store does not answer, or refuses the study.
    """
    rows, created = Rows.read(store, study_name), store.studies.get(study_name).created_at
    with _reaching(uri) as client:
        experiment = client.get_experiment_by_name(study_name)
        where = experiment.experiment_id if experiment else client.create_experiment(study_name)
        tags = {_CREATED: created.isoformat()}
        runs = _runs_there(client, where, tags)
        parent = _write_study(client, where, rows, study_run(rows, created), tags, runs.get("study"))
        for run in trial_runs(rows):
            before = runs.get(run.part)
            if before is not None and before.info.status == "RUNNING":  # writing it was interrupted
                client.delete_run(before.info.run_id)
            if before is None or before.info.status == "RUNNING":
                _write_trial(client, where, run, {**tags, "mlflow.parentRunId": parent})
    return len(rows.trials)


def _runs_there(client: Any, experiment: str, tags: Mapping[str, str]) -> dict[str, Any]:
    """Return the runs of this study that are there, by their part."""
    found, token = [], None
    while token != "":
        page = client.search_runs([experiment], f"tags.`{_CREATED}` = '{tags[_CREATED]}'", page_token=token)
        found += page
        token = page.token or ""
    return {run.data.tags[_TAG]: run for run in found}


def _write_study(client: Any, experiment: str, rows: Rows, run: Run, tags: Mapping[str, str], before: Any) -> str:
    """Write the study's own run, over what it had ``before``, and return its id."""
    if before is None:
        started = _milliseconds(run.started)
        before = client.create_run(experiment, started, {_TAG: run.part, **tags}, run_name=run.name)
    where = str(before.info.run_id)
    client.set_tag(where, "mlflow.note.content", "\n\n".join(summarise(rows).sentences))
    client.log_dict(where, rows.spec, "study.json")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        save(render([rows]), page)
        client.log_artifact(where, str(page))
    _log(client, where, run)
    client.set_terminated(where)
    return where


def _write_trial(client: Any, experiment: str, run: Run, tags: Mapping[str, str]) -> None:
    started = _milliseconds(run.started)
    created = client.create_run(experiment, started, {_TAG: run.part, **tags, **run.tags}, run_name=run.name)
    where = created.info.run_id
    _log(client, where, run)
    assert run.finished is not None
    client.set_terminated(where, _ENDED.get(run.status, "FAILED"), _milliseconds(run.finished))


def _log(client: Any, where: str, run: Run) -> None:
    """Log metrics and parameters of ``run`` to the run whose id is ``where``."""
    from mlflow.entities import Metric, Param

    now = _milliseconds(datetime.now().astimezone())
    metrics = [Metric(name, value, now, step) for name, value, step in run.metrics]
    parameters = [Param(name, str(value)) for name, value in run.parameters.items()]
    most = _MOST - len(parameters)
    for first in range(0, max(len(metrics), 1), most):
        client.log_batch(where, metrics[first : first + most], parameters if first == 0 else [])


def _milliseconds(time: datetime) -> int:
    return round(1000 * time.timestamp())


@contextmanager
def _reaching(uri: str) -> Iterator[Any]:
    """Yield a client of the store at ``uri``; what it raises becomes a StorageError."""
    if find_spec("mlflow") is None:
        raise SpecError("MLflow is not installed: pip install 'transfer-harness[mlflow]'")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # its own 7 take minutes
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        yield MlflowClient(tracking_uri=uri)
    except MlflowException as error:
        reason = str(error).splitlines()[0].replace(uri, shown(uri))
        raise StorageError(f"MLflow at {shown(uri)} cannot be used: {reason}") from None
