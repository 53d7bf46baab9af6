"""Owns the SQL of a status change: the key claimed, the orders locked, the change made, the outcome recorded."""

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

# The row of a key that has expired is taken over; one that has not is locked until the transaction's end, and gives
# no row. A transaction that holds the same key is waited for: its outcome is the answer, or it left none.
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
# Of a list of orders some have a row to lock and some have none yet, and two lists that lock the one kind first and
# insert the other afterwards may wait for each other. So a list takes all its rows in the order of their keys, and
# inserts those that are missing: ON CONFLICT locks a row that it does not update. What is then not changed is taken
# away again, in the same transaction, so that nobody ever sees a row of version 0.
_TAKE = """
INSERT INTO {schema}.order_status AS x (o_orderkey, version, updated_by, updated_at)
SELECT k, 0, '', now() FROM unnest(CAST(:keys AS bigint[])) AS k ORDER BY k
ON CONFLICT (o_orderkey) DO UPDATE SET version = x.version WHERE false
"""
_LEAVE = "DELETE FROM {schema}.order_status WHERE version = 0 AND o_orderkey = ANY(CAST(:keys AS bigint[]))"
# A row that has come since the orders were locked is not overwritten, and then nothing is: no change is
# inserted, and the caller begins again. The count of the overlay's rows is known before the first change is
# inserted, and so before the feed's lock is taken (see the migration): who holds it waits for no row any more.
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
SELECT {columns} FROM change
"""
_REPLAYED = """
SELECT {columns}
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
    """The statements for the tables in one schema."""

    def __init__(self, tables: ChangeTables) -> None:
        self._tables = tables
        self._locked: tuple[Orders | None, sa.Select[Any] | None] = (None, None)
        self.claim = self._text(_CLAIM)
        self.recorded = self._text(_RECORDED)
        self.record = self._text(_RECORD)
        self.take = self._text(_TAKE)
        self.leave = self._text(_LEAVE)
        self.apply = self._text(_APPLY)
        self.replayed = self._text(_REPLAYED)
        self.expire = self._text(_EXPIRE)

    def names_ours(self, message: str) -> bool:
        """Whether PostgreSQL complains of one of our tables."""
        tables = (self._tables.status, self._tables.change, self._tables.idempotency)
        ours = {self._tables.schema, *(table.name for table in tables), *(table.fullname for table in tables)}
        return not ours.isdisjoint(_NAME.findall(message))

    def locked(self, orders: Orders) -> sa.Select[Any]:
        """The orders with the keys `keys` as they are, locked in the order of their keys.

        Rows of: key, whether the synced table has it, whether that has any order, synced status, status set here
        and version. All are of one moment, so that an empty table is never taken for one that lacks an order.
        Composed once for a table as it is found, because composing it takes longer than running it.
        """
        known, statement = self._locked
        if known is not orders or statement is None:
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
        return sa.text(template.replace("{schema}", quoted(self._tables.schema)).replace("{columns}", CHANGE_COLUMNS))
