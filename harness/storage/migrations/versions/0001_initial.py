"""All tables and the view ``trial_summary``, as `harness.storage.tables` defines them.

The revision that follows the first release starts by writing out here what that release created.
"""

from alembic import op

from harness.storage import tables

revision = "0001_initial_6"
down_revision = None


def upgrade() -> None:
    """Create the schema in a database that has none of it."""
    tables.metadata.create_all(op.get_bind())
    op.execute(tables.create_trial_summary)
