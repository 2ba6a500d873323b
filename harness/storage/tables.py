"""The tables of the harness, with their keys and constraints, and the view ``trial_summary``. See docs/database.md.

This is the one definition of the schema: the first migration creates what is defined here.
"""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from harness.core.refinements import NAMES
from harness.core.results import ORIGINS, STATUSES


class Utc(sa.types.TypeDecorator[datetime]):
    """A time: aware in Python, naive UTC in the database, as Optuna stores its own times."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class Real(sa.types.TypeDecorator[float]):
    """A float. NaN becomes NULL, as SQLite has it: in PostgreSQL a NaN would be greater than every number."""

    impl = sa.Double
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: sa.Dialect) -> float | None:
        return None if value is None or math.isnan(value) else float(value)


SECONDS = ("seconds_features", "seconds_compile", "seconds_train", "seconds_evaluation")
"""The columns of `harness.core.results.Seconds`."""

OUTCOME = (
    "status", "reason", "val_accuracy", "val_balanced_accuracy", "val_macro_f1", "val_loss",
    "val_top5_accuracy", "val_auroc", "train_loss",
    "train_flops", "planned_flops", "rated_seconds", "planned_seconds",
)  # fmt: skip
"""The columns that hold fields of `harness.core.results.TrialResult` under their own names."""


def _study(*, primary_key: bool = False) -> sa.Column[str]:
    owner = sa.ForeignKey("harness_study.name", ondelete="CASCADE")
    return sa.Column("study", sa.Text, owner, primary_key=primary_key, nullable=False)


def _session(*, nullable: bool = False) -> sa.Column[int]:
    return sa.Column("session", sa.Integer, sa.ForeignKey("harness_session.id"), nullable=nullable)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, primary_key=True, autoincrement=False)


def _one_of(table: str, column: str, values: Sequence[str]) -> sa.CheckConstraint:
    return sa.CheckConstraint(f"{column} in ({', '.join(map(repr, values))})", name=f"{table}_{column}")


def _strategy(*, nullable: bool) -> list[sa.Column[Any]]:
    """Return the columns of `harness.core.strategy.Strategy.as_row`."""
    return [
        sa.Column("strategy", sa.Text, nullable=nullable),
        sa.Column("frozen", sa.Integer, nullable=nullable),
        sa.Column("pooling", sa.Text, nullable=nullable),
        sa.Column("head", sa.Text, nullable=nullable),
        sa.Column("dropout", Real, nullable=nullable),
        sa.Column("optimizer", sa.Text, nullable=nullable),
        sa.Column("learning_rate", Real, nullable=nullable),
        sa.Column("head_epochs", sa.Integer, nullable=nullable),
        sa.Column("rate_factor", Real, nullable=nullable),
        sa.Column("image_size", sa.Integer, nullable=nullable),
        sa.Column("backbone", sa.Text, nullable=nullable),
        sa.Column("planned_epochs", sa.Integer, nullable=nullable),
        *(sa.Column(name, Real, nullable=nullable) for name in NAMES),
    ]


STRATEGY = tuple(column.key for column in _strategy(nullable=True))
"""The columns of a strategy."""


def _scores(prefix: str) -> list[sa.Column[Any]]:
    names = "accuracy", "balanced_accuracy", "macro_f1", "loss", "top5_accuracy", "auroc"
    return [sa.Column(f"{prefix}_{name}", Real) for name in names]


def _ending(*, nullable: bool) -> list[sa.Column[Any]]:
    """Return the columns that say how a training ended and what it took."""
    return [
        sa.Column("status", sa.Text, nullable=nullable),
        sa.Column("reason", sa.Text, nullable=nullable),
        sa.Column("train_flops", Real, nullable=nullable),
        sa.Column("rated_seconds", Real),
        *(sa.Column(name, Real, nullable=nullable) for name in SECONDS),
        sa.Column("finished_at", Utc, nullable=nullable),
    ]


metadata = sa.MetaData()

study = sa.Table(
    "harness_study",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("spec", sa.JSON, nullable=False),
    sa.Column("data", sa.JSON, nullable=False),
    sa.Column("advice", sa.JSON, nullable=False),
    sa.Column("created_at", Utc, nullable=False),
)
split = sa.Table(
    "harness_split",
    metadata,
    _study(primary_key=True),
    sa.Column("part", sa.Text, primary_key=True),
    sa.Column("members", sa.JSON, nullable=False),
)
session = sa.Table(
    "harness_session",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    _study(),
    sa.Column("command", sa.Text, nullable=False),
    sa.Column("spec", sa.JSON, nullable=False),
    sa.Column("environment", sa.JSON, nullable=False),
    sa.Column("commit_hash", sa.Text, nullable=False),
    sa.Column("device", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("process_started", Real, nullable=False),
    sa.Column("started_at", Utc, nullable=False),
    sa.Column("last_seen", Utc, nullable=False),
    sa.Column("ended_at", Utc),
    sa.Column("outcome", sa.Text),
)
ticket = sa.Table(
    "harness_ticket",
    metadata,
    _study(primary_key=True),
    _number("number"),
    _session(nullable=True),
    sa.Column("retries", sa.Integer, nullable=False),
    sa.Column("begun", sa.Boolean, nullable=False),
    sa.Column("finished", sa.Boolean, nullable=False),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("params", sa.JSON, nullable=False),
    _one_of("harness_ticket", "origin", ORIGINS),
    sa.Index("harness_ticket_free", "study", "finished", "session", "number"),
)
trial = sa.Table(
    "harness_trial",
    metadata,
    _study(primary_key=True),
    _number("number"),
    _session(),
    *_strategy(nullable=False),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("started_at", Utc, nullable=False),
    sa.Column("planned_flops", Real, nullable=False),
    sa.Column("planned_seconds", Real),
    sa.Column("predicted_seconds", Real),
    sa.Column("sampler_notes", sa.JSON, nullable=False),
    *_ending(nullable=True),
    *_scores("val"),
    sa.Column("train_loss", Real),
    sa.Column("features_cached", sa.Boolean),
    _one_of("harness_trial", "origin", ORIGINS),
    _one_of("harness_trial", "status", STATUSES),
)
checkpoint = sa.Table(
    "harness_checkpoint",
    metadata,
    sa.Column("study", sa.Text, primary_key=True),
    _number("number"),
    _number("epoch"),
    sa.Column("train_flops", Real, nullable=False),
    sa.Column("rated_seconds", Real),
    sa.Column("train_seconds", Real, nullable=False),
    sa.Column("train_loss", Real),
    sa.Column("val_loss", Real),
    sa.Column("val_accuracy", Real),
    sa.Column("val_balanced_accuracy", Real),
    sa.Column("val_macro_f1", Real),
    sa.ForeignKeyConstraint(["study", "number"], [trial.c.study, trial.c.number], ondelete="CASCADE"),
)
baseline = sa.Table(
    "harness_baseline",
    metadata,
    _study(primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    _session(),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("epochs", sa.Integer, nullable=False),
    sa.Column("planned_flops", Real, nullable=False),
    sa.Column("planned_seconds", Real),
    *_ending(nullable=False),
    *_scores("val"),
    sa.Column("train_loss", Real),
    sa.Column("features_cached", sa.Boolean, nullable=False),
    _one_of("harness_baseline", "status", STATUSES),
)
opening = sa.Table(
    "harness_opening",
    metadata,
    _study(primary_key=True),
    _number("number"),
    _session(),
    sa.Column("command", sa.Text, nullable=False),
    sa.Column("finalists", sa.Integer, nullable=False),
    sa.Column("seeds", sa.JSON, nullable=False),
    sa.Column("n_test", sa.Integer, nullable=False),
    sa.Column("opened_at", Utc, nullable=False),
    sa.Column("finished_at", Utc),
)
candidate = sa.Table(
    "harness_candidate",
    metadata,
    sa.Column("study", sa.Text, primary_key=True),
    _number("opening"),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("roles", sa.Text, nullable=False),
    sa.Column("trial", sa.Integer),
    *_strategy(nullable=True),
    sa.ForeignKeyConstraint(["study", "opening"], [opening.c.study, opening.c.number], ondelete="CASCADE"),
)
confirmation = sa.Table(
    "harness_confirmation",
    metadata,
    sa.Column("study", sa.Text, primary_key=True),
    _number("opening"),
    sa.Column("candidate", sa.Text, primary_key=True),
    sa.Column("seed", sa.BigInteger, primary_key=True, autoincrement=False),
    _session(),
    sa.Column("n_train", sa.Integer, nullable=False),
    *_ending(nullable=False),
    *_scores("test"),
    sa.Column("correct", sa.LargeBinary),
    _one_of("harness_confirmation", "status", STATUSES),
    sa.ForeignKeyConstraint(
        ["study", "opening", "candidate"],
        [candidate.c.study, candidate.c.opening, candidate.c.name],
        ondelete="CASCADE",
    ),
)
prediction = sa.Table(
    "harness_prediction",
    metadata,
    _study(primary_key=True),
    _number("opening"),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("seed", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("predicted", sa.LargeBinary, nullable=False),
    sa.Column("probability", sa.LargeBinary, nullable=False),
    sa.Column("true_probability", sa.LargeBinary, nullable=False),
    sa.Column("calibration", sa.JSON(none_as_null=True)),
)


def seconds_total(table: sa.Table) -> sa.Label[float]:
    """Return the sum of the four `SECONDS` columns of ``table``, as ``seconds_total``."""
    first, *others = (table.c[name] for name in SECONDS)
    return sa.type_coerce(sum(others, first), Real).label("seconds_total")


def _saved(planned: sa.Column[float], spent: sa.Column[float], name: str) -> sa.Label[float]:
    """Return what was not spent, as ``name``; null where one is not known."""
    unspent = planned - spent
    return sa.type_coerce(sa.case((unspent > 0, unspent), (unspent <= 0, 0.0)), Real).label(name)


_reached = (
    sa.select(sa.func.count())
    .where(checkpoint.c.study == trial.c.study, checkpoint.c.number == trial.c.number)
    .scalar_subquery()
)
_summary = (
    sa.select(
        trial.c.study,
        trial.c.number,
        *(trial.c[name] for name in STRATEGY),
        trial.c.origin,
        *(trial.c[name] for name in OUTCOME),
        _saved(trial.c.planned_flops, trial.c.train_flops, "saved_flops"),
        _saved(trial.c.planned_seconds, trial.c.rated_seconds, "saved_seconds"),
        _reached.label("epochs"),
        *(trial.c[name] for name in SECONDS),
        seconds_total(trial),
        trial.c.predicted_seconds,
        trial.c.features_cached,
        trial.c.seed,
        trial.c.started_at,
        trial.c.finished_at,
        ticket.c.retries,
        trial.c.session,
        session.c.commit_hash,
        session.c.device,
    )
    .join(session, session.c.id == trial.c.session)
    .join(ticket, sa.and_(ticket.c.study == trial.c.study, ticket.c.number == trial.c.number))
    .where(trial.c.status.is_not(None))
)

create_trial_summary = sa.CreateView(_summary, "trial_summary")

trial_summary = create_trial_summary.table
"""The view, to be queried: one row for each finished trial."""
