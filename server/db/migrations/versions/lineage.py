"""Revision 0008: the homes that the history of changes has had, with the epoch of its cursors in each."""

from __future__ import annotations

from server.db.migrations.statements import run

revision = "0008"
down_revision = "0007"

_STATEMENTS = (
    # A copy of the database has these rows too, and adds its own. `number` is the order; two may share one.
    """
    CREATE TABLE IF NOT EXISTS {schema}.lineage (
        home text PRIMARY KEY,
        number integer NOT NULL,
        instance text,
        branch text,
        database text,
        epoch bigint NOT NULL,
        since timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
)


def upgrade() -> None:
    """Create the table. The first server that uses it writes its home."""
    run(_STATEMENTS)
