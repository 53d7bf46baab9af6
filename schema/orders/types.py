"""The order, its status changes, and the connection of changes."""

from __future__ import annotations

from datetime import date, datetime  # noqa: TC003 # Strawberry reads the annotations at run time
from decimal import Decimal  # noqa: TC003 # as above
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, cast

import strawberry
from strawberry import UNSET

from schema.context import Info  # noqa: TC001 # as above
from schema.errors import InputError, Reason
from schema.orders.enums import OrderPriority, OrderStatus, known_status
from schema.permissions import Role
from schema.ports.changes import NO_CHANGES, ChangeWindow, FeedPlace, StatusChange
from schema.relay.cursors import decode_change_cursor, encode_change_cursor
from schema.relay.node import Node, decode_global_id, row_key_of
from schema.relay.pagination import Connection, Edge, PageInfo, given, page_window
from schema.relay.selection import reads_page_below
from schema.scalars import BigInt
from schema.tables.declaration import column, has_table, needs
from schema.tables.fields import to_many, to_one
from schema.tables.rows import Row, row_in, selected_columns

if TYPE_CHECKING:
    from schema.ports.changes import ChangePage
    from schema.relay.pagination import Window


@has_table(
    "orders",
    source="orders",
    key=("order_key",),
    sorts=("order_date", "total_price", "customer_key"),
    other_sorts=("status_updated_at", "ship_priority"),
    filters=(
        "order_key",
        "customer_key",
        "status",
        "total_price",
        "order_date",
        "order_priority",
        "clerk",
        "ship_priority",
        "comment",
        "synced_status",
        "status_version",
        "status_updated_at",
        "status_updated_by",
        "status_superseded",
    ),
)
@strawberry.type(
    description="An order: the row that was last synced from the lakehouse, with the status set through this API."
)
class Order(Row):
    """One order."""

    order_key: BigInt = column("The order's key. Keys are unique but not consecutive.", "o_orderkey")
    customer_key: BigInt = column("The key of the customer who placed the order.", "o_custkey")
    status: OrderStatus = column(
        "The order's status: the one set through this API if there is one, otherwise the synced status.",
        "o_orderstatus",
        merged=True,
    )
    total_price: Decimal = column("The total price of the order, exact.", "o_totalprice")
    order_date: date = column("The date on which the order was placed.", "o_orderdate")
    order_priority: OrderPriority = column("How urgent the order is.", "o_orderpriority")
    clerk: str = column("The clerk who took the order, for example `Clerk#000000951`.", "o_clerk", may_hide=True)
    ship_priority: int = column("The shipping priority; 0 in TPC-H data.", "o_shippriority")
    comment: str = column("A free-text comment.", "o_comment", may_hide=True)
    status_version: int = column(
        "How many times the status was changed through this API; 0 if never. Pass it as `expectedVersion`, so that a "
        "change applies only to what you saw.",
        merged=True,
        unchanged=(0,),
    )
    status_updated_at: datetime | None = column(
        "When the status was last changed through this API; null if never.", merged=True, unchanged=(None,)
    )
    status_updated_by: str | None = column(
        "The user who last changed the status through this API; null if never.", merged=True, unchanged=(None,)
    )
    synced_status: OrderStatus | None = column("The status in the synced table, whatever was set through this API.")
    status_superseded: bool = column(
        "Whether the synced status has changed since a status was set through this API. The status that was set still "
        "wins.",
        merged=True,
        unchanged=(False,),
    )

    customer: Any = to_one(
        "customers",
        "The customer who placed the order. Null while the synced table of customers lacks it.",
        here="customer_key",
        there="customer_key",
    )
    line_items: Any = to_many(
        "line_items", "The lines of the order, by their numbers.", here="order_key", there="order_key"
    )

    @strawberry.field(
        metadata=needs("order_key"),
        description=(
            "The changes of this order's status through this API, oldest first; `last: 3` gives the latest three. "
            "For all orders of a page they are read in one SQL statement."
        ),
    )
    async def status_changes(  # Relay's four arguments
        self,
        info: Info,
        first: Annotated[
            int | None, strawberry.argument(description="How many changes to return after `after`.")
        ] = UNSET,
        after: Annotated[str | None, strawberry.argument(description="Return changes after this cursor.")] = UNSET,
        last: Annotated[
            int | None, strawberry.argument(description="How many changes to return before `before`.")
        ] = UNSET,
        before: Annotated[str | None, strawberry.argument(description="Return changes before this cursor.")] = UNSET,
    ) -> OrderStatusChangeConnection | None:
        """Read through the operation's lookup, which batches the orders of a page."""
        window = change_window(
            page_window(
                info.context.limits,
                first=given(first),
                after=given(after),
                last=given(last),
                before=given(before),
            )
        )
        head, page = info.context.head, NO_CHANGES
        # Reading the page also checks its cursor.
        if window.position is not None or reads_page_below(info, "OrderStatusChangeConnection", window.size):
            page = await info.context.change_lookup.of_order(self.order_key, window, until=head)
        return OrderStatusChangeConnection.of(page, window, head=head)


ORDERS: Final = Order.table


def order_key_of(global_id: str) -> int:
    """The key of the order with this global id.

    Raises:
        InputError: ID_INVALID.
    """
    type_name, key = decode_global_id(global_id)
    if type_name != Order.__name__:
        raise InputError(Reason.ID_INVALID, f"The id names an object of type {type_name}, not an Order.")
    if (row_key := row_key_of(key)) is None:
        raise InputError(Reason.ID_INVALID, "The id does not name an order.")
    return row_key


async def selected_order(info: Info, key: int) -> Order | None:
    """The order with this key, with the columns that the field being resolved selects."""
    block = await info.context.lookup.row(ORDERS, (key,), selected_columns(info, ORDERS))
    return cast("Order | None", row_in(ORDERS, block))


_UNKNOWN = "Null if the synced table had no status, or one that is not in the schema."


@strawberry.type(description="A change of an order's status through this API. Changes are kept forever.")
class OrderStatusChange(Node):
    """One change of the history."""

    role: ClassVar[Role] = Role.READER

    change: strawberry.Private[StatusChange]

    @strawberry.field(description="The change's place in the feed. Pass it as `after` to receive everything later.")
    def cursor(self) -> str:
        """The cursor of its edge."""
        return encode_change_cursor(self.change.place)

    @strawberry.field(description="The key of the order.")
    def order_key(self) -> BigInt:
        """The key in the synced table."""
        return BigInt(self.change.order_key)

    @strawberry.field(description="The order as it is now. Null while it is not in the synced table.")
    async def order(self, info: Info) -> Annotated[Order, strawberry.lazy("schema.orders.types")] | None:
        """All orders of an answer are read in one statement."""
        return await selected_order(info, self.change.order_key)

    @strawberry.field(description=f"The status before the change. {_UNKNOWN}")
    def previous_status(self) -> OrderStatus | None:
        """Null for a stored status that is not in the schema."""
        return known_status(self.change.previous_status)

    @strawberry.field(description=f"The status after the change. {_UNKNOWN}")
    def status(self) -> OrderStatus | None:
        """Null for a stored status that is not in the schema."""
        return known_status(self.change.status)

    @strawberry.field(description="Whether the change went back to the synced status, which is then its `status`.")
    def cleared(self) -> bool:
        """True for a change by clearOrderStatus."""
        return self.change.cleared

    @strawberry.field(description=f"The synced status at the time of the change. {_UNKNOWN}")
    def synced_status(self) -> OrderStatus | None:
        """Null for a stored status that is not in the schema."""
        return known_status(self.change.synced_status)

    @strawberry.field(description="The order's `statusVersion` after the change. Each change raises it by one.")
    def version(self) -> int:
        """Versions start at 1."""
        return self.change.version

    @strawberry.field(description="The user who made the change.")
    def changed_by(self) -> str:
        """The `user` of the principal."""
        return self.change.changed_by

    @strawberry.field(description="When the change was made, by the clock of the database.")
    def changed_at(self) -> datetime:
        """A time in UTC. The scalar refuses a stored time that is outside its years."""
        return self.change.changed_at  # type: ignore[return-value] # see above

    @strawberry.field(description="The note that was given with the change, if any.")
    def note(self) -> str | None:
        """The note, unchanged."""
        return self.change.note

    def node_key(self) -> str:
        """The change's id."""
        return str(self.change.id)


@strawberry.type(description="A page of status changes, oldest first.")
class OrderStatusChangeConnection(Connection[OrderStatusChange]):
    """Relay's connection of changes."""

    head: strawberry.Private[FeedPlace | None] = None

    @strawberry.field(
        description=(
            "The head of the feed: the cursor of the newest change of any order. A query reads it before anything "
            "else, and returns no change after it. Subscribe with it as `after` to miss nothing between the query and "
            "the first event. While there is no change, it is the cursor of the beginning of the history."
        )
    )
    async def head_cursor(self, info: Info) -> str:
        """Read at the start of the operation. If that failed, it is read here, to report the error at this field."""
        head = self.head if self.head is not None else await info.context.history.head()
        return encode_change_cursor(head)

    @classmethod
    def of(cls, page: ChangePage, window: ChangeWindow, *, head: FeedPlace | None) -> OrderStatusChangeConnection:
        """The connection of a page."""
        changes = [OrderStatusChange(change=change) for change in page.changes]
        cursors = [encode_change_cursor(change.place) for change in page.changes]
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
    """The window of the feed for Relay's arguments.

    Raises:
        InputError: CURSOR_INVALID.
    """
    position = None if window.cursor is None else decode_change_cursor(window.cursor)
    return ChangeWindow(window.size, position, backward=window.backward)
