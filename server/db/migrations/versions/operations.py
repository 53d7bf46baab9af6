"""Revision 0002: operations with their leases, the audit trail, and grants and indexes saved before a sync."""

from __future__ import annotations

from server.db.migrations.statements import run

revision = "0002"
down_revision = "0001"

_STATEMENTS = (
    # Times are by the database's clock, because the clocks of processes may differ. A process that takes up an
    # operation raises its fence. A write with an older fence fails.
    """
    CREATE TABLE {schema}.operation (
        id uuid PRIMARY KEY,
        kind text NOT NULL,
        fingerprint text NOT NULL,
        resources text[] NOT NULL,
        request jsonb NOT NULL,
        state text NOT NULL CHECK (state IN ('PENDING', 'RUNNING', 'SUCCEEDED', 'FAILED')),
        steps jsonb NOT NULL,
        facts jsonb NOT NULL,
        failure jsonb,
        requested_by text NOT NULL,
        requested_at timestamptz NOT NULL,
        finished_at timestamptz,
        fence bigint NOT NULL DEFAULT 1,
        lease_ends_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX operation_by_age ON {schema}.operation (requested_at DESC, id DESC)",
    # At most one operation for the same request is in progress, over all processes.
    """
    CREATE UNIQUE INDEX operation_under_way ON {schema}.operation (fingerprint)
        WHERE state IN ('PENDING', 'RUNNING')
    """,
    """
    CREATE TABLE {schema}.admin_audit (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        principal text NOT NULL,
        action text NOT NULL,
        outcome text NOT NULL,
        reason text,
        resources text[] NOT NULL,
        operation uuid,
        request_id text
    )
    """,
    # Grants and indexes of a synced table that was deleted or synced anew, until they are restored.
    """
    CREATE TABLE {schema}.synced_table_belongings (
        name text PRIMARY KEY,
        grants jsonb NOT NULL,
        indexes jsonb NOT NULL,
        noted_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
)


def upgrade() -> None:
    """Create the tables beside those of the changes."""
    run(_STATEMENTS)
