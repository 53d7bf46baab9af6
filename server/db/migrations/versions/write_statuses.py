"""Revision 0006: a change is one statement, and the announcements of changes never fail it."""

from __future__ import annotations

from pathlib import Path

from server.db.migrations.statements import run

revision = "0006"
down_revision = "0005"

# An operator may set the revision back, for a release that knows only the one before. Then this one runs again.
_STATEMENTS = (
    """
    CREATE OR REPLACE FUNCTION {schema}.status_name(status text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
        SELECT CASE
            WHEN status IS NULL THEN 'no status'
            WHEN status = 'O' THEN 'OPEN'
            WHEN status = 'F' THEN 'FULFILLED'
            WHEN status = 'P' THEN 'PARTIAL'
            ELSE format('the unknown status "%s"', status)
        END
    $$
    """,
    """
    CREATE OR REPLACE FUNCTION {schema}.status_conflict(
        order_key bigint, field text, expected text, status text, version integer
    ) RETURNS jsonb LANGUAGE sql STABLE AS $$
        SELECT jsonb_build_array(
            'STATUS_CONFLICT',
            format(
                'Order %s does not have %s: it has %s and version %s. Nothing was written.',
                order_key, expected, {schema}.status_name(status), version
            ),
            field, status, version
        )
    $$
    """,
    Path(__file__).with_suffix(".sql").read_text(),
    # NOTIFY fails while its queue is full, because a listener has stopped reading. The feed then finds the changes by
    # its own query.
    """
    CREATE OR REPLACE FUNCTION {schema}.announce_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF pg_notification_queue_usage() < 0.9 THEN
            PERFORM pg_notify('order_status_change', TG_TABLE_SCHEMA);
        END IF;
        RETURN NULL;
    END $$
    """,
)


def upgrade() -> None:
    """Create the functions. The statements of earlier releases still work."""
    run(_STATEMENTS)
