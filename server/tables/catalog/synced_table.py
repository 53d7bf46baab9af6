"""A synced table: looked up in the catalog when it is first needed, and again when it has changed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from schema.errors import UnavailableError
from schema.tables.registry import ORDERS_NAME
from server.db.errors import LOCKED, ORDERS_NAMED, TableNamed
from server.tables.catalog.column_types import TYPES
from server.tables.catalog.locks import locked_among
from server.tables.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from schema.ports.columns import Table

_DEFAULT_SCHEMA = "public"
# How often to look for a table that is missing or has the wrong columns.
_LOOK_AGAIN_SECONDS: Final = 1.0
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


def _nothing() -> None:
    pass


class Definition:
    """The name of a synced table in the database, and the columns that it has to have.

    Args:
        table: the table as the ports name it.
        name: its name in the database, with its schema or without.
        hidden: fields that the schema leaves out, as "Type.attribute". The table need not have their columns.
    """

    def __init__(self, table: Table, name: str, *, hidden: Collection[str] = ()) -> None:
        schema, _, self.name = name.rpartition(".")
        self.schema = schema or _DEFAULT_SCHEMA
        self.table = table
        self.columns = [
            column
            for column in table.columns
            if column.stored is not None and f"{table.type_name}.{column.name}" not in hidden
        ]

    @property
    def qualified_name(self) -> str:
        """The table's name with its schema."""
        return f"{self.schema}.{self.name}"

    @property
    def named(self) -> TableNamed:
        """How errors name the table."""
        return ORDERS_NAMED if self.table.name == ORDERS_NAME else TableNamed.of(self.table.name)

    async def read(self, connection: AsyncConnection) -> dict[str, str]:
        """The names of the table's columns and of their types, from the catalog; none if there is no such table."""
        rows = await connection.execute(_CATALOG_QUERY, {"schema": self.schema, "name": self.name})
        return dict(tuple(row) for row in rows)

    def build(self, found: Mapping[str, str]) -> sa.Table:
        """The table, with its columns keyed by the names of `Column`s and with their actual types.

        Raises:
            UnavailableError: the table does not exist, or has the wrong columns. The message says which.
        """
        if not found:
            raise self._unavailable("does not exist (yet)")
        columns: list[sa.Column[Any]] = []
        wrong: list[str] = []
        for column in self.columns:
            type_name = found.get(str(column.stored), "missing")
            type_ = TYPES[column.kind].get(type_name)
            if type_ is None:
                wrong.append(f"{column.stored} is {type_name} (it should be {' or '.join(TYPES[column.kind])})")
            else:
                columns.append(sa.Column(str(column.stored), type_, key=column.name))
        if wrong:
            raise self._unavailable("has the wrong columns", "; ".join(wrong))
        return sa.Table(self.name, sa.MetaData(), *columns, schema=self.schema)

    def _unavailable(self, what: str, details: str = "") -> UnavailableError:
        more = f": {details}" if details else ""
        return UnavailableError(
            self.named.reason,
            f"The table {self.qualified_name} {what}{more}. Try again later.",
            public=self.named.says(f"{{table}} {what}. Try again later."),
        )


class SyncedTable:
    """A served table of one database, other than the orders.

    A sync may drop and recreate it at any time. When a statement fails because of that, the table is looked up again.
    """

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.named = definition.named
        # Called when it is looked up, at first and after it was forgotten.
        self.looked_up: Callable[[], None] = _nothing
        self._state: Source | UnavailableError | None = None
        # The catalog's last answer, with what was built from it. If the answer is the same, the object is reused, and
        # so are the statements cached for it: a failure may cause many lookups.
        self._built: tuple[dict[str, str], Source] | None = None
        self._looked_at = 0.0

    @property
    def state(self) -> Source | UnavailableError | None:
        """The source as last looked up, or why there is none; None if it has to be looked up."""
        if isinstance(self._state, UnavailableError) and time.monotonic() - self._looked_at > _LOOK_AGAIN_SECONDS:
            return None
        return self._state

    @property
    def known(self) -> Source | None:
        """The source as last looked up; None if there was none, or it has to be looked up."""
        return self._state if isinstance(self._state, Source) else None

    async def resolve(self, connection: AsyncConnection) -> Source:
        """The source as it is known, or looked up on this connection.

        Raises:
            UnavailableError: TABLE_UNAVAILABLE. The message names the table, or what is wrong with its columns.
        """
        state = self.state
        if state is None:
            self.looked_up()
            state = self._state = await self._look_up(connection)
            self._looked_at = time.monotonic()
        if isinstance(state, UnavailableError):
            raise state
        return state

    def forget(self) -> None:
        """Look the table up again next time."""
        self._state = None

    def note_locked(self) -> None:
        """Refuse statements for a while: another transaction keeps the table from being read."""
        self._state, self._looked_at = self._locked(), time.monotonic()

    async def _look_up(self, connection: AsyncConnection) -> Source | UnavailableError:
        # Statements that wait for the lock hold the connections that statements on other tables need.
        if await locked_among([self.definition.qualified_name], connection):
            return self._locked()
        return self._built_from(await self.definition.read(connection))

    def _locked(self) -> UnavailableError:
        return UnavailableError(self.named.reason, f"{self.named.says(LOCKED)} Try again later.")

    def _built_from(self, columns: dict[str, str]) -> Source | UnavailableError:
        if self._built is None or self._built[0] != columns:
            try:
                self._built = columns, Source(self.definition.table, self.definition.build(columns))
            except UnavailableError as error:
                return error
        return self._built[1]
