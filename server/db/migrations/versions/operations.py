"""Owns revision 0002: operations with their leases, the audit of administration, and what a sync takes with it."""

from __future__ import annotations

from alembic import context, op

revision = "0002"
down_revision = "0001"

_STATEMENTS = (
    # Times are the database's: processes' clocks may differ. Whoever takes an operation up raises its fence, and
    # whatever comes with an older one is too late.
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
    # One at most of each request is under way, whichever processes are asked for it.
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
    # What stood on a synced table before it was deleted or synced anew, until it is put back.
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
    """Make the tables beside those of the changes."""
    preparer = op.get_context().dialect.identifier_preparer
    schema = preparer.quote_identifier(context.config.attributes["schema"])
    for statement in _STATEMENTS:
        op.execute(statement.replace("{schema}", schema))


def downgrade() -> None:
    """There is no way back from an audit."""
    # Alembic asks for the function; whoever calls it is told what to do instead.
    raise NotImplementedError("drop the schema by hand, after export-changes")
