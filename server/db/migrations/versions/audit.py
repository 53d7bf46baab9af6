"""Revision 0005: the audit keeps inputs and counts refusals, is append only, and can be read in pages."""

from __future__ import annotations

from server.db.migrations.statements import run

revision = "0005"
down_revision = "0004"

_STATEMENTS = (
    # An entry gets its id where it happens, which may be before there is a database. So an entry that is written again,
    # because the reply to the first attempt was lost, is the same row.
    "ALTER TABLE {schema}.admin_audit DROP COLUMN id",
    """
    ALTER TABLE {schema}.admin_audit
        ADD COLUMN id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        ADD COLUMN count integer NOT NULL DEFAULT 1,
        ADD COLUMN last_at timestamptz,
        ADD COLUMN input text,
        ADD COLUMN home text
    """,
    "UPDATE {schema}.admin_audit SET last_at = at",
    # A server of the revision before knows nothing of this column, and may still write.
    # Python has to be able to represent the times, because the cursors of pages contain them.
    """
    ALTER TABLE {schema}.admin_audit
        ALTER COLUMN last_at SET NOT NULL,
        ALTER COLUMN last_at SET DEFAULT clock_timestamp(),
        ADD CHECK (at BETWEEN '0001-01-02' AND '9999-12-30' AND last_at BETWEEN '0001-01-02' AND '9999-12-30'),
        ADD CHECK (count > 0)
    """,
    """
    COMMENT ON COLUMN {schema}.admin_audit.input IS
        'JSON. Not of the type jsonb, which refuses the escape of a NUL, and clients may send that.'
    """,
    "CREATE INDEX admin_audit_by_age ON {schema}.admin_audit (at DESC, id DESC)",
    "CREATE INDEX admin_audit_by_principal ON {schema}.admin_audit (principal, at DESC, id DESC)",
    # Two changes are allowed: the count of a refusal rises, and a transaction that has set `orders_app.prune_before`
    # deletes entries that are older than that moment.
    """
    CREATE FUNCTION {schema}.keep_audit() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'UPDATE' THEN
            IF OLD.outcome = 'REFUSED' AND NEW.count > OLD.count AND NEW.last_at >= OLD.last_at
                AND to_jsonb(NEW) - 'count' - 'last_at' = to_jsonb(OLD) - 'count' - 'last_at' THEN
                RETURN NEW;
            END IF;
        ELSIF TG_OP = 'DELETE' THEN
            IF OLD.at < CAST(nullif(current_setting('orders_app.prune_before', true), '') AS timestamptz) THEN
                RETURN OLD;
            END IF;
        END IF;
        RAISE EXCEPTION 'admin_audit is append only' USING ERRCODE = 'restrict_violation';
    END $$
    """,
    """
    CREATE TRIGGER keep_audit BEFORE UPDATE OR DELETE ON {schema}.admin_audit
        FOR EACH ROW EXECUTE FUNCTION {schema}.keep_audit()
    """,
    """
    CREATE TRIGGER keep_all_audit BEFORE TRUNCATE ON {schema}.admin_audit
        FOR EACH STATEMENT EXECUTE FUNCTION {schema}.keep_audit()
    """,
    # Ended operations are deleted by their age.
    "CREATE INDEX operation_by_end ON {schema}.operation (finished_at) WHERE finished_at IS NOT NULL",
)


def upgrade() -> None:
    """Change the audit of revision 0002, and keep its rows."""
    run(_STATEMENTS)
