"""Run by Alembic for every command: migrations go over the connection that `harness.storage.migrations.migrate` was
given."""

from alembic import context

from harness.storage.migrations import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
