"""Owns the root fields that read orders: arguments become a question to a port, and its answer becomes types."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Annotated

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
    conditions_of,
    ordering_of,
)
from schema.orders.pages import OrderConnection, OrderPage, cursor_columns
from schema.orders.statistics import OrderCount, OrderStats
from schema.orders.types import (
    Order,
    OrderStatusChangeConnection,
    change_window,
    order_columns,
    orders_in,
    selected_order,
)
from schema.permissions import Role
from schema.ports.changes import ChangeFilter, ChangePage
from schema.ports.values import StatsGroup
from schema.relay.pagination import given, page_request, page_size, page_window
from schema.relay.selection import Selection
from schema.scalars import BigInt  # noqa: TC001 # as above

_Filter = Annotated[
    OrderFilter | None,
    strawberry.argument(description="Which orders to take; all of them where it is absent."),
]
_OrderBy = Annotated[
    OrderOrder | None,
    strawberry.argument(description="How to sort; by order key, ascending, where it is absent."),
]
# The defaults of the settings that say otherwise.
_SIZES = "50 where it is absent, from 0 to 1,000 unless the server is set otherwise"
_FIRST_PAGE = 1
_reads = functools.partial(strawberry.field, extensions=(Requires(Role.READER),))
_SAMPLE_SIZE = 10


@strawberry.type
class OrderQueries:
    """The root fields of readers. A field that fails is null and leaves the others alone."""

    @_reads(
        description=(
            "Orders, page by page (Relay). Go forward with `first` and `after`, back with `last` and `before`; "
            "neither gives the first page. Any page costs what the first one costs."
        )
    )
    async def orders(
        self,
        info: Info,
        first: Annotated[
            int | None,
            strawberry.argument(description=f"How many orders to take after `after`: {_SIZES}."),
        ] = UNSET,
        after: Annotated[
            str | None,
            strawberry.argument(description="The cursor to start after: `pageInfo.endCursor`, say."),
        ] = UNSET,
        last: Annotated[
            int | None,
            strawberry.argument(description=f"How many orders to take before `before`: {_SIZES}."),
        ] = UNSET,
        before: Annotated[
            str | None,
            strawberry.argument(description="The cursor to end before: `pageInfo.startCursor`, say."),
        ] = UNSET,
        filter: _Filter = UNSET,  # noqa: A002 # the argument's name in the schema
        order_by: _OrderBy = UNSET,
    ) -> OrderConnection | None:
        """One statement at most, for just the columns selected; none where nothing of the page is."""
        request = page_request(
            info.context.limits,
            ordering_of(order_by),
            conditions_of(filter),
            first=given(first),
            after=given(after),
            last=given(last),
            before=given(before),
        )
        selected = Selection.below(info, "OrderConnection").fields()
        if not {"edges", "nodes", "pageInfo"} & selected.keys():
            return OrderConnection.of(request, None, with_cursors=False)
        edges, page_info = (part.fields() if (part := selected.get(name)) else {} for name in ("edges", "pageInfo"))
        columns = order_columns(selected.get("nodes"), edges.get("node"))
        if with_cursors := "cursor" in edges or bool({"startCursor", "endCursor"} & page_info.keys()):
            columns |= cursor_columns(request.ordering)
        behind = "hasNextPage" if request.backward else "hasPreviousPage"
        page = await info.context.orders.page(replace(request, look_back=behind in page_info), columns)
        return OrderConnection.of(request, page, with_cursors=with_cursors)

    @_reads(description="The order with this key, or null where there is none.")
    async def order(
        self,
        info: Info,
        order_key: Annotated[BigInt, strawberry.argument(description="The order's own key.")],
    ) -> Order | None:
        """All `order`, `node` and `nodes` of an operation share one statement."""
        return await selected_order(info, order_key)

    @_reads(description="A page of orders by its number, for interfaces with page numbers. Prefer `orders`.")
    async def orders_page(
        self,
        info: Info,
        page: Annotated[int | None, strawberry.argument(description="The page's number, from 1.")] = _FIRST_PAGE,
        page_size_: Annotated[
            int | None,
            strawberry.argument(
                name="pageSize",
                description="How many orders a page holds: 50 where absent, from 1 to 1,000 unless set otherwise.",
            ),
        ] = UNSET,
        filter: _Filter = UNSET,  # noqa: A002 # the argument's name in the schema
        order_by: _OrderBy = UNSET,
        include_count: Annotated[  # noqa: FBT002 # an argument of GraphQL, always named
            bool | None, strawberry.argument(description="Whether to count all orders that match.")
        ] = True,
    ) -> OrderPage | None:
        """One statement for the page; the count is taken where it is selected."""
        size = page_size(given(page_size_), info.context.limits, argument="pageSize")
        page = _FIRST_PAGE if page is None else page
        if page < 1 or size < 1:
            raise InputError(Reason.PAGE_SIZE_INVALID, "`page` and `pageSize` start at 1.")
        conditions, selected = conditions_of(filter), Selection.below(info, "OrderPage").fields()
        found = await info.context.orders.numbered_page(
            ordering_of(order_by),
            conditions,
            order_columns(selected.get("nodes")),
            offset=(page - 1) * size,
            size=size,
        )
        return OrderPage(
            nodes=list(orders_in(found.block)),
            page=page,
            page_size=size,
            has_next_page=found.more_ahead,
            has_previous_page=found.any_behind,
            conditions=conditions,
            counted=include_count is not False,
        )

    @_reads(description="How many orders match the filter, exactly.")
    async def order_count(self, info: Info, filter: _Filter = UNSET) -> OrderCount | None:  # noqa: A002 # the argument's name in the schema
        """Over all orders the count is shared by all who ask within a few seconds."""
        return OrderCount.of(await info.context.orders.count(conditions_of(filter)))

    @_reads(description="What the orders that match the filter come to, in all and by group.")
    async def order_stats(self, info: Info, filter: _Filter = UNSET) -> OrderStats | None:  # noqa: A002 # the argument's name in the schema
        """One statement, for just the groups selected."""
        selected = Selection.below(info, "OrderStats").fields()
        groups = frozenset(
            group
            for field, group in {"byStatus": StatsGroup.STATUS, "byPriority": StatsGroup.PRIORITY}.items()
            if field in selected
        )
        return OrderStats.of(await info.context.orders.stats(conditions_of(filter), groups))

    @_reads(description="Different orders drawn at random, each equally likely. Cheap on a large table.")
    async def order_sample(
        self,
        info: Info,
        size: Annotated[
            int | None,
            strawberry.argument(description="How many to draw, from 0 to 1,000; fewer come where there are fewer."),
        ] = _SAMPLE_SIZE,
    ) -> list[Order | None] | None:
        """In random order."""
        size = page_size(_SAMPLE_SIZE if size is None else size, info.context.limits, argument="size")
        columns = order_columns(Selection.below(info, "Order"))
        return list(orders_in(await info.context.orders.sample(size, columns)))

    @_reads(
        description=(
            "The status changes that were made here, of all orders, oldest first (`last: 10` are the latest): the "
            "history that `orderStatusChanged` goes on with. Load, take `headCursor`, and subscribe with it as `after`."
        )
    )
    async def order_status_changes(
        self,
        info: Info,
        first: Annotated[int | None, strawberry.argument(description=f"How many to take: {_SIZES}.")] = UNSET,
        after: Annotated[
            str | None, strawberry.argument(description="The cursor to start after: of a change, or of an event.")
        ] = UNSET,
        last: Annotated[
            int | None, strawberry.argument(description=f"How many to take before `before`: {_SIZES}.")
        ] = UNSET,
        before: Annotated[str | None, strawberry.argument(description="The cursor to end before.")] = UNSET,
        filter: Annotated[  # noqa: A002 # the argument's name in the schema
            OrderStatusChangeFilter | None,
            strawberry.argument(description="Which changes to take; all of them where it is absent."),
        ] = UNSET,
    ) -> OrderStatusChangeConnection:
        """One statement at most, and the head's."""
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
        head = info.context.head
        page = ChangePage((), more_ahead=False, any_behind=False)
        if Selection.below(info, "OrderStatusChangeConnection").fields().keys() - {"headCursor", "__typename"}:
            page = await info.context.history.page(window, chosen, until=head)
        return OrderStatusChangeConnection.of(page, window, head=head)
