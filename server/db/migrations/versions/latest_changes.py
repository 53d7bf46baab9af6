"""Revision 0009: an index of the overlay by the time of the last change, for pages of the orders changed last."""

from __future__ import annotations

from server.db.migrations.statements import run

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the index."""
    run(("CREATE INDEX IF NOT EXISTS order_status_by_time ON {schema}.order_status (updated_at, o_orderkey)",))
