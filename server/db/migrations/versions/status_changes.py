"""Owns the tables of status changes: the overlay, the history that is the feed, and the recorded outcomes."""

from __future__ import annotations

from alembic import context, op

revision = "0001"
down_revision = None

# No foreign key to the synced table: a sync may drop and recreate it at any moment.
_TABLES = (
    """
    CREATE TABLE {schema}.order_status (
        o_orderkey bigint PRIMARY KEY,
        status text CHECK (status IN ('F', 'O', 'P')),
        version integer NOT NULL CHECK (version >= 0),
        synced_status text,
        updated_by text NOT NULL,
        updated_at timestamptz NOT NULL
    )
    """,
    """
    COMMENT ON TABLE {schema}.order_status IS 'The status set last, over the synced one; null where it was cleared.'
    """,
    """
    CREATE TABLE {schema}.order_status_change (
        id bigint PRIMARY KEY,
        o_orderkey bigint NOT NULL,
        previous_status text,
        status text,
        cleared boolean NOT NULL,
        synced_status text,
        version integer NOT NULL,
        changed_by text NOT NULL,
        changed_at timestamptz NOT NULL,
        note text,
        UNIQUE (o_orderkey, version)
    )
    """,
    """
    CREATE INDEX ON {schema}.order_status_change (o_orderkey, id)
    """,
    """
    CREATE INDEX ON {schema}.order_status_change (changed_by, id)
    """,
    """
    CREATE SEQUENCE {schema}.order_status_change_id OWNED BY {schema}.order_status_change.id
    """,
    """
    COMMENT ON TABLE {schema}.order_status_change IS 'Every change, for good: the audit trail and the feed.'
    """,
    """
    CREATE TABLE {schema}.idempotency (
        principal text NOT NULL,
        key uuid NOT NULL,
        request_hash bytea NOT NULL,
        outcome jsonb,
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (principal, key)
    )
    """,
    """
    CREATE INDEX ON {schema}.idempotency (created_at)
    """,
)

# The feed is read by id: whoever has read up to an id must have seen all that come before it. A sequence alone does
# not give that, for it is not commit order: 7 may be committed after 8 has been read. So the id is drawn under a lock
# that is held until the transaction has ended. PostgreSQL releases it only after the row can be seen by others, so
# ids become visible in their order. What it costs is that commits of changes queue up; NOTIFY, which they all send,
# makes them queue at the same place anyway, with a lock of its own over the whole instance. It is taken as late as
# can be, for each row that is about to be inserted, and by the table itself, so that no writer can forget it.
# Nobody else takes it: a transaction of others, however long, holds up neither writers nor readers of the feed.
# The alternative, to read only up to pg_snapshot_xmin, waits for every writing transaction in the instance.
_TRIGGERS = (
    """
    CREATE FUNCTION {schema}.place_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock(1868, TG_RELID::integer);
        IF NEW.id IS NULL THEN
            NEW.id := nextval('{schema}.order_status_change_id');
        END IF;
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER place_change BEFORE INSERT ON {schema}.order_status_change
        FOR EACH ROW EXECUTE FUNCTION {schema}.place_change()
    """,
    """
    CREATE FUNCTION {schema}.announce_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify('order_status_change', TG_TABLE_SCHEMA);
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER announce_change AFTER INSERT ON {schema}.order_status_change
        FOR EACH STATEMENT EXECUTE FUNCTION {schema}.announce_change()
    """,
    """
    CREATE FUNCTION {schema}.keep_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'order_status_change is append only' USING ERRCODE = 'restrict_violation';
    END $$
    """,
    """
    CREATE TRIGGER keep_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {schema}.order_status_change
        FOR EACH STATEMENT EXECUTE FUNCTION {schema}.keep_change()
    """,
)


def upgrade() -> None:
    """Make the tables in the schema, which is there."""
    preparer = op.get_context().dialect.identifier_preparer
    schema = preparer.quote_identifier(context.config.attributes["schema"])
    for statement in (*_TABLES, *_TRIGGERS):
        op.execute(statement.replace("{schema}", schema))


def downgrade() -> None:
    """There is no way back from keeping what must not be lost."""
    # Alembic asks for the function; whoever calls it is told what to do instead.
    raise NotImplementedError("export-changes first, then drop the schema by hand")
