"""The orders table: looked up in the catalog when it is first needed, and again when it has changed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import sqlalchemy as sa

from schema.orders.types import ORDERS
from server.db.errors import ORDERS_NAMED
from server.orders.sql_merged import Orders
from server.tables.catalog.synced_table import Definition

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from sqlalchemy.ext.asyncio import AsyncConnection

    from server.db.app_tables import ChangeTables

# Whether the overlay exists with the columns that this code knows, and may be read. This asks the catalog, which every
# user may read: to_regclass raises an error for a schema that the user may not use.
_READABLE_QUERY = sa.text(
    """
    SELECT count(*) = 6
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    WHERE n.nspname = :schema AND c.relname = 'order_status'
      AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
      AND (a.attname, t.typname) IN (
          ('o_orderkey', 'int8'), ('status', 'text'), ('version', 'int4'), ('synced_status', 'text'),
          ('updated_by', 'text'), ('updated_at', 'timestamptz')
      )
    """
)
# How often to look for a missing overlay.
_LOOK_AGAIN_SECONDS = 5.0


def _nothing() -> None:
    pass


class OrdersTable:
    """The orders table of one database.

    A sync may drop and recreate it at any time. When a statement fails because of that, the table is looked up again.
    """

    def __init__(self, name: str, changes: ChangeTables, *, hidden: Collection[str] = ()) -> None:
        self.named = ORDERS_NAMED
        self._definition = Definition(ORDERS, name, hidden=hidden)
        self._changes = changes
        # Called when it is looked up, at first and after it was forgotten.
        self.looked_up: Callable[[], None] = _nothing
        self._found: Orders | None = None
        # The last result of a lookup, with the catalog's answer that it was built from. If the answer is the same, the
        # object is reused, and so are the statements cached for it: a failure may cause many lookups.
        self._built: tuple[tuple[dict[str, str], bool], Orders] | None = None
        self._looked_at = 0.0

    @property
    def qualified_name(self) -> str:
        """The table's name with its schema."""
        return self._definition.qualified_name

    @property
    def known(self) -> Orders | None:
        """The orders as last looked up; None if they have to be looked up, which only the primary may answer."""
        found = self._found
        return None if found is None or self._overlay_may_exist_now(found) else found

    async def resolve(self, connection: AsyncConnection) -> Orders:
        """The synced table, its columns keyed by the names of `Column`s and with their actual types, and the overlay.

        Raises:
            UnavailableError: ORDERS_UNAVAILABLE. The message names the table, or what is wrong with its columns.
        """
        if self._found is None:
            self.looked_up()
        if self._found is None or self._overlay_may_exist_now(self._found):
            columns = await self._definition.read(connection)
            readable = await connection.execute(_READABLE_QUERY, {"schema": self._changes.schema})
            self._found = self._orders_of(columns, has_overlay=bool(readable.scalar_one()))
            self._looked_at = time.monotonic()
        return self._found

    def _overlay_may_exist_now(self, found: Orders) -> bool:
        # Another process may create it, or its owner may grant access, at any time. This process is not notified.
        return found.overlay is None and time.monotonic() - self._looked_at > _LOOK_AGAIN_SECONDS

    def forget(self) -> None:
        """Look the table up again next time."""
        self._found = None

    def _orders_of(self, columns: dict[str, str], *, has_overlay: bool) -> Orders:
        if self._built is None or self._built[0] != (columns, has_overlay):
            orders = Orders(self._definition.build(columns), self._changes.status if has_overlay else None)
            self._built = (columns, has_overlay), orders
        return self._built[1]
