"""Revision 0009: the overlay by the time of the changes, for lists of what was changed lately."""

from __future__ import annotations

from server.db.migrations.statements import run

revision = "0009"
down_revision = "0008"

_STATEMENTS = (
    # Changes wait while it is built: the overlay has only the orders whose status was set here.
    "CREATE INDEX IF NOT EXISTS order_status_by_time ON {schema}.order_status (updated_at, o_orderkey)",
)


def upgrade() -> None:
    """Create the index."""
    run(_STATEMENTS)
