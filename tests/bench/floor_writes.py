"""The floor for setOrderStatus: the server's own statements on asyncpg alone."""

from __future__ import annotations

import hashlib
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import orjson

from schema.orders.types import ORDERS
from server.changes.sql_writes import WriteStatements
from server.db.app_tables import change_tables, quoted
from server.db.driver import Compiled
from server.db.engine import create_engines
from server.lakebase.login.instances import Instances
from server.lakebase.platform.loader import PlatformLoader
from server.orders.orders_table import OrdersTable
from server.process.served_database import served_database
from server.tables.sql.rows import key_values, rows_by_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import asyncpg

    from server.orders.sql_merged import Orders
    from server.settings import Settings

# As counted in the access log. If the order is read afterwards, it is one more.
STATEMENTS: Final = 1
READ_OPERATION: Final = "SetAndRead"
_PRINCIPAL: Final = "floor"


async def _rows(connection: asyncpg.Connection, statement: Compiled, values: Mapping[str, Any]) -> list[Any]:
    rows: list[Any] = await connection.fetch(statement.text, *statement.values(values))
    return rows


class Floor:
    """One status change by the one statement of server/changes/status_writer.py."""

    def __init__(self, statements: WriteStatements, orders: Orders, settings: Settings) -> None:
        self._write = Compiled(statements.write)
        self._read = Compiled(rows_by_key(orders, (ORDERS["status"], ORDERS["status_version"])))
        self._retention = settings.idempotency_retention
        self._orders = ".".join(map(quoted, settings.orders_table.split(".")))

    async def set_status(
        self, connection: asyncpg.Connection, key: int, status: str, idempotency_key: str
    ) -> tuple[int, int]:
        """Make a change, and return its id and version."""
        (row,) = await _rows(
            connection,
            self._write,
            {
                "principal": _PRINCIPAL,
                "key": idempotency_key,
                "hash": hashlib.sha256(orjson.dumps([key, status])).digest(),
                "retention_seconds": self._retention,
                "orders": self._orders,
                "atomic": True,
                "keys": [key],
                "statuses": [status],
                "expected_statuses": [None],
                "expected_versions": [None],
                "notes": [None],
            },
        )
        return row["ids"][0], orjson.loads(row["outcomes"])[0]["version"]

    async def read(self, connection: asyncpg.Connection, key: int) -> Any:
        """The order's key, status and version, read by the statement that the payload's `order` runs."""
        (row,) = await _rows(connection, self._read, key_values([(key,)]))
        return row


@asynccontextmanager
async def floor_of(settings: Settings) -> AsyncIterator[tuple[Floor, list[asyncpg.Connection]]]:
    """The floor, and as many of the server's own write connections as its pool has, without SQLAlchemy."""
    engines = create_engines(settings, served_database(settings, Instances(settings, PlatformLoader(settings))))
    tables = change_tables(settings.app_schema)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(engines.dispose)
        async with engines.writes.connect() as connection:
            orders = await OrdersTable(settings.orders_table, tables).resolve(connection)
        pooled = [await engines.writes.take(brief=True) for _ in range(engines.writes.size)]
        for one in pooled:
            stack.callback(engines.writes.give_back, one)
        raw: list[Any] = [one.driver_connection for one in pooled]
        for connection in raw:
            # The server refuses a change that waits too long. The floor has no such error handling.
            await connection.execute("SET lock_timeout = 0; SET statement_timeout = 0")
        yield Floor(WriteStatements(tables), orders, settings), raw
