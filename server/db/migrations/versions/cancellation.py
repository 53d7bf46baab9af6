"""Revision 0004: operations that are cancelled, and the user who asks for that."""

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


def downgrade() -> None:
    """Refuse, as revision 0002 does: the audit trail must not be lost."""
    raise NotImplementedError("drop the schema by hand, after export-changes")
