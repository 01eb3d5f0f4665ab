"""Alembic environment: runs on the connection that `cloud.migrations.upgrade` hands in."""

from alembic import context

from cloud.migrations.upgrade import VERSION_SCHEMA

connection = context.config.attributes["connection"]
context.configure(connection=connection, version_table_schema=VERSION_SCHEMA, transaction_per_migration=False)
with context.begin_transaction():
    context.run_migrations()
