"""The subscription to the feed of status changes."""

from __future__ import annotations

from collections.abc import AsyncGenerator  # noqa: TC003 # Strawberry reads the annotations at run time
from contextlib import aclosing
from typing import Annotated

import strawberry
from strawberry import UNSET

from schema.access import Requires
from schema.context import FeedPosition, Info
from schema.orders.arguments import chosen_orders
from schema.orders.types import OrderStatusChange
from schema.permissions import Role
from schema.relay.cursors import decode_change_cursor, encode_change_cursor
from schema.relay.pagination import given
from schema.scalars import BigInt  # noqa: TC001 # as above


@strawberry.type
class OrderSubscriptions:
    """The root fields of the feed."""

    @strawberry.subscription(
        description=(
            "Every status change as it is committed: each exactly once, in the same order for all subscribers. "
            "Without `after` the subscription starts now. Keep the `cursor` of the last event: a new subscription "
            "with it as `after` continues exactly there. A change with a stored value that does not fit the schema is "
            "null, with an error."
        ),
        extensions=[Requires(Role.READER)],
    )
    async def order_status_changed(
        self,
        info: Info,
        order_keys: Annotated[
            list[BigInt] | None,
            strawberry.argument(description="Only changes of these orders, at most 1,000; of all orders if absent."),
        ] = UNSET,
        after: Annotated[
            str | None,
            strawberry.argument(
                description="Start after this cursor: that of the last event, or `orderStatusChanges.headCursor`."
            ),
        ] = UNSET,
    ) -> AsyncGenerator[OrderStatusChange | None, None]:
        """Start after the transport's cursor if it has one: it is newer than the one in the document."""
        context = info.context
        position = context.feed_position or FeedPosition()
        cursor = position.resume or given(after)
        keys = chosen_orders(given(order_keys), argument="orderKeys")
        start = await context.history.head() if cursor is None else decode_change_cursor(cursor)
        # A client that loses its connection before the first event resumes from here.
        position.reached = encode_change_cursor(start)
        position.begun.set()
        async with aclosing(context.feed.changes(start, keys)) as changes:
            async for change in changes:
                position.reached = encode_change_cursor(change.place)
                yield OrderStatusChange(change=change)
