"""The root fields that read orders. Arguments become a call of a port, and its result becomes GraphQL types."""

from __future__ import annotations

import functools
from typing import Annotated, Any, cast

import strawberry
from strawberry import UNSET

from schema.access import Requires
from schema.context import Info  # noqa: TC001 # Strawberry reads the annotations at run time
from schema.errors import InputError, Reason
from schema.orders.arguments import (
    OrderFilter,
    OrderOrder,
    OrderStatusChangeFilter,
    checked_text,
    chosen_orders,
)
from schema.orders.groups import (
    GROUP_LIMITS,
    OrderGroupBy,
    OrderGroupHaving,
    OrderGroupOrder,
    OrderGroups,
    group_request,
)
from schema.orders.pages import OrderConnection, OrderPage
from schema.orders.statistics import OrderCount, OrderStats
from schema.orders.types import (
    ORDERS,
    Order,
    OrderStatusChangeConnection,
    change_window,
)
from schema.permissions import Role
from schema.ports.changes import NO_CHANGES, ChangeFilter
from schema.ports.values import NO_ROWS, StatsGroup
from schema.relay.pagination import given, page_size, page_window
from schema.relay.selection import Selection, reads_page_below
from schema.tables.arguments import ORDER_BY, ordering_of
from schema.tables.conditions import conditions_of
from schema.tables.fields import SIZES, root_page, root_row
from schema.tables.freshness import freshness_field
from schema.tables.rows import columns_of, rows_in, selected_columns

# The registry finds the types of orders here (schema/tables/registry.py).
__all__ = ["Order", "OrderConnection", "OrderFilter", "OrderOrder", "Queries"]

_Filter = Annotated[
    OrderFilter | None,
    strawberry.argument(description="Which orders to include; all if absent."),
]
_OrderBy = Annotated[
    list[OrderOrder] | None,
    strawberry.argument(description=ORDER_BY),
]
_FIRST_PAGE = 1
_reads = functools.partial(strawberry.field, extensions=(Requires(Role.READER),))
_SAMPLE_SIZE = 10


@strawberry.type
class Queries:
    """The root fields for readers. A field that fails is null; the others keep their data."""

    orders: Any = root_page(
        "orders",
        "Orders, page by page (Relay). Page forward with `first` and `after`, backward with `last` and `before`. "
        "Without them you get the first page. Every page costs as little as the first.",
    )
    order: Any = root_row("orders", "The order with this key, or null if there is none.", key="order_key")
    freshness = freshness_field(
        ORDERS,
        "How fresh the synced orders are. Null if that is not known: without a Lakebase, and for a moment after the "
        "server's start. It reads no table, and does not wake the database.",
        extensions=[Requires(Role.READER)],
    )

    @_reads(description="A numbered page of orders, for user interfaces with page numbers. Prefer `orders`.")
    async def orders_page(
        self,
        info: Info,
        page: Annotated[
            int | None, strawberry.argument(description="The number of the page. Numbers start at 1.")
        ] = _FIRST_PAGE,
        page_size_: Annotated[
            int | None,
            strawberry.argument(
                name="pageSize",
                description="The page size: from 1 to 1,000, by default 50, unless the server is configured otherwise.",
            ),
        ] = UNSET,
        filter: _Filter = UNSET,  # noqa: A002 # the argument's name in the schema
        order_by: _OrderBy = UNSET,
        include_count: Annotated[  # noqa: FBT002 # an argument of GraphQL, always named
            bool | None, strawberry.argument(description="Whether to count all matching orders.")
        ] = True,
    ) -> OrderPage | None:
        """Run at most one statement for the page. The orders are counted only if the count is selected."""
        size = page_size(given(page_size_), info.context.limits, argument="pageSize")
        page = _FIRST_PAGE if page is None else page
        if page < 1 or size < 1:
            raise InputError(Reason.PAGE_SIZE_INVALID, "`page` and `pageSize` must be at least 1.")
        conditions, selected = conditions_of(ORDERS, given(filter)), Selection.below(info, "OrderPage").fields()
        found = NO_ROWS
        if {"nodes", "hasNextPage"} & selected.keys():
            found = await info.context.orders.numbered_page(
                ordering_of(ORDERS, order_by),
                conditions,
                columns_of(ORDERS, [selected.get("nodes")]),
                offset=(page - 1) * size,
                size=size,
            )
        return OrderPage(
            nodes=cast("list[Order | None]", rows_in(ORDERS, found.block)),
            page=page,
            page_size=size,
            has_next_page=found.more_ahead,
            has_previous_page=page > _FIRST_PAGE,
            conditions=conditions,
            counted=include_count is not False,
        )

    @_reads(description="The exact number of orders that match the filter.")
    async def order_count(self, info: Info, filter: _Filter = UNSET) -> OrderCount | None:  # noqa: A002 # the argument's name in the schema
        """Without a filter, all requests within a few seconds share one count."""
        return OrderCount.of(await info.context.tables.count(ORDERS, conditions_of(ORDERS, given(filter))))

    @_reads(description="Statistics of the orders that match the filter, in total and by group.")
    async def order_stats(self, info: Info, filter: _Filter = UNSET) -> OrderStats | None:  # noqa: A002 # the argument's name in the schema
        """Run one statement, for just the selected groups."""
        selected = Selection.below(info, "OrderStats").fields()
        groups = frozenset(
            group
            for field, group in {"byStatus": StatsGroup.STATUS, "byPriority": StatsGroup.PRIORITY}.items()
            if field in selected
        )
        return OrderStats.of(await info.context.orders.stats(conditions_of(ORDERS, given(filter)), groups))

    @_reads(
        description=(
            "The orders that match the filter, grouped by one or two values: their number and their total prices in "
            "each group. A narrow filter on an indexed field makes it fast; without one, all orders are read."
        )
    )
    async def order_groups(
        self,
        info: Info,
        by: Annotated[
            list[OrderGroupBy],
            strawberry.argument(description="What to group by: one or two values, none of them twice."),
        ],
        filter: _Filter = UNSET,  # noqa: A002 # the argument's name in the schema
        having: Annotated[
            OrderGroupHaving | None, strawberry.argument(description="Which groups to return; all if absent.")
        ] = UNSET,
        order_by: Annotated[
            OrderGroupOrder | None, strawberry.argument(description="How to sort the groups; by their keys if absent.")
        ] = UNSET,
        first: Annotated[
            int | None, strawberry.argument(description="How many groups to return at most, from 0 to 1,000.")
        ] = GROUP_LIMITS.default,
    ) -> OrderGroups | None:
        """Run one statement. The nations of all groups are read in another one."""
        selected = Selection.below(info, "OrderGroups").fields().get("groups")
        request = group_request(
            by,
            conditions_of(ORDERS, given(filter)),
            given(having),
            given(order_by),
            first,
            prices=selected is not None and "totalPrice" in selected.fields(),
        )
        return OrderGroups.of(await info.context.groups.groups(request), request.by)

    @_reads(description="Distinct orders drawn at random, each equally likely. Cheap even on a large table.")
    async def order_sample(
        self,
        info: Info,
        size: Annotated[
            int | None,
            strawberry.argument(
                description="How many orders to draw, from 0 to 1,000. You get fewer if there are fewer."
            ),
        ] = _SAMPLE_SIZE,
    ) -> list[Order | None] | None:
        """The orders come in random order."""
        size = page_size(_SAMPLE_SIZE if size is None else size, info.context.limits, argument="size")
        columns = selected_columns(info, ORDERS)
        return cast("list[Order | None]", rows_in(ORDERS, await info.context.orders.sample(size, columns)))

    @_reads(
        description=(
            "The status changes of all orders through this API, oldest first; `last: 10` gives the latest ten. "
            "`orderStatusChanged` continues this history live: load a page, then subscribe with its `headCursor` as "
            "`after`."
        )
    )
    async def order_status_changes(
        self,
        info: Info,
        first: Annotated[
            int | None, strawberry.argument(description=f"How many changes to return after `after`: {SIZES}.")
        ] = UNSET,
        after: Annotated[
            str | None, strawberry.argument(description="Return changes after this cursor, of a change or an event.")
        ] = UNSET,
        last: Annotated[
            int | None, strawberry.argument(description=f"How many changes to return before `before`: {SIZES}.")
        ] = UNSET,
        before: Annotated[str | None, strawberry.argument(description="Return changes before this cursor.")] = UNSET,
        filter: Annotated[  # noqa: A002 # the argument's name in the schema
            OrderStatusChangeFilter | None,
            strawberry.argument(description="Which changes to return; all if absent."),
        ] = UNSET,
    ) -> OrderStatusChangeConnection | None:
        """Run at most one statement, besides the one that reads the head."""
        window = change_window(
            page_window(
                info.context.limits,
                first=given(first),
                after=given(after),
                last=given(last),
                before=given(before),
            )
        )
        chosen = ChangeFilter(
            chosen_orders(filter.order_keys, argument="filter.orderKeys") if filter else None,
            checked_text(given(filter.changed_by), argument="filter.changedBy") if filter else None,
        )
        head, page = info.context.head, NO_CHANGES
        # Reading the page also checks its cursor.
        if window.position is not None or reads_page_below(info, "OrderStatusChangeConnection", window.size):
            page = await info.context.history.page(window, chosen, until=head)
        return OrderStatusChangeConnection.of(page, window, head=head)
