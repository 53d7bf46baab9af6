"""Owns the root field of the feed: each event of the feed as it is committed."""

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
from schema.relay.pagination import decode_change_cursor, encode_change_cursor, given
from schema.scalars import BigInt  # noqa: TC001 # as above


@strawberry.type
class OrderSubscriptions:
    """The root fields of the feed."""

    @strawberry.subscription(
        description=(
            "Every status change as it is committed: none left out, none twice, in an order that all see alike. "
            "Without `after` it starts now. Keep the `cursor` of the last event: with it as `after` a new "
            "subscription goes on exactly there."
        ),
        extensions=[Requires(Role.READER)],
    )
    async def order_status_changed(
        self,
        info: Info,
        order_keys: Annotated[
            list[BigInt] | None,
            strawberry.argument(description="Only changes of these orders, at most 1,000; of all where it is absent."),
        ] = UNSET,
        after: Annotated[
            str | None,
            strawberry.argument(
                description="The cursor to go on after: of the last event, or `orderStatusChanges.headCursor`."
            ),
        ] = UNSET,
    ) -> AsyncGenerator[OrderStatusChange, None]:
        """A transport that knows where its client stopped has the better cursor."""
        context = info.context
        place = context.feed_position or FeedPosition()
        cursor = place.resume or given(after)
        keys = chosen_orders(given(order_keys), argument="orderKeys")
        start = await context.history.head() if cursor is None else decode_change_cursor(cursor)
        # A client that is cut off before the first event goes on from here too.
        place.reached = encode_change_cursor(start)
        place.begun.set()
        async with aclosing(context.feed.changes(start, keys)) as changes:
            async for change in changes:
                place.reached = encode_change_cursor(change.id)
                yield OrderStatusChange(change=change)
