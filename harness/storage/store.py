"""Everything a study leaves behind, in one SQL database beside Optuna's own tables. See docs/database.md."""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

import numpy as np
import optuna
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from harness.core.errors import StorageError
from harness.core.results import METRICS, Candidate, Checkpoint, Metric, TrialResult
from harness.core.strategy import Strategy
from harness.storage import database
from harness.storage.migrations import migrate

Origin = Literal["advice", "recipe_extractor", "recipe_partial", "quota", "sampler"]
"""Where a trial's strategy comes from: the advice, the article's two recipes, the minimum share, or the sampler."""

Row = Mapping[Any, Any]
"""Values by column."""

_Statement = TypeVar("_Statement", sa.Update, sa.Select[Any])


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
_SCORES = {"val_accuracy": _Real, "val_balanced_accuracy": _Real, "val_macro_f1": _Real}
_STRATEGY = {
    "strategy": sa.Text, "frozen_convs": sa.Integer, "pooling": sa.Text, "head": sa.Text, "dropout": _Real,
    "optimizer": sa.Text, "learning_rate": _Real, "head_epochs": sa.Integer, "rate_factor": _Real,
}  # fmt: skip
_OUTCOME = {
    "status": sa.Text, "reason": sa.Text, **_SCORES, "val_loss": _Real, "train_loss": _Real,
    "train_flops": _Real, "planned_flops": _Real,
}  # fmt: skip
_metadata = sa.MetaData()
_study = sa.Table("harness_study", _metadata, *_columns({
    "name": sa.Text, "spec": sa.JSON, "data": sa.JSON, "advice": sa.JSON, "created_at": _Utc,
}))  # fmt: skip
_split = sa.Table("harness_split", _metadata, *_columns({"study": sa.Text, "part": sa.Text, "members": sa.JSON}))
_session = sa.Table("harness_session", _metadata, sa.Column("id", sa.Integer, primary_key=True), *_columns({
    "study": sa.Text, "command": sa.Text, "spec": sa.JSON, "environment": sa.JSON, "commit_hash": sa.Text,
    "device": sa.Text, "host": sa.Text, "pid": sa.Integer, "process_started": _Real, "started_at": _Utc,
    "ended_at": _Utc, "outcome": sa.Text, "last_seen": _Utc,
}))  # fmt: skip
_ticket = sa.Table("harness_ticket", _metadata, *_columns({
    "study": sa.Text, "number": sa.Integer, "session": sa.Integer, "retries": sa.Integer,
}))  # fmt: skip
_trial = sa.Table("harness_trial", _metadata, *_columns({
    "study": sa.Text, "number": sa.Integer, "session": sa.Integer, **_STRATEGY, "origin": sa.Text,
    "seed": sa.BigInteger, "started_at": _Utc, **_OUTCOME, **_SECONDS, "predicted_seconds": _Real,
    "features_cached": sa.Boolean, "finished_at": _Utc,
}))  # fmt: skip
_checkpoint = sa.Table("harness_checkpoint", _metadata, *_columns({
    "study": sa.Text, "number": sa.Integer, "epoch": sa.Integer, "train_flops": _Real, "train_seconds": _Real,
    "train_loss": _Real, "val_loss": _Real, **_SCORES,
}))  # fmt: skip
_baseline = sa.Table("harness_baseline", _metadata, *_columns({
    "study": sa.Text, "name": sa.Text, "session": sa.Integer, "seed": sa.BigInteger, **_OUTCOME, "epochs": sa.Integer,
    **_SECONDS, "features_cached": sa.Boolean, "finished_at": _Utc,
}))  # fmt: skip
_opening = sa.Table("harness_opening", _metadata, *_columns({
    "study": sa.Text, "number": sa.Integer, "session": sa.Integer, "command": sa.Text, "finalists": sa.Integer,
    "seeds": sa.JSON, "n_test": sa.Integer, "opened_at": _Utc, "finished_at": _Utc,
}))  # fmt: skip
_candidate = sa.Table("harness_candidate", _metadata, *_columns({
    "study": sa.Text, "opening": sa.Integer, "name": sa.Text, "position": sa.Integer, "roles": sa.Text,
    "trial": sa.Integer, **_STRATEGY,
}))  # fmt: skip
_confirmation = sa.Table("harness_confirmation", _metadata, *_columns({
    "study": sa.Text, "opening": sa.Integer, "candidate": sa.Text, "seed": sa.BigInteger, "session": sa.Integer,
    "status": sa.Text, "reason": sa.Text, "test_accuracy": _Real, "test_balanced_accuracy": _Real,
    "test_macro_f1": _Real, "test_loss": _Real, "correct": sa.LargeBinary, "n_train": sa.Integer,
    "train_flops": _Real, **_SECONDS, "finished_at": _Utc,
}))  # fmt: skip
_trial_summary = sa.Table("trial_summary", _metadata, *_columns({
    "study": sa.Text, "number": sa.Integer, **_STRATEGY, "origin": sa.Text, **_OUTCOME, "saved_flops": _Real,
    "epochs": sa.Integer, **_SECONDS, "seconds_total": _Real, "predicted_seconds": _Real,
    "features_cached": sa.Boolean, "seed": sa.BigInteger, "started_at": _Utc, "finished_at": _Utc,
    "retries": sa.Integer, "session": sa.Integer, "commit_hash": sa.Text, "device": sa.Text,
}))  # fmt: skip


@dataclass(frozen=True, slots=True)
class StudyRow:
    """A study: ``spec`` as last asked for, the rest as it was created."""

    name: str
    spec: dict[str, Any]
    data: dict[str, Any]
    advice: dict[str, Any]
    created_at: datetime

    @property
    def metric(self) -> Metric:
        """What the study is judged by; one that was begun before there was a choice, by accuracy."""
        found: Metric = self.spec.get("metric", "accuracy")
        return found


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One worker process that has not ended; ``process_started`` tells a re-used pid apart (see
    `harness.core.processes.process_started`). ``last_seen`` is its last sign of life, by the clock of whoever wrote
    it: to be compared with itself only."""

    id: int
    host: str
    pid: int
    process_started: float
    last_seen: datetime | None


@dataclass(frozen=True, slots=True)
class Ticket:
    """The right to run trial ``number``; ``retries`` is how often a process that had it was lost."""

    number: int
    retries: int


class TicketLost(Exception):
    """The trial was taken from this session, which had been silent for too long: its result is another's to record."""


class Store:
    """The database of a study. Each worker process opens its own: connections do not survive a fork.

    Every method raises StorageError for what the user can mend (a full disk, a lost server); whatever had been
    recorded before stays recorded, since every call is one transaction.
    """

    def __init__(self, url: str) -> None:
        """Open the database at ``url``, with all tables created or brought to this version.

        Raises StorageError where the URL cannot be used (see `harness.storage.database.parse_url`), the database cannot
        be reached or written, is not one, or was made by a newer harness or another Optuna.
        """
        self._url = database.parse_url(url)
        self.url = self._url.render_as_string(hide_password=False)
        self.engine: Engine = sa.create_engine(self._url, **database.engine_options(self._url))
        database.begin_immediate(self.engine)
        with self.one_at_a_time():
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

    def one_at_a_time(self) -> AbstractContextManager[None]:
        """Keep other processes that ask for the same waiting, on whatever machine: see `database.one_at_a_time`."""
        return database.one_at_a_time(self.engine)

    def create_study(
        self,
        name: str,
        *,
        spec: dict[str, Any],
        data: dict[str, Any],
        advice: dict[str, Any],
        split: Mapping[Any, Sequence[tuple[str, str]]] | None = None,
    ) -> None:
        """Record a new study: its resolved ``spec``, the profile of its ``data``, the ``advice`` for it, and its
        ``split``: the members of each part, picture and class. Raises StorageError where there is one of that name."""
        row = {"name": name, "spec": spec, "data": data, "advice": advice, "created_at": _now()}
        parts = [{"study": name, "part": part, "members": list(members)} for part, members in (split or {}).items()]
        try:
            self._write(_study.insert().values(row), *(_split.insert().values(part) for part in parts))
        except sa.exc.IntegrityError:
            raise StorageError(
                f"there is already a study {name!r} in {database.shown(self._url)}: resume it, or start it --fresh"
            ) from None

    def check_unknown_to_optuna(self, name: str) -> None:
        """Raises StorageError where Optuna alone has a study of that name, whose trials a new one would take for its
        own."""
        storage = self.optuna_storage()
        if self.study(name) is None and name in optuna.get_all_study_names(storage):
            raise StorageError(
                f"{database.shown(self._url)} holds an Optuna study {name!r} that is none of the harness's, or is what "
                "an interrupted deletion has left: give yours another --name, or drop that one with --fresh"
            )
        storage.engine.dispose()

    def revise_study(self, name: str, spec: dict[str, Any]) -> None:
        """Replace the study's resolved spec: a resumed study may have other limits, and all its workers read them."""
        self._write(_study.update().where(_study.c.name == name).values(spec=spec))

    def add_to_data(self, name: str, **values: Any) -> None:
        """Add to what is recorded of the study's data; nothing happens where there is no such study."""
        row = sa.select(_study.c.data).where(_study.c.name == name).with_for_update()
        with self.engine.begin() as connection:
            before = connection.scalar(row)
            if before is not None:
                connection.execute(_study.update().where(_study.c.name == name).values(data=before | values))

    def study(self, name: str) -> StudyRow | None:
        """The study ``name``, None where there is none."""
        rows = self._read(_study.select().where(_study.c.name == name))
        return StudyRow(**rows[0]._asdict()) if rows else None

    def split(self, name: str) -> dict[str, list[tuple[str, str]]]:
        """The parts of the study ``name``: of each the pictures (file or row number) in the order drawn, with their
        classes. Empty for a study of a harness that did not store them."""
        rows = self._read(_split.select().where(_split.c.study == name))
        return {row.part: [(picture, label) for picture, label in row.members] for row in rows}

    def study_names(self) -> list[str]:
        """The names of all studies, sorted."""
        return sorted(row.name for row in self._read(sa.select(_study.c.name)))

    def delete_study(self, name: str) -> None:
        """Remove every row of the study ``name``, ours and then Optuna's; nothing happens where there is none.

        Ours first: were this to stop in between, the study would be gone for us, and `check_unknown_to_optuna` would
        tell whoever begins another of that name.
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
            "process_started": process_started, "started_at": _now(), "last_seen": _now(),
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

    def beat(self, session: int) -> None:
        """A sign of life of the session. One that was taken for dead is open again."""
        alive = {"last_seen": _now(), "ended_at": None, "outcome": None}
        self._write(_session.update().where(_session.c.id == session).values(alive))

    def add_tickets(self, study: str, numbers: Iterable[int]) -> None:
        """Make the trials of these numbers ones that can be claimed; those that are already stay as they are."""
        with self.engine.begin() as connection:
            there = set(connection.scalars(sa.select(_ticket.c.number).where(_ticket.c.study == study)))
            rows = [{"study": study, "number": n, "session": None, "retries": 0} for n in numbers if n not in there]
            if rows:
                connection.execute(_ticket.insert(), rows)

    def claim(self, study: str, session: int, below: int) -> Ticket | None:
        """The first trial under number ``below`` that nobody has, now this session's; None where there is none left.

        No two sessions get the same. One that holds an unfinished trial gets that one again, so that a claim whose
        answer was lost with the connection can be repeated.
        """
        of_study = sa.and_(_ticket.c.study == study, _ticket.c.number < below)
        mine = sa.select(_ticket).where(of_study, _ticket.c.session == session, ~_finished)
        free = sa.select(_ticket).where(of_study, _ticket.c.session.is_(None)).order_by(_ticket.c.number).limit(1)
        with self.engine.begin() as connection:
            row = connection.execute(mine).first()
            if row is None:
                # Whoever is about to take one is passed over, so that many workers do not queue for the same row.
                # SQLite knows no row locks and needs none: a transaction keeps all other writers waiting.
                row = connection.execute(free.with_for_update(skip_locked=True)).first()
                if row is None:
                    return None
                connection.execute(_of_ticket(_ticket.update(), study, row.number).values(session=session))
        return Ticket(row.number, row.retries)

    def give_back(self, study: str, number: int, *, session: int) -> None:
        """Let others claim the unfinished trial that this session holds; nothing happens where it does not."""
        held = _ticket.c.session == session
        with self.engine.begin() as connection:
            given = connection.execute(
                _of_ticket(_ticket.update(), study, number).where(held, ~_finished).values(session=None)
            )
            if given.rowcount:
                connection.execute(_trial.delete().where(_unfinished(study, number)))

    def withdraw(self, study: str, session: int) -> list[int]:
        """End a session that is gone as ``killed``, and let others claim what it held; the numbers of those trials."""
        held = sa.and_(_ticket.c.study == study, _ticket.c.session == session, ~_finished)
        with self.engine.begin() as connection:
            ended = {"ended_at": _now(), "outcome": "killed"}
            connection.execute(_session.update().where(_session.c.id == session).values(ended))
            # The rows are locked first: the holder may be about to record its result after all.
            numbers = sorted(connection.scalars(sa.select(_ticket.c.number).where(held).with_for_update()))
            for number in numbers:
                again = {"session": None, "retries": _ticket.c.retries + 1}
                freed = connection.execute(_of_ticket(_ticket.update(), study, number).where(held).values(again))
                if freed.rowcount:
                    connection.execute(_trial.delete().where(_unfinished(study, number)))
        return numbers

    def free_numbers(self, study: str) -> set[int]:
        """The trials that nobody has claimed."""
        free = sa.select(_ticket.c.number).where(_ticket.c.study == study, _ticket.c.session.is_(None))
        return {row.number for row in self._read(free)}

    def begin_trial(
        self, study: str, number: int, *, session: int, strategy: Strategy, origin: Origin, seed: int,
        planned_flops: float, predicted_seconds: float | None = None,
    ) -> None:  # fmt: skip
        """Record that a trial starts. A row of that number that did not finish, and its checkpoints, are replaced; a
        finished one never is (IntegrityError). Raises TicketLost where the session does not hold its ticket."""
        row = {
            "study": study, "number": number, "session": session, **strategy.as_row(), "origin": origin, "seed": seed,
            "started_at": _now(), "planned_flops": planned_flops,
            "predicted_seconds": predicted_seconds,
        }  # fmt: skip
        with self.engine.begin() as connection:
            _hold(connection, study, number, session)
            connection.execute(_trial.delete().where(_unfinished(study, number)))
            connection.execute(_trial.insert().values(row))

    def record_checkpoint(self, study: str, number: int, checkpoint: Checkpoint, *, session: int) -> None:
        """Record one point of a trial's learning curve as it is reached; the same point again is no harm.

        Raises TicketLost where the session does not hold the trial's ticket.
        """
        with self.engine.begin() as connection:
            _hold(connection, study, number, session)
            there = (_checkpoint.c.study == study, _checkpoint.c.number == number)
            connection.execute(_checkpoint.delete().where(*there, _checkpoint.c.epoch == checkpoint.epoch))
            connection.execute(_checkpoint.insert().values(study=study, number=number, **asdict(checkpoint)))

    def end_trial(self, study: str, number: int, result: TrialResult, *, session: int) -> None:
        """Record how a trial ended. Its curve is not written: `record_checkpoint` did, point by point.

        Once is enough: what was recorded stays. Raises TicketLost where the session does not hold the trial's ticket,
        LookupError where the trial has not begun.
        """
        with self.engine.begin() as connection:
            _hold(connection, study, number, session)
            ended = connection.execute(_trial.update().where(_unfinished(study, number)).values(_ended(result)))
            begun = _of(_trial, study).where(_trial.c.number == number)
            if ended.rowcount != 1 and connection.execute(begun).first() is None:
                raise LookupError(f"study {study!r} has no running trial {number}")

    def record_baseline(self, study: str, *, session: int, name: str, seed: int, result: TrialResult) -> None:
        """Record a baseline's result in place of an earlier one of that name."""
        row = {
            "study": study, "name": name, "session": session, "seed": seed,
            "epochs": result.curve[-1].epoch if result.curve else 0, **_ended(result),
        }  # fmt: skip
        earlier = _baseline.delete().where(_baseline.c.study == study, _baseline.c.name == name)
        self._write(earlier, _baseline.insert().values(row))

    def open_test(
        self,
        study: str,
        *,
        session: int,
        command: str,
        finalists: int,
        seeds: Sequence[int],
        n_test: int,
        candidates: Sequence[Candidate],
    ) -> int:
        """Record that the test part is about to be opened, for which candidates and seeds; gives the opening's number,
        from 1. Raises StorageError where another process does so at the same time.
        """
        rows = [
            {
                "study": study, "name": candidate.name, "position": position, "roles": ", ".join(candidate.roles),
                "trial": candidate.trial, **dict.fromkeys(_STRATEGY),
                **(candidate.strategy.as_row() if candidate.strategy else {}),
            }
            for position, candidate in enumerate(candidates)
        ]  # fmt: skip
        opening = {
            "study": study, "session": session, "command": command, "finalists": finalists, "seeds": list(seeds),
            "n_test": n_test, "opened_at": _now(),
        }  # fmt: skip
        try:
            with self.engine.begin() as connection:
                last = connection.scalar(sa.select(sa.func.max(_opening.c.number)).where(_opening.c.study == study))
                number = (last or 0) + 1
                connection.execute(_opening.insert().values(opening | {"number": number}))
                connection.execute(_candidate.insert(), [row | {"opening": number} for row in rows])
        except sa.exc.IntegrityError:
            raise StorageError(
                f"the test part of study {study!r} is being opened by another process: wait for it"
            ) from None
        return number

    def close_opening(self, study: str, number: int) -> None:
        """Record that every candidate of the opening has been measured with every seed."""
        which = (_opening.c.study == study, _opening.c.number == number)
        self._write(_opening.update().where(*which).values(finished_at=_now()))

    def record_confirmation(
        self, study: str, opening: int, candidate: str, seed: int, *, session: int, n_train: int, result: TrialResult
    ) -> None:
        """Record a candidate that was trained on ``n_train`` images with ``seed``, in place of an earlier record of it.
        ``result`` is of a problem whose validation part is the opened test part: what it calls validation is stored as
        test."""
        ended = _ended(result)
        row = {
            "study": study, "opening": opening, "candidate": candidate, "seed": seed, "session": session,
            "n_train": n_train, **{f"test_{metric}": result.score(metric) for metric in METRICS},
            "test_loss": result.val_loss,
            "correct": np.packbits(result.correct).tobytes() if result.correct else None,
            **{name: ended[name] for name in ("status", "reason", "train_flops", *_SECONDS, "finished_at")},
        }  # fmt: skip
        there = [_confirmation.c[key] == row[key] for key in ("study", "opening", "candidate", "seed")]
        self._write(_confirmation.delete().where(*there), _confirmation.insert().values(row))

    def openings(self, study: str) -> pd.DataFrame:
        """The openings of the test part by number; ``finished_at`` is missing where one was interrupted."""
        return self._frame(_of(_opening, study).order_by("number"))

    def candidates(self, study: str, opening: int) -> list[Candidate]:
        """What that opening was for, in its order."""
        query = _of(_candidate, study).where(_candidate.c.opening == opening).order_by("position")
        return [
            Candidate(
                row.name,
                tuple(row.roles.split(", ")),
                Strategy.from_row(row._mapping) if row.strategy is not None else None,
                row.trial,
            )
            for row in self._read(query)
        ]

    def confirmations(self, study: str) -> pd.DataFrame:
        """What the openings measured, by opening, candidate and seed.

        ``correct`` says of each test image, in their order, whether it was told right: 8 of them a byte, the first one
        in the highest bit; `numpy.unpackbits` reads it.
        """
        query = _of(_confirmation, study).add_columns(_session.c.commit_hash, _session.c.device)
        return self._frame(
            query.join(_session, _session.c.id == _confirmation.c.session).order_by("opening", "candidate", "seed")
        )

    def trials(self, study: str) -> pd.DataFrame:
        """The finished trials by number: rows and columns of ``trial_summary``."""
        return self._frame(_of(_trial_summary, study).order_by("number"))

    def ended(self, study: str, head_epochs: int) -> set[int]:
        """The numbers of the trials that are complete or pruned and had so long a first phase."""
        which = _trial.c.status.in_(["complete", "pruned"]), _trial.c.head_epochs == head_epochs
        return {row.number for row in self._read(sa.select(_trial.c.number).where(_trial.c.study == study, *which))}

    def measured_on(self, device: str, study: str, last: int) -> tuple[list[Row], list[Row]]:
        """The ``last`` trials that finished on such a ``device``, by number, and the baselines. What `trials` and
        `baselines` hold, as plain rows: this is read before each trial, and to make a frame of it takes ten times as
        long."""
        trials = _of(_trial_summary, study).where(_trial_summary.c.device == device)
        recent = self._read(trials.order_by(_trial_summary.c.number.desc()).limit(last))[::-1]
        baselines = self._read(_baselines(study).where(_session.c.device == device))
        return [row._mapping for row in recent], [row._mapping for row in baselines]

    def failed(self, study: str, reason: str, device: str) -> list[tuple[int, Strategy]]:
        """Number and strategy of the trials that failed on such a ``device``, with a reason that begins ``reason``."""
        which = (_trial.c.study == study, _trial.c.status == "failed", _trial.c.reason.startswith(reason))
        there = _trial.select().join(_session, _session.c.id == _trial.c.session).where(_session.c.device == device)
        found = self._read(there.where(*which).order_by(_trial.c.number))
        return [(row.number, Strategy.from_row(row._mapping)) for row in found]

    def checkpoints(self, study: str) -> pd.DataFrame:
        """Every point of every learning curve, of running trials too, by trial number and epoch.

        Columns: study, number, epoch, train_flops and train_seconds (both cumulative), train_loss, val_loss,
        val_accuracy, val_balanced_accuracy, val_macro_f1.
        """
        return self._frame(_of(_checkpoint, study).order_by("number", "epoch"))

    def baselines(self, study: str) -> pd.DataFrame:
        """The baselines by name, with the columns of ``trial_summary`` that mean something for them."""
        return self._frame(_baselines(study).order_by(_baseline.c.name))

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
        values = zip(*rows, strict=True) if (rows := self._read(query)) else [()] * len(columns)
        # Types are given by the schema, so that no rows, or only NULLs, have those that a full table has.
        return pd.DataFrame(
            {
                c.name: pd.Series(found, dtype=_DTYPES.get(type(c.type)))
                for c, found in zip(columns, values, strict=True)
            }
        )


_DTYPES = {
    _Real: "float64", sa.Integer: "int64", sa.BigInteger: "int64", sa.Boolean: "bool", sa.Text: "str",
    _Utc: "datetime64[us, UTC]",
}  # fmt: skip


def _now() -> datetime:
    return datetime.now(UTC)


def _of(table: sa.Table, study: str) -> sa.Select[Any]:
    return sa.select(table).where(table.c.study == study)


def _baselines(study: str) -> sa.Select[Any]:
    total = sum((_baseline.c[name] for name in list(_SECONDS)[1:]), _baseline.c.seconds_features)
    query = _of(_baseline, study).add_columns(
        sa.type_coerce(total, _Real).label("seconds_total"), _session.c.commit_hash, _session.c.device
    )
    return query.join(_session, _session.c.id == _baseline.c.session)


def _unfinished(study: str, number: int) -> sa.ColumnElement[bool]:
    return sa.and_(_trial.c.study == study, _trial.c.number == number, _trial.c.status.is_(None))


_finished = sa.exists().where(
    _trial.c.study == _ticket.c.study, _trial.c.number == _ticket.c.number, _trial.c.status.is_not(None)
)


def _of_ticket(statement: _Statement, study: str, number: int) -> _Statement:
    return statement.where(_ticket.c.study == study, _ticket.c.number == number)


def _hold(connection: sa.Connection, study: str, number: int, session: int) -> None:
    """Keep the ticket from changing hands until the transaction ends. Raises TicketLost where it has already."""
    query = _of_ticket(sa.select(_ticket.c.session), study, number).with_for_update()
    if connection.scalar(query) != session:
        raise TicketLost(f"trial {number} of study {study!r} is not session {session}'s to record")


def _ended(result: TrialResult) -> dict[str, Any]:
    seconds = {f"seconds_{kind}": value for kind, value in asdict(result.seconds).items()}
    return {
        **{name: getattr(result, name) for name in _OUTCOME}, **seconds,
        "features_cached": result.features_cached, "finished_at": _now(),
    }  # fmt: skip
