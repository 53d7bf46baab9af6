"""Revision 0004: the state CANCELLED of operations, and the user who asked for the cancellation."""

from __future__ import annotations

from server.db.migrations.statements import run

revision = "0004"
down_revision = "0003"

_STATEMENTS = (
    # The process that holds an operation reads this column when it renews its lease.
    "ALTER TABLE {schema}.operation ADD COLUMN cancel_requested_by text",
    "ALTER TABLE {schema}.operation DROP CONSTRAINT operation_state_check",
    """
    ALTER TABLE {schema}.operation ADD CONSTRAINT operation_state_check
        CHECK (state IN ('PENDING', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED'))
    """,
)


def upgrade() -> None:
    """Add the column and the state."""
    run(_STATEMENTS)
