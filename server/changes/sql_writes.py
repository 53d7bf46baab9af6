"""SQL of a status change: it claims the key, locks the orders, makes the change and records the outcome."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from schema.ports.values import OrderColumn
from server.db.app_tables import quoted
from server.orders.sql_merged import as_text

if TYPE_CHECKING:
    from server.db.app_tables import ChangeTables
    from server.orders.sql_merged import Orders

_NAME = re.compile(r"[\w$]+(?:\.[\w$]+)?")
CHANGE_COLUMNS = (
    "id, o_orderkey, previous_status, status, cleared, synced_status, version, changed_by, changed_at, note"
)
# The time of a change in microseconds since 1970, for its place in the feed. Any time fits, an infinite one too.
MOMENT = (
    "CAST(greatest(least(extract(epoch FROM changed_at) * 1000000, 9223372036854775807), -9223372036854775808) "
    "AS bigint)"
)
# The fields of a StatusChange, in their order.
CHANGE_FIELDS = f"{CHANGE_COLUMNS}, {MOMENT}"

# Takes over the row of an expired key. If the key has not expired, this returns no row, and locks the key until the end
# of the transaction. If another transaction holds the key, this waits until that one has recorded its outcome or has
# rolled back.
_CLAIM = """
INSERT INTO {schema}.idempotency AS i (principal, key, request_hash)
VALUES (:principal, :key, :hash)
ON CONFLICT (principal, key) DO UPDATE
    SET request_hash = excluded.request_hash, outcome = NULL, created_at = now()
    WHERE i.created_at < now() - make_interval(secs => :retention_seconds)
RETURNING true
"""
_RECORDED = (
    "SELECT request_hash, CAST(outcome AS text) FROM {schema}.idempotency WHERE principal = :principal AND key = :key"
)
_RECORD = """
UPDATE {schema}.idempotency SET outcome = CAST(:outcome AS jsonb) WHERE principal = :principal AND key = :key
"""
# Locks the overlay's rows of a list of orders, in the order of their keys, and inserts the missing ones. ON CONFLICT
# locks a row that it does not update. If a list locked its existing rows first and inserted the others later, two lists
# could wait for each other. The same transaction deletes the inserted rows that it does not change
# (_DELETE_UNCHANGED), so no other transaction ever sees a row of version 0.
_LOCK_OVERLAY = """
INSERT INTO {schema}.order_status AS x (o_orderkey, version, updated_by, updated_at)
SELECT k, 0, '', now() FROM unnest(CAST(:keys AS bigint[])) AS k ORDER BY k
ON CONFLICT (o_orderkey) DO UPDATE SET version = x.version WHERE false
"""
_DELETE_UNCHANGED = "DELETE FROM {schema}.order_status WHERE version = 0 AND o_orderkey = ANY(CAST(:keys AS bigint[]))"
# If another transaction has inserted an overlay row since the orders were locked, the row is not overwritten, no change
# is inserted, and the writer starts again. PostgreSQL counts the overlay's rows before it inserts the first change, and
# so before it takes the feed's lock (see the migration): a transaction that holds this lock no longer waits for a row.
_APPLY = """
WITH input AS (
    SELECT *
    FROM unnest(
        CAST(:keys AS bigint[]), CAST(:statuses AS text[]), CAST(:previous AS text[]), CAST(:synced AS text[]),
        CAST(:cleared AS boolean[]), CAST(:versions AS integer[]), CAST(:notes AS text[])
    ) AS i (o_orderkey, status, previous_status, synced_status, cleared, version, note)
), overlay AS (
    INSERT INTO {schema}.order_status AS x (o_orderkey, status, version, synced_status, updated_by, updated_at)
    SELECT o_orderkey, CASE WHEN cleared THEN NULL ELSE status END, version, synced_status, :principal,
           statement_timestamp()
    FROM input
    ORDER BY o_orderkey
    ON CONFLICT (o_orderkey) DO UPDATE
        SET status = excluded.status, version = excluded.version, synced_status = excluded.synced_status,
            updated_by = excluded.updated_by, updated_at = excluded.updated_at
        WHERE x.version = excluded.version - 1
    RETURNING 1
), recorded AS (
    UPDATE {schema}.idempotency SET outcome = CAST(:outcome AS jsonb)
    WHERE principal = :principal AND key = CAST(:key AS uuid)
), change AS (
    INSERT INTO {schema}.order_status_change
        (o_orderkey, previous_status, status, cleared, synced_status, version, changed_by, changed_at, note)
    SELECT o_orderkey, previous_status, status, cleared, synced_status, version, :principal,
           statement_timestamp(), note
    FROM input
    WHERE (SELECT count(*) FROM overlay) = cardinality(CAST(:keys AS bigint[]))
    ORDER BY o_orderkey
    RETURNING {columns}
)
SELECT {fields} FROM change
"""
_REPLAYED = """
SELECT {fields}
FROM unnest(CAST(:keys AS bigint[]), CAST(:versions AS integer[])) AS k (o_orderkey, version)
JOIN {schema}.order_status_change USING (o_orderkey, version)
"""
_EXPIRE = """
DELETE FROM {schema}.idempotency
WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM {schema}.idempotency
    WHERE created_at < now() - make_interval(secs => :retention_seconds) LIMIT :size
))
RETURNING 1
"""


class WriteStatements:
    """The statements for our tables in one schema."""

    def __init__(self, tables: ChangeTables) -> None:
        self._tables = tables
        self._locked: tuple[Orders | None, sa.Select[Any] | None] = (None, None)
        self.claim = self._text(_CLAIM)
        self.recorded = self._text(_RECORDED)
        self.record = self._text(_RECORD)
        self.lock_overlay = self._text(_LOCK_OVERLAY)
        self.delete_unchanged = self._text(_DELETE_UNCHANGED)
        self.apply = self._text(_APPLY)
        self.replayed = self._text(_REPLAYED)
        self.expire = self._text(_EXPIRE)

    def names_ours(self, message: str) -> bool:
        """Whether PostgreSQL's error message names one of our tables."""
        tables = (self._tables.status, self._tables.change, self._tables.idempotency)
        ours = {self._tables.schema, *(table.name for table in tables), *(table.fullname for table in tables)}
        return not ours.isdisjoint(_NAME.findall(message))

    def locked(self, orders: Orders) -> sa.Select[Any]:
        """The state of the orders with the keys `keys`, locked in the order of their keys.

        A row has the key, whether the synced table has the order, whether that table has any order, the synced status,
        the overlay's status and the version. All values are of one moment, so an empty table is never mistaken for one
        without this order. The statement is composed once for a table: composing it takes longer than running it.
        """
        cached_for, statement = self._locked
        if cached_for is not orders or statement is None:
            statement = self._compose_locked(orders)
            self._locked = orders, statement
        return statement

    def _compose_locked(self, orders: Orders) -> sa.Select[Any]:
        overlay, synced = self._tables.status, orders.synced
        given = sa.bindparam("keys", type_=ARRAY(sa.BigInteger()))
        locked = (
            sa.select(overlay.c.o_orderkey, overlay.c.status, overlay.c.version)
            .where(overlay.c.o_orderkey == sa.any_(given))
            .order_by(overlay.c.o_orderkey)
            .with_for_update()
            .cte("locked")
            .prefix_with("MATERIALIZED")
        )
        wanted = sa.func.unnest(given).table_valued("o_orderkey", name="wanted").render_derived()
        key = synced.c[OrderColumn.ORDER_KEY.value]
        any_order = sa.exists(sa.select(sa.literal_column("1")).select_from(synced.alias()))
        return sa.select(
            wanted.c.o_orderkey,
            key.is_not(None),
            sa.case((key.is_(None), any_order), else_=sa.true()),
            as_text(synced.c[OrderColumn.STATUS.value]),
            locked.c.status,
            sa.func.coalesce(locked.c.version, 0),
        ).select_from(
            wanted.outerjoin(synced, key == wanted.c.o_orderkey).outerjoin(
                locked, locked.c.o_orderkey == wanted.c.o_orderkey
            )
        )

    def _text(self, template: str) -> sa.TextClause:
        for name, text in {
            "{schema}": quoted(self._tables.schema),
            "{columns}": CHANGE_COLUMNS,
            "{fields}": CHANGE_FIELDS,
        }.items():
            template = template.replace(name, text)
        return sa.text(template)
