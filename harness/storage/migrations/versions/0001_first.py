"""Studies, sessions, trials, checkpoints, baselines and the view trial_summary."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

STATUS = "status in ('complete', 'pruned', 'over_budget', 'diverged', 'failed')"
ORIGIN = "origin in ('advice', 'recipe_extractor', 'recipe_partial', 'quota', 'sampler')"

TRIAL_SUMMARY = """
create view trial_summary as
select t.study, t.number, t.strategy, t.frozen_convs, t.pooling, t.head, t.dropout, t.optimizer, t.learning_rate,
       t.origin, t.status, t.reason, t.val_accuracy, t.val_loss, t.train_loss, t.train_flops, t.planned_flops,
       case when t.planned_flops > t.train_flops then t.planned_flops - t.train_flops else 0.0 end as saved_flops,
       (select count(*) from harness_checkpoint c where c.study = t.study and c.number = t.number) as epochs,
       t.seconds_features, t.seconds_compile, t.seconds_train, t.seconds_evaluation,
       t.seconds_features + t.seconds_compile + t.seconds_train + t.seconds_evaluation as seconds_total,
       t.features_cached, t.seed, t.started_at, t.finished_at, t.session, s.commit_hash, s.device
from harness_trial t join harness_session s on s.id = t.session
where t.status is not null
"""


def upgrade() -> None:
    """From an empty database."""
    op.create_table(
        "harness_study",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sa.Column("advice", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
    )
    op.create_table(
        "harness_session",
        sa.Column("id", sa.Integer, primary_key=True),
        _study(),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("environment", sa.JSON, nullable=False),
        sa.Column("commit_hash", sa.Text, nullable=False),
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("process_started", sa.Double, nullable=False),
        sa.Column("started_at", sa.DateTime, nullable=False),
        sa.Column("ended_at", sa.DateTime),
        sa.Column("outcome", sa.Text),
    )
    op.create_table(
        "harness_trial",
        _study(primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        _session(),
        sa.Column("strategy", sa.Text, nullable=False),
        sa.Column("frozen_convs", sa.Integer, nullable=False),
        sa.Column("pooling", sa.Text, nullable=False),
        sa.Column("head", sa.Text, nullable=False),
        sa.Column("dropout", sa.Double, nullable=False),
        sa.Column("optimizer", sa.Text, nullable=False),
        sa.Column("learning_rate", sa.Double, nullable=False),
        sa.Column("origin", sa.Text, sa.CheckConstraint(ORIGIN, name="harness_trial_origin"), nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.DateTime, nullable=False),
        sa.Column("planned_flops", sa.Double, nullable=False),
        *_outcome("harness_trial", while_running=True),
    )
    op.create_table(
        "harness_checkpoint",
        sa.Column("study", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("train_flops", sa.Double, nullable=False),
        sa.Column("train_seconds", sa.Double, nullable=False),
        sa.Column("train_loss", sa.Double),
        sa.Column("val_loss", sa.Double),
        sa.Column("val_accuracy", sa.Double),
        sa.ForeignKeyConstraint(
            ["study", "number"], ["harness_trial.study", "harness_trial.number"], ondelete="CASCADE"
        ),
    )
    op.create_table(
        "harness_baseline",
        _study(primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        _session(),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("epochs", sa.Integer, nullable=False),
        sa.Column("planned_flops", sa.Double, nullable=False),
        *_outcome("harness_baseline", while_running=False),
    )
    op.execute(TRIAL_SUMMARY)


def _study(*, primary_key: bool = False) -> sa.Column[str]:
    owner = sa.ForeignKey("harness_study.name", ondelete="CASCADE")
    return sa.Column("study", sa.Text, owner, primary_key=primary_key, nullable=False)


def _session() -> sa.Column[int]:
    return sa.Column("session", sa.Integer, sa.ForeignKey("harness_session.id"), nullable=False)


def _outcome(table: str, *, while_running: bool) -> list[sa.Column[Any]]:
    """What a TrialResult says: unknown while a trial runs; accuracy and losses also where there is no checkpoint."""
    return [
        sa.Column("status", sa.Text, sa.CheckConstraint(STATUS, name=f"{table}_status"), nullable=while_running),
        sa.Column("reason", sa.Text, nullable=while_running),
        sa.Column("val_accuracy", sa.Double),
        sa.Column("val_loss", sa.Double),
        sa.Column("train_loss", sa.Double),
        sa.Column("train_flops", sa.Double, nullable=while_running),
        sa.Column("seconds_features", sa.Double, nullable=while_running),
        sa.Column("seconds_compile", sa.Double, nullable=while_running),
        sa.Column("seconds_train", sa.Double, nullable=while_running),
        sa.Column("seconds_evaluation", sa.Double, nullable=while_running),
        sa.Column("features_cached", sa.Boolean, nullable=while_running),
        sa.Column("finished_at", sa.DateTime, nullable=while_running),
    ]
