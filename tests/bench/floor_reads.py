"""The floor for reads: what an expert would write by hand for exactly these requests, without GraphQL."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import orjson

from schema.orders.enums import OrderPriority, OrderStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

_CONNECTIONS: Final = 10
_PRIORITIES: Final = {str(priority.value): priority.name for priority in OrderPriority}
_STATUSES: Final = {str(status.value): status.name for status in OrderStatus}
_COLUMNS: Final = (
    "o.o_orderkey, o.o_custkey, o.o_totalprice::text, o.o_orderdate, o.o_orderpriority, o.o_clerk, o.o_shippriority, "
    "o.o_comment"
)
_ESTIMATE: Final = "SELECT reltuples::bigint FROM pg_class WHERE oid = $1::regclass"


class FloorReads:
    """Each operation is a method with one prepared statement for each page size.

    Args:
        table: the orders table.
        overlay: the table of statuses set through the API.
    """

    def __init__(self, table: str, overlay: str) -> None:
        self._table = table
        self._merged = (
            f"coalesce(s.status, o.o_orderstatus) FROM {table} AS o LEFT JOIN LATERAL "
            f"(SELECT status FROM {overlay} WHERE o_orderkey = o.o_orderkey OFFSET 0) AS s ON true"
        )
        self._pool: asyncpg.Pool
        self.operations: Mapping[str, Callable[[dict[str, Any]], Awaitable[Any]]] = {
            "Page": self._page,
            "FewPage": self._few,
            "StatusPage": self._with_status,
            "FilteredPage": self._filtered,
            "BackwardPage": self._backward,
            "CountedPage": self._counted,
            "Single": self._single,
            "Several": self._several,
        }

    async def open(self, url: str) -> None:
        """Open the connections."""
        # No reset: it costs a statement each time, and these requests leave nothing to undo.
        self._pool = await asyncpg.create_pool(url, min_size=_CONNECTIONS, max_size=_CONNECTIONS, reset=_nothing)

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.close()

    async def _page(self, variables: dict[str, Any]) -> Any:
        rows = await self._rows(f"{_COLUMNS} FROM {self._table} AS o", variables)
        return {"orders": _connection(rows, variables["first"], _node)}

    async def _few(self, variables: dict[str, Any]) -> Any:
        rows = await self._rows(f"o.o_orderkey, o.o_totalprice::text FROM {self._table} AS o", variables)
        size = variables["first"]
        edges = [{"node": {"orderKey": str(key), "totalPrice": price}} for key, price in rows[:size]]
        end = _cursor(rows[len(edges) - 1][0]) if edges else None
        return {"orders": {"edges": edges, "pageInfo": {"hasNextPage": len(rows) > size, "endCursor": end}}}

    async def _with_status(self, variables: dict[str, Any]) -> Any:
        rows = await self._rows(f"{_COLUMNS}, {self._merged}", variables)
        return {"orders": _connection(rows, variables["first"], _node_with_status)}

    async def _filtered(self, variables: dict[str, Any]) -> Any:
        wanted = variables["filter"]
        rows = await self._rows(
            f"{_COLUMNS} FROM {self._table} AS o",
            variables,
            "AND o.o_orderdate >= $2 AND o.o_orderdate < $3 AND o.o_totalprice >= $4",
            date.fromisoformat(wanted["orderDate"]["gte"]),
            date.fromisoformat(wanted["orderDate"]["lt"]),
            Decimal(wanted["totalPrice"]["gte"]),
        )
        return {"orders": _connection(rows, variables["first"], _node)}

    async def _backward(self, variables: dict[str, Any]) -> Any:
        size = int(variables["last"])
        async with self._pool.acquire() as connection:
            rows = await connection.fetch(
                f"SELECT {_COLUMNS} FROM {self._table} AS o WHERE o.o_orderkey < $1 "
                f"ORDER BY o.o_orderkey DESC LIMIT {size + 1}",
                _key(variables["before"]),
            )
        edges = [_edge(row, _node) for row in reversed(rows[:size])]
        start = edges[0]["cursor"] if edges else None
        return {"orders": {"edges": edges, "pageInfo": {"hasPreviousPage": len(rows) > size, "startCursor": start}}}

    async def _counted(self, variables: dict[str, Any]) -> Any:
        page = await self._page(variables)
        async with self._pool.acquire() as connection:
            page["orders"]["totalCount"] = await connection.fetchval(_ESTIMATE, self._table)
        return page

    async def _single(self, variables: dict[str, Any]) -> Any:
        async with self._pool.acquire() as connection:
            row = await connection.fetchrow(
                f"SELECT {_COLUMNS} FROM {self._table} AS o WHERE o.o_orderkey = $1", int(variables["key"])
            )
        return {"order": None if row is None else _node(*row)}

    async def _several(self, variables: dict[str, Any]) -> Any:
        keys = [int(key) for key in variables.values()]
        async with self._pool.acquire() as connection:
            rows = await connection.fetch(
                f"SELECT {_COLUMNS} FROM {self._table} AS o WHERE o.o_orderkey = ANY($1::bigint[])", keys
            )
        nodes = {row[0]: _node(*row) for row in rows}
        return {f"order{index}": nodes.get(key) for index, key in enumerate(keys)}

    async def _rows(
        self, selected: str, variables: dict[str, Any], conditions: str = "", *values: object
    ) -> Sequence[Any]:
        statement = (
            f"SELECT {selected} WHERE o.o_orderkey > $1 {conditions} "
            f"ORDER BY o.o_orderkey LIMIT {int(variables['first']) + 1}"
        )
        async with self._pool.acquire() as connection:
            rows: list[Any] = await connection.fetch(statement, _key(variables["after"]), *values)
        return rows


async def _nothing(_connection: asyncpg.Connection) -> None:
    pass


def _connection(rows: Sequence[Any], size: int, node: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    edges = [_edge(row, node) for row in rows[:size]]
    end = edges[-1]["cursor"] if edges else None
    return {"edges": edges, "pageInfo": {"hasNextPage": len(rows) > size, "endCursor": end}}


def _edge(row: Any, node: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return {"cursor": _cursor(row[0]), "node": node(*row)}


def _node(
    key: int, customer: int, price: str, day: date, priority: str, clerk: str, ship_priority: int, comment: str
) -> dict[str, Any]:
    return {
        "orderKey": str(key),
        "customerKey": str(customer),
        "totalPrice": price,
        "orderDate": day,
        "orderPriority": _PRIORITIES[priority],
        "clerk": clerk,
        "shipPriority": ship_priority,
        "comment": comment,
    }


def _node_with_status(*values: Any) -> dict[str, Any]:
    *plain, status = values
    return {**_node(*plain), "status": _STATUSES[status]}


def _cursor(key: int) -> str:
    return urlsafe_b64encode(b'[1,"order_key+",%d]' % key).rstrip(b"=").decode()


def _key(cursor: str) -> int:
    _, _, key = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    return int(key)
