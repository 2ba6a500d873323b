"""The parts of a study, picture by picture."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0004"


def upgrade() -> None:
    """From 0004. Studies begun before have no rows here: their parts follow from data, sizes and seed."""
    op.create_table(
        "harness_split",
        sa.Column("study", sa.Text, sa.ForeignKey("harness_study.name", ondelete="CASCADE"), primary_key=True),
        sa.Column("part", sa.Text, primary_key=True),
        sa.Column("members", sa.JSON, nullable=False),
    )
