"""The schema's OrderGroupStore, over PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, cast

from async_lru import alru_cache

from schema.ports.groups import Group, Groups
from schema.ports.values import PriceStats
from schema.tables.registry import ORDERS_NAME
from server.orders.sql_groups import groups_statement
from server.tables.catalog.served import Sources
from server.traffic.admission import giving_way

if TYPE_CHECKING:
    from collections.abc import Callable

    from schema.ports.groups import GroupRequest
    from schema.ports.values import Conditions
    from server.db.engine import Engines
    from server.orders.sql_merged import Orders
    from server.tables.reading.reader import Reader

# Requests whose groups are kept: a thousand groups of each take some hundred kilobytes.
_REMEMBERED: Final = 32
_NO_SOURCES: Final = Sources({})


class SqlOrderGroups:
    """Groups orders in one statement. Without conditions, requests share its result for a while.

    Args:
        engines: the pools.
        reader_of: what reads orders with conditions.
        together: reads several tables.
        aggregate_ttl: how long groups of all orders are reused, in seconds.
    """

    def __init__(
        self,
        engines: Engines,
        reader_of: Callable[[Conditions], Reader[Orders]],
        together: Reader[Sources],
        *,
        aggregate_ttl: float,
    ) -> None:
        self._pool = engines.aggregates
        self._reader_of = reader_of
        self._together = together
        self._of_all = alru_cache(maxsize=_REMEMBERED, ttl=aggregate_ttl)(self._read)

    async def groups(self, request: GroupRequest) -> Groups:
        """The groups, from one statement or from the cache."""
        with giving_way():
            return await (self._read(request) if request.conditions else self._of_all(request))

    async def _read(self, request: GroupRequest) -> Groups:
        as_of = datetime.now(UTC)
        if request.tables:
            rows = await self._together.fetch(
                self._pool,
                lambda sources: groups_statement(cast("Orders", sources[ORDERS_NAME]), sources, request),
            )
        else:
            reader = self._reader_of(request.conditions)
            rows = await reader.fetch(self._pool, lambda orders: groups_statement(orders, _NO_SOURCES, request))
        width = len(request.by)
        groups = [Group(tuple(row[:width]), PriceStats(*row[width:])) for row in rows[: request.size]]
        return Groups(groups, more=len(rows) > request.size, as_of=as_of)
