"""The table ``harness_prediction``, and the columns that a database of the first revision lacks."""

import sqlalchemy as sa
from alembic import op

from harness.storage import tables

revision = "0002"
down_revision = "0001_initial_2"


def upgrade() -> None:
    """Add what is missing; in a new database the first revision has created everything."""
    bind = op.get_bind()
    found = sa.inspect(bind)
    if found.has_table(tables.prediction.name):
        return
    for table in tables.metadata.sorted_tables:
        if table is tables.prediction:
            continue
        there = {column["name"] for column in found.get_columns(table.name)}
        for column in table.columns:
            if column.name not in there:
                op.add_column(table.name, sa.Column(column.name, column.type))
    tables.prediction.create(bind)
    op.execute(sa.text("drop view if exists trial_summary"))
    op.execute(tables.create_trial_summary)
