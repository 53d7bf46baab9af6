"""Revision 0007: what was asked of the platform, which its reads do not tell."""

from __future__ import annotations

from server.db.migrations.statements import run

revision = "0007"
down_revision = "0006"

_STATEMENTS = (
    # The uid is the platform's, and is noted at the first read of the resource. A row of another home is a copy's.
    # An operator may set the revision back, to make the functions of 0006 anew. Then this one runs again.
    """
    CREATE TABLE IF NOT EXISTS {schema}.asked_for (
        kind text NOT NULL,
        name text NOT NULL,
        uid text,
        spec jsonb NOT NULL,
        home text NOT NULL,
        noted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (kind, name)
    )
    """,
)


def upgrade() -> None:
    """Create the table beside those of operations."""
    run(_STATEMENTS)
