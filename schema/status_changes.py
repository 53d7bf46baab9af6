"""Owns the types that describe status changes: the change itself, and its pages."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 # Strawberry reads the annotations at run time
from typing import TYPE_CHECKING, Annotated, ClassVar

import strawberry

from schema.change_ports import ChangeWindow, StatusChange
from schema.context import Info  # noqa: TC001 # as above
from schema.errors import InputError, Reason
from schema.node import Node
from schema.order_arguments import OrderStatus, check_list_length, known_status
from schema.pagination import Connection, Edge, PageInfo, decode_change_cursor, encode_change_cursor
from schema.permissions import Role
from schema.scalars import BigInt  # as above

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schema.change_ports import ChangePage
    from schema.orders import Order
    from schema.pagination import Window

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
    async def order(self, info: Info) -> Annotated[Order, strawberry.lazy("schema.orders")] | None:
        """All orders of an answer are one statement."""
        from schema.orders import selected_order  # noqa: PLC0415 # an order has changes, and a change has an order

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


@strawberry.input(description="Which changes to take. All that is given holds together; nothing given takes all.")
class OrderStatusChangeFilter:
    """The filter argument of orderStatusChanges."""

    order_keys: list[BigInt] | None = strawberry.field(
        default=strawberry.UNSET, description="Of these orders, at most 1,000. An empty list matches no change."
    )
    changed_by: str | None = strawberry.field(default=strawberry.UNSET, description="Made by this user.")


def change_window(window: Window) -> ChangeWindow:
    """A window of Relay's arguments as a window of the feed.

    Raises:
        InputError: CURSOR_INVALID.
    """
    position = None if window.cursor is None else decode_change_cursor(window.cursor)
    return ChangeWindow(window.size, position, backward=window.backward)


def chosen_orders(keys: Sequence[int] | None, *, argument: str) -> frozenset[int] | None:
    """The set of order keys that a list argument chooses; None where it is absent.

    Raises:
        InputError: TOO_MANY_VALUES, VALUE_INVALID.
    """
    if keys is None or keys is strawberry.UNSET:
        return None
    check_list_length(keys, argument=argument)
    return frozenset(keys)


def checked_text(text: str | None, *, argument: str) -> str | None:
    """A text that PostgreSQL can hold.

    Raises:
        InputError: VALUE_INVALID, a NUL byte.
    """
    if text and "\0" in text:
        raise InputError(Reason.VALUE_INVALID, f"`{argument}` contains a NUL byte.")
    return text
