"""Tickets (who runs which trial), signs of life of sessions, and the retries of a trial in trial_summary."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

TRIAL_SUMMARY = """
create view trial_summary as
select t.study, t.number, t.strategy, t.frozen_convs, t.pooling, t.head, t.dropout, t.optimizer, t.learning_rate,
       t.origin, t.status, t.reason, t.val_accuracy, t.val_loss, t.train_loss, t.train_flops, t.planned_flops,
       case when t.planned_flops > t.train_flops then t.planned_flops - t.train_flops else 0.0 end as saved_flops,
       (select count(*) from harness_checkpoint c where c.study = t.study and c.number = t.number) as epochs,
       t.seconds_features, t.seconds_compile, t.seconds_train, t.seconds_evaluation,
       t.seconds_features + t.seconds_compile + t.seconds_train + t.seconds_evaluation as seconds_total,
       t.features_cached, t.seed, t.started_at, t.finished_at, coalesce(k.retries, 0) as retries, t.session,
       s.commit_hash, s.device
from harness_trial t
join harness_session s on s.id = t.session
left join harness_ticket k on k.study = t.study and k.number = t.number
where t.status is not null
"""


def upgrade() -> None:
    """From 0001. Trials that had finished get the ticket they would have had; `harness.search.plan.plan` adds the
    others."""
    op.add_column("harness_session", sa.Column("last_seen", sa.DateTime))
    op.create_table(
        "harness_ticket",
        sa.Column("study", sa.Text, sa.ForeignKey("harness_study.name", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("session", sa.Integer, sa.ForeignKey("harness_session.id")),
        sa.Column("retries", sa.Integer, nullable=False),
    )
    op.execute(
        "insert into harness_ticket (study, number, session, retries) "
        "select study, number, session, 0 from harness_trial where status is not null"
    )
    op.execute("drop view trial_summary")
    op.execute(TRIAL_SUMMARY)
