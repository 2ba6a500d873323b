"""Write a study to MLflow, from its rows: an experiment with a run for each trial and one for the study with its page.

Writing again adds what is new: a trial's run that is complete stays as it is.
"""

import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dashboards.page import render, save
from harness.analysis.rows import Rows
from harness.analysis.summary import summarise
from harness.core.errors import SpecError, StorageError
from harness.storage.database import shown
from harness.storage.store import Store
from harness.storage.tables import STRATEGY

_CURVE = (
    "train_flops", "rated_seconds", "train_seconds", "train_loss", "val_loss", "val_accuracy", "val_balanced_accuracy",
    "val_macro_f1",
)  # fmt: skip
_COSTS = ("saved_flops", "saved_seconds", "predicted_seconds", "seconds_total")
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
    rows, created = Rows.read(store, study_name), store.studies.get(study_name).created_at.isoformat()
    with _reaching(uri) as client:
        experiment = client.get_experiment_by_name(study_name)
        where = experiment.experiment_id if experiment else client.create_experiment(study_name)
        runs = _runs_there(client, where, created)
        parent = _study_run(client, where, rows, created, runs.get("study"))
        for trial in rows.trials.to_dict("records"):
            before = runs.get(f"trial {trial['number']}")
            if before is not None and before.info.status == "RUNNING":  # writing it was interrupted
                client.delete_run(before.info.run_id)
            if before is None or before.info.status == "RUNNING":
                _write_trial(client, where, rows, trial, {_CREATED: created, "mlflow.parentRunId": parent})
    return len(rows.trials)


def _runs_there(client: Any, experiment: str, created: str) -> dict[str, Any]:
    """Return the runs of this study that are there, by their part: ``study``, ``trial 3``."""
    found, token = [], None
    while token != "":
        page = client.search_runs([experiment], f"tags.`{_CREATED}` = '{created}'", page_token=token)
        found += page
        token = page.token or ""
    return {run.data.tags[_TAG]: run for run in found}


def _study_run(client: Any, experiment: str, rows: Rows, created: str, before: Any) -> str:
    """Write the study's own run, over what it had ``before``, and return its id."""
    if before is None:
        tags = {_TAG: "study", _CREATED: created}
        started = _milliseconds(datetime.fromisoformat(created))
        before = client.create_run(experiment, started, tags, run_name=rows.name)
    run = before.info.run_id
    client.set_tag(run, "mlflow.note.content", "\n\n".join(summarise(rows).sentences))
    client.log_dict(run, rows.spec, "study.json")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        save(render([rows]), page)
        client.log_artifact(run, str(page))
    best = rows.best() or {}
    values = {f"best_{name}": best.get(name) for name in (rows.score, rows.cost.spent)}
    for baseline in rows.baselines.to_dict("records"):
        values |= {f"baseline_{baseline['name']}_{name}": baseline[name] for name in (rows.score, rows.cost.spent)}
    _log(client, run, [(name, value, len(rows.trials)) for name, value in values.items()])
    client.set_terminated(run)
    return str(run)


def _write_trial(client: Any, experiment: str, rows: Rows, trial: Mapping[Any, Any], tags: Mapping[str, str]) -> None:
    name = f"trial {trial['number']}"
    described = {"status": trial["status"], "reason": trial["reason"], "origin": trial["origin"]}
    run = client.create_run(
        experiment,
        _milliseconds(trial["started_at"]),
        {_TAG: name, **tags, "device": trial["device"], **described, "strategy": trial["label"]},
        run_name=f"{name}: {trial['label']}",
    ).info.run_id
    parameters = {key: trial[key] for key in (*STRATEGY, "seed")}
    _log(
        client,
        run,
        [
            *(
                (key, point[key], point["epoch"])
                for point in rows.checkpoints[rows.checkpoints["number"] == trial["number"]].to_dict("records")
                for key in _CURVE
            ),
            *((key, trial[key], trial["epochs"]) for key in _COSTS),
        ],
        parameters,
    )
    client.set_terminated(run, _ENDED.get(trial["status"], "FAILED"), _milliseconds(trial["finished_at"]))


def _log(
    client: Any,
    run: str,
    metrics: Iterable[tuple[str, Any, int]],
    parameters: Mapping[str, Any] | None = None,
) -> None:
    """Log ``metrics`` (name, value, step), those that are finite numbers, and ``parameters``."""
    from mlflow.entities import Metric, Param

    now = _milliseconds(datetime.now().astimezone())
    known = [
        Metric(name, float(value), now, int(step))
        for name, value, step in metrics
        if value is not None and math.isfinite(value)
    ]
    given = [Param(name, str(value)) for name, value in (parameters or {}).items()]
    for first in range(0, max(len(known), 1), _MOST - len(given)):
        client.log_batch(run, known[first : first + _MOST - len(given)], given if first == 0 else [])


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
