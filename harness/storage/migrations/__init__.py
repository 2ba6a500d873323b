"""The schema of the harness's own tables, as a chain of Alembic revisions under ``versions/``.

To change the schema of a released harness, add a revision there, with ``down_revision`` naming the one before; never
edit one that was released. `migrate` brings any older database to the newest revision.
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from harness.core.errors import StorageError
from harness.storage.database import shown

FOLDER = Path(__file__).parent
VERSION_TABLE = "harness_schema_version"
"""Not Alembic's usual name: Optuna keeps its own version under that one, in the same database."""


def migrate(connection: sa.Connection, folder: Path = FOLDER, *, create: bool = True) -> None:
    """Create our tables or bring them to the newest revision in ``folder``, inside the caller's transaction.

    Raises:
        StorageError: The database is of a revision that is not in ``folder``, or has no tables of ours and ``create``
            is false.
    """
    config = Config()
    # Alembic reads the path through a parser that expands percent signs.
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes["connection"] = connection
    script = ScriptDirectory.from_config(config)
    wanted = script.get_current_head()
    found = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()
    if found == wanted:
        return
    if found is None and not create:
        raise StorageError(
            f"the database {shown(connection.engine.url)} holds nothing of the harness: run a study first (python -m "
            "harness.run --study …), or give the URL of another with --storage"
        )
    if found is not None and found not in {revision.revision for revision in script.walk_revisions()}:
        raise StorageError(
            f"the database {shown(connection.engine.url)} has schema version {found!r}, this harness wants {wanted!r}: "
            "use the version of the harness that made it, or give another database with --storage"
        )
    command.upgrade(config, "head")
