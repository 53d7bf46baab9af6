"""Revision 0001: the overlay of statuses, the history of changes (which is the feed), and recorded outcomes."""

from __future__ import annotations

from server.db.migrations.statements import run

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

# The feed is read by id: a reader that has seen an id must have seen all lower ids. A sequence alone does not guarantee
# that, because ids are not drawn in commit order: 7 may be committed after 8 was read. So a trigger draws the id under
# an advisory lock that the transaction holds until its end. PostgreSQL releases the lock only after other transactions
# can see the row, so ids become visible in their order. The price is that commits of changes queue up. NOTIFY, which
# they all send, makes them queue anyway, with a lock over the whole instance. The trigger takes the lock as late as
# possible, for each row before it is inserted, and no writer can forget it. Nothing else takes this lock: a long
# transaction elsewhere delays neither writers nor readers of the feed. The alternative, to read only up to
# pg_snapshot_xmin, would wait for every writing transaction in the instance.
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
    """Create the tables in the existing schema."""
    run((*_TABLES, *_TRIGGERS))
