"""Alembic's environment: it runs the revisions on the given connection, in its open transaction."""

from __future__ import annotations

from alembic import context

_attributes = context.config.attributes
context.configure(
    connection=_attributes["connection"],
    version_table_schema=_attributes["schema"],
    transactional_ddl=True,
)
context.run_migrations()
