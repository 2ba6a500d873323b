"""Everything a study leaves behind, in one SQL database beside Optuna's own tables. See docs/database.md."""

import math
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import optuna
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from harness import database
from harness.errors import StorageError
from harness.migrations import migrate
from harness.results import Checkpoint, TrialResult
from harness.strategy import Strategy

Origin = Literal["advice", "recipe_extractor", "recipe_partial", "quota", "sampler"]
"""Where a trial's strategy comes from: the advice, the article's two recipes, the minimum share, or the sampler."""


class _Utc(sa.types.TypeDecorator[datetime]):
    """Aware here, naive UTC in the database, as Optuna's own times are."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class _Real(sa.types.TypeDecorator[float]):
    """A float; NaN is NULL, as SQLite has it: in PostgreSQL a NaN would be greater than every number."""

    impl = sa.Double
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: sa.Dialect) -> float | None:
        return None if value is None or math.isnan(value) else float(value)


def _columns(kinds: dict[str, Any]) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind) for name, kind in kinds.items()]


# What queries need to know of the tables; their keys and constraints are in the migrations.
_SECONDS = {f"seconds_{kind}": _Real for kind in ("features", "compile", "train", "evaluation")}
_LOSSES = {"train_loss": _Real, "val_loss": _Real, "val_accuracy": _Real}
_STRATEGY = {
    "strategy": sa.Text, "frozen_convs": sa.Integer, "pooling": sa.Text, "head": sa.Text, "dropout": _Real,
    "optimizer": sa.Text, "learning_rate": _Real,
}  # fmt: skip
_OUTCOME = {
    "status": sa.Text, "reason": sa.Text, "val_accuracy": _Real, "val_loss": _Real, "train_loss": _Real,
    "train_flops": _Real, "planned_flops": _Real,
}  # fmt: skip
_metadata = sa.MetaData()
_study = sa.Table("harness_study", _metadata, *_columns({
    "name": sa.Text, "spec": sa.JSON, "data": sa.JSON, "advice": sa.JSON, "created_at": _Utc,
}))  # fmt: skip
_session = sa.Table("harness_session", _metadata, sa.Column("id", sa.Integer, primary_key=True), *_columns({
    "study": sa.Text, "command": sa.Text, "spec": sa.JSON, "environment": sa.JSON, "commit_hash": sa.Text,
    "device": sa.Text, "host": sa.Text, "pid": sa.Integer, "process_started": _Real, "started_at": _Utc,
    "ended_at": _Utc, "outcome": sa.Text,
}))  # fmt: skip
_trial = sa.Table("harness_trial", _metadata, *_columns({
    "study": sa.Text, "number": sa.Integer, "session": sa.Integer, **_STRATEGY, "origin": sa.Text,
    "seed": sa.BigInteger, "started_at": _Utc, **_OUTCOME, **_SECONDS, "features_cached": sa.Boolean,
    "finished_at": _Utc,
}))  # fmt: skip
_checkpoint = sa.Table("harness_checkpoint", _metadata, *_columns({
    "study": sa.Text, "number": sa.Integer, "epoch": sa.Integer, "train_flops": _Real, "train_seconds": _Real,
    **_LOSSES,
}))  # fmt: skip
_baseline = sa.Table("harness_baseline", _metadata, *_columns({
    "study": sa.Text, "name": sa.Text, "session": sa.Integer, "seed": sa.BigInteger, **_OUTCOME, "epochs": sa.Integer,
    **_SECONDS, "features_cached": sa.Boolean, "finished_at": _Utc,
}))  # fmt: skip
_trial_summary = sa.Table("trial_summary", _metadata, *_columns({
    "study": sa.Text, "number": sa.Integer, **_STRATEGY, "origin": sa.Text, **_OUTCOME, "saved_flops": _Real,
    "epochs": sa.Integer, **_SECONDS, "seconds_total": _Real, "features_cached": sa.Boolean, "seed": sa.BigInteger,
    "started_at": _Utc, "finished_at": _Utc, "session": sa.Integer, "commit_hash": sa.Text, "device": sa.Text,
}))  # fmt: skip


@dataclass(frozen=True, slots=True)
class StudyRow:
    """A study as it was created."""

    name: str
    spec: dict[str, Any]
    data: dict[str, Any]
    advice: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One run of the command that has not ended; ``process_started`` (Unix seconds) tells a re-used pid apart."""

    id: int
    host: str
    pid: int
    process_started: float


class Store:
    """The database of a study. Each worker process opens its own: connections do not survive a fork.

    Every method raises StorageError for what the user can mend (a full disk, a lost server); whatever had been
    recorded before stays recorded, since every call is one transaction.
    """

    def __init__(self, url: str) -> None:
        """Open the database at ``url``, with all tables created or brought to this version.

        Raises StorageError where the URL cannot be used (see `harness.database.parse_url`), the database cannot be
        reached or written, is not one, or was made by a newer harness or another Optuna.
        """
        self._url = database.parse_url(url)
        self.url = self._url.render_as_string(hide_password=False)
        self.engine: Engine = sa.create_engine(self._url, **database.engine_options(self._url))
        database.begin_immediate(self.engine)
        with database.one_at_a_time(self.engine):
            with self.engine.begin() as connection:
                migrate(connection)
            self.optuna_storage().engine.dispose()

    def optuna_storage(self) -> optuna.storages.RDBStorage:
        """Optuna's storage in the same database, with an engine of its own.

        Raises StorageError where Optuna's tables are of another version than the installed Optuna.
        """
        try:
            storage = optuna.storages.RDBStorage(self.url, engine_kwargs=database.engine_options(self._url))
        except RuntimeError as error:  # what Optuna raises for another version of its tables
            raise StorageError(f"the database {database.shown(self._url)} cannot be used: {error}") from None
        database.begin_immediate(storage.engine)
        return storage

    def create_study(self, name: str, *, spec: dict[str, Any], data: dict[str, Any], advice: dict[str, Any]) -> None:
        """Record a new study: its resolved ``spec``, the profile of its ``data`` and the
        ``advice`` for it. Raises StorageError where there is one of that name."""
        row = {"name": name, "spec": spec, "data": data, "advice": advice, "created_at": _now()}
        try:
            self._write(_study.insert().values(row))
        except sa.exc.IntegrityError:
            raise StorageError(
                f"there is already a study {name!r} in {database.shown(self._url)}: resume it, or start it --fresh"
            ) from None

    def study(self, name: str) -> StudyRow | None:
        """The study ``name``, None where there is none."""
        rows = self._read(_study.select().where(_study.c.name == name))
        return StudyRow(**rows[0]._asdict()) if rows else None

    def study_names(self) -> list[str]:
        """The names of all studies, sorted."""
        return sorted(row.name for row in self._read(sa.select(_study.c.name)))

    def delete_study(self, name: str) -> None:
        """Remove every row of the study ``name``, ours and then Optuna's; nothing happens where there is none.

        Ours first: were this to stop in between, the study would be gone for us and can be deleted again.
        """
        self._write(_study.delete().where(_study.c.name == name))
        storage = self.optuna_storage()
        if name in optuna.get_all_study_names(storage):
            optuna.delete_study(study_name=name, storage=storage)
        storage.engine.dispose()

    def begin_session(
        self,
        study: str,
        *,
        command: str,
        spec: dict[str, Any],
        environment: dict[str, Any],
        host: str,
        pid: int,
        process_started: float,
    ) -> int:
        """Record a run of the command that works on ``study`` and return its id.

        ``environment`` must hold ``commit`` and ``device``, beside whatever else describes what the run used.
        """
        row = {
            "study": study, "command": command, "spec": spec, "environment": environment,
            "commit_hash": environment["commit"], "device": environment["device"], "host": host, "pid": pid,
            "process_started": process_started, "started_at": _now(),
        }  # fmt: skip
        with self.engine.begin() as connection:
            return int(connection.execute(_session.insert().values(row).returning(_session.c.id)).scalar_one())

    def end_session(self, session: int, outcome: str) -> None:
        """Record how the session ended, in words."""
        ended = {"ended_at": _now(), "outcome": outcome}
        self._write(_session.update().where(_session.c.id == session).values(ended))

    def open_sessions(self, study: str) -> list[SessionRow]:
        """Sessions of ``study`` that did not end, oldest first: running ones, and ones that were killed."""
        columns = (_session.c[name] for name in SessionRow.__slots__)
        query = sa.select(*columns).where(_session.c.study == study, _session.c.ended_at.is_(None))
        return [SessionRow(**row._asdict()) for row in self._read(query.order_by(_session.c.id))]

    def begin_trial(
        self, study: str, number: int, *, session: int, strategy: Strategy, origin: Origin, seed: int,
        planned_flops: float,
    ) -> None:  # fmt: skip
        """Record that a trial starts. A row of that number that did not finish, and its checkpoints, are replaced; a
        finished one never is (IntegrityError)."""
        row = {
            "study": study, "number": number, "session": session, "strategy": strategy.kind,
            "frozen_convs": strategy.frozen_convs, "pooling": strategy.pooling,
            "head": "-".join(map(str, strategy.head)), "dropout": strategy.dropout, "optimizer": strategy.optimizer,
            "learning_rate": strategy.learning_rate, "origin": origin, "seed": seed, "started_at": _now(),
            "planned_flops": planned_flops,
        }  # fmt: skip
        self._write(_trial.delete().where(_unfinished(study, number)), _trial.insert().values(row))

    def record_checkpoint(self, study: str, number: int, checkpoint: Checkpoint) -> None:
        """Record one point of a trial's learning curve as it is reached."""
        self._write(_checkpoint.insert().values(study=study, number=number, **asdict(checkpoint)))

    def end_trial(self, study: str, number: int, result: TrialResult) -> None:
        """Record how a trial ended. Its curve is not written: `record_checkpoint` did, point by point.

        Raises LookupError where no such trial is running.
        """
        with self.engine.begin() as connection:
            ended = connection.execute(_trial.update().where(_unfinished(study, number)).values(_ended(result)))
        if ended.rowcount != 1:
            raise LookupError(f"study {study!r} has no running trial {number}")

    def record_baseline(self, study: str, *, session: int, name: str, seed: int, result: TrialResult) -> None:
        """Record a baseline's result in place of an earlier one of that name."""
        row = {
            "study": study, "name": name, "session": session, "seed": seed, "epochs": len(result.curve),
            **_ended(result),
        }  # fmt: skip
        earlier = _baseline.delete().where(_baseline.c.study == study, _baseline.c.name == name)
        self._write(earlier, _baseline.insert().values(row))

    def trials(self, study: str) -> pd.DataFrame:
        """The finished trials by number: the rows and columns of the view ``trial_summary``."""
        return self._frame(_of(_trial_summary, study).order_by("number"))

    def checkpoints(self, study: str) -> pd.DataFrame:
        """Every point of every learning curve, of running trials too, by trial number and epoch.

        Columns: study, number, epoch, train_flops and train_seconds (both cumulative), train_loss, val_loss,
        val_accuracy.
        """
        return self._frame(_of(_checkpoint, study).order_by("number", "epoch"))

    def baselines(self, study: str) -> pd.DataFrame:
        """The baselines by name, with the columns of ``trial_summary`` that mean something for them."""
        total = sum((_baseline.c[name] for name in list(_SECONDS)[1:]), _baseline.c.seconds_features)
        query = _of(_baseline, study).add_columns(
            sa.type_coerce(total, _Real).label("seconds_total"), _session.c.commit_hash, _session.c.device
        )
        return self._frame(query.join(_session, _session.c.id == _baseline.c.session).order_by(_baseline.c.name))

    def sessions(self, study: str) -> pd.DataFrame:
        """All runs of the command on ``study``, oldest first: command, spec, environment, process, times, outcome."""
        return self._frame(_of(_session, study).order_by("id"))

    def _write(self, *statements: sa.Executable) -> None:
        with self.engine.begin() as connection:
            for statement in statements:
                connection.execute(statement)

    def _read(self, query: sa.Select[Any]) -> list[sa.Row[Any]]:
        with self.engine.connect() as connection:
            return list(connection.execute(query).all())

    def _frame(self, query: sa.Select[Any]) -> pd.DataFrame:
        columns = list(query.selected_columns)
        frame = pd.DataFrame([tuple(row) for row in self._read(query)], columns=[column.name for column in columns])
        # Given by the schema, so that no rows, or only NULLs, have the types that a full table has.
        return frame.astype({c.name: _DTYPES[type(c.type)] for c in columns if type(c.type) in _DTYPES})


_DTYPES = {
    _Real: "float64", sa.Integer: "int64", sa.BigInteger: "int64", sa.Boolean: "bool", sa.Text: "str",
    _Utc: "datetime64[us, UTC]",
}  # fmt: skip


def _now() -> datetime:
    return datetime.now(UTC)


def _of(table: sa.Table, study: str) -> sa.Select[Any]:
    return sa.select(table).where(table.c.study == study)


def _unfinished(study: str, number: int) -> sa.ColumnElement[bool]:
    return sa.and_(_trial.c.study == study, _trial.c.number == number, _trial.c.status.is_(None))


def _ended(result: TrialResult) -> dict[str, Any]:
    seconds = {f"seconds_{kind}": value for kind, value in asdict(result.seconds).items()}
    return {
        **{name: getattr(result, name) for name in _OUTCOME}, **seconds,
        "features_cached": result.features_cached, "finished_at": _now(),
    }  # fmt: skip
