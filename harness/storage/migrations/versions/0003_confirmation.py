"""Openings of the sealed test part, what each was for, and what it measured."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0006"

STATUS = "status in ('complete', 'pruned', 'over_budget', 'diverged', 'failed')"


def upgrade() -> None:
    """From the revision before: three new tables."""
    op.create_table(
        "harness_opening",
        sa.Column("study", sa.Text, sa.ForeignKey("harness_study.name", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        _session(),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("finalists", sa.Integer, nullable=False),
        sa.Column("seeds", sa.JSON, nullable=False),
        sa.Column("n_test", sa.Integer, nullable=False),
        sa.Column("opened_at", sa.DateTime, nullable=False),
        sa.Column("finished_at", sa.DateTime),
    )
    op.create_table(
        "harness_candidate",
        sa.Column("study", sa.Text, primary_key=True),
        sa.Column("opening", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("roles", sa.Text, nullable=False),
        sa.Column("trial", sa.Integer),
        sa.Column("strategy", sa.Text),
        sa.Column("frozen_convs", sa.Integer),
        sa.Column("pooling", sa.Text),
        sa.Column("head", sa.Text),
        sa.Column("dropout", sa.Double),
        sa.Column("optimizer", sa.Text),
        sa.Column("learning_rate", sa.Double),
        sa.Column("head_epochs", sa.Integer),
        sa.Column("rate_factor", sa.Double),
        sa.ForeignKeyConstraint(
            ["study", "opening"], ["harness_opening.study", "harness_opening.number"], ondelete="CASCADE"
        ),
    )
    op.create_table(
        "harness_confirmation",
        sa.Column("study", sa.Text, primary_key=True),
        sa.Column("opening", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("candidate", sa.Text, primary_key=True),
        sa.Column("seed", sa.BigInteger, primary_key=True, autoincrement=False),
        _session(),
        sa.Column("status", sa.Text, sa.CheckConstraint(STATUS, name="harness_confirmation_status"), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("test_accuracy", sa.Double),
        sa.Column("test_balanced_accuracy", sa.Double),
        sa.Column("test_macro_f1", sa.Double),
        sa.Column("test_loss", sa.Double),
        sa.Column("correct", sa.LargeBinary),
        sa.Column("n_train", sa.Integer, nullable=False),
        sa.Column("train_flops", sa.Double, nullable=False),
        sa.Column("seconds_features", sa.Double, nullable=False),
        sa.Column("seconds_compile", sa.Double, nullable=False),
        sa.Column("seconds_train", sa.Double, nullable=False),
        sa.Column("seconds_evaluation", sa.Double, nullable=False),
        sa.Column("finished_at", sa.DateTime, nullable=False),
        sa.ForeignKeyConstraint(
            ["study", "opening", "candidate"],
            ["harness_candidate.study", "harness_candidate.opening", "harness_candidate.name"],
            ondelete="CASCADE",
        ),
    )


def _session() -> sa.Column[int]:
    return sa.Column("session", sa.Integer, sa.ForeignKey("harness_session.id"), nullable=False)
