"""Write a study for TensorBoard, from its rows: a folder with a run for each trial, compared in the tab HParams.

Writing again replaces each file as a whole, so that every figure of the database is there once.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from io import BytesIO
from numbers import Number
from pathlib import Path
from typing import Any

from dashboards.tracked_runs import Run, study_run, trial_runs
from harness.analysis.rows import Rows
from harness.analysis.summary import summarise
from harness.core.errors import SpecError, StorageError
from harness.storage.store import Store

_FILE = "events.out.tfevents.harness"
"""TensorBoard reads files with ``tfevents`` in the name."""
_ENDED = {"complete": "STATUS_SUCCESS"}  # the others: STATUS_FAILURE


def check_tensorboard(folder: Path) -> None:
    """Raise SpecError where TensorBoard is not installed, StorageError where ``folder`` cannot be written."""
    if find_spec("tensorboard") is None:
        raise SpecError("TensorBoard is not installed: pip install 'transfer-harness[tensorboard]'")
    _writing(folder, lambda: folder.mkdir(parents=True, exist_ok=True))


def write_tensorboard(store: Store, study_name: str, folder: Path) -> int:
    """Write a study to ``folder/<study>`` and return the number of its trials that are there.

    Each trial has a folder of its own with its learning curve by epoch, its costs at the last epoch, and the strategy
    as hyperparameters. The study's has the best trial's and the baselines' scores and the summary.

    Args:
        store: the database of the study.
        study_name: its name.
        folder: what ``tensorboard --logdir`` is given.

    Raises:
        SpecError: TensorBoard is not installed, or there is no such study.
        StorageError: the folder cannot be written.
    """
    check_tensorboard(folder)
    rows = Rows.read(store, study_name)
    runs = list(trial_runs(rows))
    study = study_run(rows, store.studies.get(study_name).created_at)
    described = [_experiment(rows, runs), _text("summary", "\n\n".join(summarise(rows).sentences))]
    files = {Path(study_name) / _FILE: _events(study, described)}
    for run in runs:
        files[Path(study_name) / run.part / _FILE] = _events(run, [_start(run), _end(run)])

    def write() -> None:
        for name, content in files.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            new = file.with_name(".new")
            new.write_bytes(content)
            new.replace(file)

    _writing(folder, write)
    return len(runs)


def _writing(folder: Path, write: Callable[[], None]) -> None:
    try:
        write()
    except OSError as error:
        raise StorageError(f"nothing can be written to {folder} ({error}): choose another folder") from None


def _events(run: Run, described: Iterable[Any]) -> bytes:
    """Return an event file: ``described``, values with what plugins must know of them, and the run's metrics."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    content, time = BytesIO(), (run.finished or run.started).timestamp()
    writer = RecordWriter(content)
    writer.write(Event(wall_time=time, file_version="brain.Event:2").SerializeToString())
    scalars = [(step, Summary.Value(tag=name, simple_value=value)) for name, value, step in run.metrics]
    for step, value in [*((0, one) for one in described), *scalars]:
        writer.write(Event(wall_time=time, step=step, summary=Summary(value=[value])).SerializeToString())
    return content.getvalue()


def _experiment(rows: Rows, runs: Iterable[Run]) -> Any:
    """Return what HParams shows: every parameter that trials have, the study's score, what it costs and the loss."""
    from tensorboard.plugins.hparams import api_pb2, metadata

    names = dict.fromkeys(name for run in runs for name, value in run.parameters.items() if _is_known(value))
    shown = (rows.score, rows.cost.spent, "val_loss", "seconds_total")
    experiment = api_pb2.Experiment(
        description=f"study {rows.name}",
        hparam_infos=[api_pb2.HParamInfo(name=name) for name in names],
        metric_infos=[api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag)) for tag in shown],
    )
    return _described(metadata.EXPERIMENT_TAG, {"experiment": experiment})


def _start(run: Run) -> Any:
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    started = plugin_data_pb2.SessionStartInfo(group_name=run.part, start_time_secs=run.started.timestamp())
    for name, value in run.parameters.items():
        if not _is_known(value):
            continue
        if isinstance(value, bool):
            started.hparams[name].bool_value = value
        elif isinstance(value, Number):
            started.hparams[name].number_value = value
        else:
            started.hparams[name].string_value = str(value)
    return _described(metadata.SESSION_START_INFO_TAG, {"session_start_info": started})


def _end(run: Run) -> Any:
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    assert run.finished is not None
    ended = plugin_data_pb2.SessionEndInfo(
        status=api_pb2.Status.Value(_ENDED.get(run.status, "STATUS_FAILURE")), end_time_secs=run.finished.timestamp()
    )
    return _described(metadata.SESSION_END_INFO_TAG, {"session_end_info": ended})


def _described(tag: str, content: Mapping[str, Any]) -> Any:
    """Return a value without a figure that tells ``content`` to the plugin HParams."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    told = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(**content))
    return Summary.Value(tag=tag, metadata=told, tensor=metadata.NULL_TENSOR)


def _text(tag: str, text: str) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING
    from tensorboard.plugins.text import metadata

    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
    tensor = TensorProto(dtype=DT_STRING, tensor_shape=shape, string_val=[text.encode()])
    return Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(tag, ""), tensor=tensor)


def _is_known(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))
