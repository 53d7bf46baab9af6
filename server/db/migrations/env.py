"""Owns how Alembic runs our revisions: on the connection it is given, in the transaction that is open on it."""

from __future__ import annotations

from alembic import context

_attributes = context.config.attributes
context.configure(
    connection=_attributes["connection"],
    version_table_schema=_attributes["schema"],
    transactional_ddl=True,
)
context.run_migrations()
