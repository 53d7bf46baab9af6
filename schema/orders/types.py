"""Owns the types that describe orders: the order itself, its pages, counts and statistics."""

from __future__ import annotations

from datetime import date, datetime  # noqa: TC003 # Strawberry reads the annotations at run time
from decimal import Decimal  # noqa: TC003 # as above
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import strawberry
from strawberry import UNSET
from strawberry.utils.str_converters import to_camel_case

from schema.context import Info  # noqa: TC001 # as above
from schema.errors import InputError, Reason
from schema.orders.arguments import OrderPriority, OrderStatus, known_status
from schema.permissions import Role
from schema.ports.changes import ChangeWindow, StatusChange
from schema.ports.values import OrderColumn, OrderColumns
from schema.relay.node import Node, decode_global_id, row_key_of
from schema.relay.pagination import (
    Connection,
    Edge,
    PageInfo,
    decode_change_cursor,
    encode_change_cursor,
    given,
    page_window,
)
from schema.relay.selection import Selection
from schema.scalars import BigInt  # as above

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from schema.ports.changes import ChangePage
    from schema.ports.values import OrderBlock
    from schema.relay.pagination import Window


def _column(description: str) -> Any:
    # Only the selected columns are read, so an attribute may be left out when an order is made.
    return strawberry.field(default=None, description=description)


@strawberry.type(description="An order as the lakehouse last delivered it, with the status that was set here since.")
class Order(Node):
    """One row. An attribute is named as its `OrderColumn` and holds the value as stored."""

    role: ClassVar[Role] = Role.READER

    order_key: BigInt = _column("The order's own key. Keys are unique but not consecutive.")
    customer_key: BigInt = _column("The key of the customer who ordered.")
    status: OrderStatus = _column(
        "How far the order has come: what was set here last, or the synced status where nothing was."
    )
    total_price: Decimal = _column("What the order costs, exactly.")
    order_date: date = _column("The day the order was placed.")
    order_priority: OrderPriority = _column("How urgent the order is.")
    clerk: str = _column("The clerk who took the order, `Clerk#000000951` say.")
    ship_priority: int = _column("The priority of shipping; 0 in TPC-H data.")
    comment: str = _column("Free text.")
    status_version: int = _column(
        "How often the status was changed here; 0 as synced. Give it as `expectedVersion` to change what you saw."
    )
    status_updated_at: datetime | None = _column("When the status was last changed here; null as synced.")
    status_updated_by: str | None = _column("Who changed the status here last; null as synced.")
    synced_status: OrderStatus | None = _column("What the synced table says, whatever was set here.")
    status_superseded: bool = _column(
        "Whether the synced status has moved on since the status was set here. What was set here still wins."
    )

    @strawberry.field(
        description=(
            "The changes of this order's status that were made here, oldest first: `last: 3` are the latest. "
            "For all orders of a page they are one statement."
        )
    )
    async def status_changes(  # Relay's four arguments
        self,
        info: Info,
        first: Annotated[int | None, strawberry.argument(description="How many to take after `after`.")] = UNSET,
        after: Annotated[str | None, strawberry.argument(description="The cursor to start after.")] = UNSET,
        last: Annotated[int | None, strawberry.argument(description="How many to take before `before`.")] = UNSET,
        before: Annotated[str | None, strawberry.argument(description="The cursor to end before.")] = UNSET,
    ) -> OrderStatusChangeConnection:
        """Through the operation's lookup."""
        window = change_window(
            page_window(
                info.context.limits,
                first=given(first),
                after=given(after),
                last=given(last),
                before=given(before),
            )
        )
        page = await info.context.change_lookup.of_order(self.order_key, window, until=info.context.head)
        return OrderStatusChangeConnection.of(page, window, head=info.context.head)

    def node_key(self) -> str:
        """The order key."""
        return str(self.order_key)


# Which column each field of Order is read from: the one map, for whatever reads orders.
COLUMN_OF_FIELD: dict[str, OrderColumn] = {
    "id": OrderColumn.ORDER_KEY,
    "statusChanges": OrderColumn.ORDER_KEY,
    **{to_camel_case(column.value): column for column in OrderColumn},
}


def order_columns(*selections: Selection | None) -> OrderColumns:
    """The columns that selections on Order need."""
    return frozenset(
        COLUMN_OF_FIELD[name]
        for selection in selections
        if selection is not None
        for name in selection.fields()
        if name in COLUMN_OF_FIELD
    )


def order_key_of(global_id: str) -> int:
    """The key of the order with this global id.

    Raises:
        InputError: ID_INVALID.
    """
    type_name, key = decode_global_id(global_id)
    if type_name != Order.__name__:
        raise InputError(Reason.ID_INVALID, f"The id is that of an {type_name}, not of an Order.")
    if (row_key := row_key_of(key)) is None:
        raise InputError(Reason.ID_INVALID, "No order can have this id.")
    return row_key


async def selected_order(info: Info, key: int) -> Order | None:
    """The order with this key, with what the field being resolved selects of it."""
    block = await info.context.lookup.order(key, order_columns(Selection.below(info, "Order")))
    return None if block is None else next(orders_in(block))


def orders_in(block: OrderBlock) -> Iterator[Order]:
    """The orders of a block, in its order."""
    names = [column.value for column in block.columns]
    make: Callable[..., Order] = Order
    return (make(**dict(zip(names, row, strict=True))) for row in block.rows)


_UNKNOWN = "Null where the synced table had none, or one that is unknown to the schema."


@strawberry.type(description="One change of an order's status that was made here. Changes are kept for good.")
class OrderStatusChange(Node):
    """One row of the history."""

    role: ClassVar[Role] = Role.READER

    change: strawberry.Private[StatusChange]

    @strawberry.field(description="Its place in the feed: give it as `after` to hear of everything later.")
    def cursor(self) -> str:
        """The same as the cursor of its edge."""
        return encode_change_cursor(self.change.id)

    @strawberry.field(description="The key of the order that was changed.")
    def order_key(self) -> BigInt:
        """As in the synced table."""
        return BigInt(self.change.order_key)

    @strawberry.field(description="The order as it is now. Null while the synced table does not have it.")
    async def order(self, info: Info) -> Annotated[Order, strawberry.lazy("schema.orders.types")] | None:
        """All orders of an answer are one statement."""
        return await selected_order(info, self.change.order_key)

    @strawberry.field(description=f"The status before. {_UNKNOWN}")
    def previous_status(self) -> OrderStatus | None:
        """Where it is known."""
        return known_status(self.change.previous_status)

    @strawberry.field(description=f"The status after. {_UNKNOWN}")
    def status(self) -> OrderStatus | None:
        """Where it is known."""
        return known_status(self.change.status)

    @strawberry.field(description="Whether it went back to the synced status, which `status` was at that time.")
    def cleared(self) -> bool:
        """True for what clearOrderStatus did."""
        return self.change.cleared

    @strawberry.field(description=f"The status in the synced table when the change was made. {_UNKNOWN}")
    def synced_status(self) -> OrderStatus | None:
        """Where it is known."""
        return known_status(self.change.synced_status)

    @strawberry.field(description="The order's `statusVersion` after the change. It rises by one with each.")
    def version(self) -> int:
        """From 1."""
        return self.change.version

    @strawberry.field(description="Who made the change.")
    def changed_by(self) -> str:
        """The principal's user."""
        return self.change.changed_by

    @strawberry.field(description="When the change was made, by the database's clock.")
    def changed_at(self) -> datetime:
        """In UTC."""
        return self.change.changed_at

    @strawberry.field(description="What was said about it, if anything.")
    def note(self) -> str | None:
        """As given."""
        return self.change.note

    def node_key(self) -> str:
        """The change's id."""
        return str(self.change.id)


@strawberry.type(description="A page of status changes, oldest first.")
class OrderStatusChangeConnection(Connection[OrderStatusChange]):
    """Relay's connection of changes."""

    head: strawberry.Private[int | None] = None

    @strawberry.field(
        description=(
            "The place in the feed of the newest change of any order. In a query it is read before anything else, "
            "and no page goes beyond it: subscribe with it as `after`, and nothing is missed between what the query "
            "loaded and the first event."
        )
    )
    async def head_cursor(self, info: Info) -> str:
        """Read at the start of the operation; here only where that failed, to say why at this place."""
        head = self.head if self.head is not None else await info.context.history.head()
        return encode_change_cursor(head)

    @classmethod
    def of(cls, page: ChangePage, window: ChangeWindow, *, head: int | None) -> OrderStatusChangeConnection:
        """The connection of a page."""
        changes = [OrderStatusChange(change=change) for change in page.changes]
        cursors = [encode_change_cursor(change.id) for change in page.changes]
        return cls(
            edges=[Edge(cursor=cursor, node=change) for cursor, change in zip(cursors, changes, strict=True)],
            nodes=changes,  # type: ignore[arg-type] # list is invariant, and this one is only read
            page_info=PageInfo(
                has_next_page=page.any_behind if window.backward else page.more_ahead,
                has_previous_page=page.more_ahead if window.backward else page.any_behind,
                start_cursor=cursors[0] if cursors else None,
                end_cursor=cursors[-1] if cursors else None,
            ),
            head=head,
        )


def change_window(window: Window) -> ChangeWindow:
    """A window of Relay's arguments as a window of the feed.

    Raises:
        InputError: CURSOR_INVALID.
    """
    position = None if window.cursor is None else decode_change_cursor(window.cursor)
    return ChangeWindow(window.size, position, backward=window.backward)
