"""Balanced accuracy and macro F1 beside accuracy, a strategy's two phases, the seconds predicted for a trial."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0002"

TRIAL_SUMMARY = """
create view trial_summary as
select t.study, t.number, t.strategy, t.frozen_convs, t.pooling, t.head, t.dropout, t.optimizer, t.learning_rate,
       t.head_epochs, t.rate_factor, t.origin, t.status, t.reason, t.val_accuracy, t.val_balanced_accuracy,
       t.val_macro_f1, t.val_loss, t.train_loss, t.train_flops, t.planned_flops,
       case when t.planned_flops > t.train_flops then t.planned_flops - t.train_flops else 0.0 end as saved_flops,
       (select count(*) from harness_checkpoint c where c.study = t.study and c.number = t.number) as epochs,
       t.seconds_features, t.seconds_compile, t.seconds_train, t.seconds_evaluation,
       t.seconds_features + t.seconds_compile + t.seconds_train + t.seconds_evaluation as seconds_total,
       t.predicted_seconds, t.features_cached, t.seed, t.started_at, t.finished_at,
       coalesce(k.retries, 0) as retries, t.session, s.commit_hash, s.device
from harness_trial t
join harness_session s on s.id = t.session
left join harness_ticket k on k.study = t.study and k.number = t.number
where t.status is not null
"""


def upgrade() -> None:
    """From the revision before. What ran before has one phase, and neither the new scores nor a prediction."""
    op.execute("drop view trial_summary")
    for table in ("harness_trial", "harness_checkpoint", "harness_baseline"):
        op.add_column(table, sa.Column("val_balanced_accuracy", sa.Double))
        op.add_column(table, sa.Column("val_macro_f1", sa.Double))
    op.add_column("harness_trial", sa.Column("head_epochs", sa.Integer, nullable=False, server_default="0"))
    op.add_column("harness_trial", sa.Column("rate_factor", sa.Double, nullable=False, server_default="1"))
    op.add_column("harness_trial", sa.Column("predicted_seconds", sa.Double))
    op.execute(TRIAL_SUMMARY)
