"""The orders table: looked up in the catalog when it is first needed, and again when it has changed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BIGINT, DATE, INTEGER, NUMERIC, SMALLINT, TEXT

from schema.errors import Reason, UnavailableError
from schema.orders.types import ORDERS
from schema.ports.columns import Kind
from server.orders.sql_merged import Orders

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from server.db.app_tables import ChangeTables

_DEFAULT_SCHEMA = "public"
COLUMN_NAMES: Final = {column: column.stored for column in ORDERS.columns if column.stored is not None}


class BlankPadded(sa.types.UserDefinedType[str]):
    """PostgreSQL's char(n).

    SQLAlchemy's CHAR would cast a parameter to `CHAR`, which is char(1) and cuts it. A cast to `BPCHAR` keeps its
    length, and PostgreSQL can use an index on the column.
    """

    cache_ok = True
    render_bind_cast = True

    def get_col_spec(self, **_keywords: object) -> str:
        """The type's name, without a length."""
        return "BPCHAR"

    def column_expression(self, column: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
        """The column in a select list: a cast to text removes the padding."""
        return sa.cast(column, TEXT())


class AsText(BlankPadded):
    """PostgreSQL's text and varchar, read with the cast that char(n) needs. The cast costs nothing here.

    A sync may recreate the table with char(n) columns. Then only statements that were prepared before fail. Without
    the cast, all others would return padded values.
    """

    cache_ok = True

    def get_col_spec(self, **_keywords: object) -> str:
        """The type's name."""
        return "TEXT"


_INTEGERS: Mapping[str, sa.types.TypeEngine[Any]] = {
    "int8": BIGINT(),
    "int4": INTEGER(),
    "int2": SMALLINT(),
}
_TEXTS: Mapping[str, sa.types.TypeEngine[Any]] = {
    "text": AsText(),
    "varchar": AsText(),
    "bpchar": BlankPadded(),
}
_TYPES: Final[dict[Kind, Mapping[str, sa.types.TypeEngine[Any]]]] = {
    Kind.INTEGER: _INTEGERS,
    Kind.TEXT: _TEXTS,
    Kind.DECIMAL: {"numeric": NUMERIC()},
    Kind.DATE: {"date": DATE()},
}

_CATALOG_QUERY = sa.text(
    """
    SELECT a.attname, t.typname
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    WHERE n.nspname = :schema AND c.relname = :name AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND a.attnum > 0 AND NOT a.attisdropped
    """
)
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
        schema, _, table = name.rpartition(".")
        self._schema = schema or _DEFAULT_SCHEMA
        self._name = table
        self._changes = changes
        # Called when it is looked up, at first and after it was forgotten.
        self.looked_up: Callable[[], None] = _nothing
        self._columns = [column for column in COLUMN_NAMES if column.name not in hidden]
        self._found: Orders | None = None
        # The last result of a lookup, with the catalog's answer that it was built from. If the answer is the same, the
        # object is reused, and so are the statements cached for it: a failure may cause many lookups.
        self._built: tuple[tuple[dict[str, str], bool], Orders] | None = None
        self._looked_at = 0.0

    @property
    def qualified_name(self) -> str:
        """The table's name with its schema."""
        return f"{self._schema}.{self._name}"

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
            rows = await connection.execute(_CATALOG_QUERY, {"schema": self._schema, "name": self._name})
            columns: dict[str, str] = dict(tuple(row) for row in rows)
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
            orders = Orders(self._build(columns), self._changes.status if has_overlay else None)
            self._built = (columns, has_overlay), orders
        return self._built[1]

    def _build(self, found: Mapping[str, str]) -> sa.Table:
        if not found:
            raise UnavailableError(
                Reason.ORDERS_UNAVAILABLE,
                f"The table {self.qualified_name} does not exist (yet). Try again later.",
                public="The orders table does not exist (yet). Try again later.",
            )
        columns, wrong = [], []
        for column in self._columns:
            name = COLUMN_NAMES[column]
            type_name = found.get(name, "missing")
            type_ = _TYPES[column.kind].get(type_name)
            if type_ is None:
                wrong.append(f"{name} is {type_name} (it should be {' or '.join(_TYPES[column.kind])})")
            else:
                columns.append(sa.Column(name, type_, key=column.name))
        if wrong:
            raise UnavailableError(
                Reason.ORDERS_UNAVAILABLE,
                f"The table {self.qualified_name} has the wrong columns: {'; '.join(wrong)}. Try again later.",
                public="The orders table has the wrong columns. Try again later.",
            )
        return sa.Table(self._name, sa.MetaData(), *columns, schema=self._schema)
