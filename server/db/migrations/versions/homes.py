"""Revision 0003: the home of operations, and of grants and indexes saved before a sync."""

from __future__ import annotations

from server.db.migrations.statements import run

revision = "0003"
down_revision = "0002"

# A copy of the database has these rows too. Their home says that they were written in another database. Rows from
# before this revision have no home.
_STATEMENTS = (
    "ALTER TABLE {schema}.operation ADD COLUMN home text",
    "ALTER TABLE {schema}.synced_table_belongings ADD COLUMN home text",
)


def upgrade() -> None:
    """Add the columns. Processes of the release before write rows without a home."""
    run(_STATEMENTS)
