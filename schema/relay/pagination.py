"""Paging: the checked arguments, and the Relay types Connection, Edge and PageInfo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import strawberry

from schema.errors import InputError, Reason
from schema.ports.values import Conditions, Ordering, PageRequest
from schema.relay.cursors import decode_cursor

if TYPE_CHECKING:
    from schema.context import PageLimits

NodeT = TypeVar("NodeT")


@strawberry.type(description="Where a page is in the whole list.")
class PageInfo:
    """Relay's PageInfo. Both flags are exact, whichever way the client pages."""

    has_next_page: bool = strawberry.field(description="Whether there are entries after this page. Always exact.")
    has_previous_page: bool = strawberry.field(description="Whether there are entries before this page. Always exact.")
    start_cursor: str | None = strawberry.field(
        description="The cursor of the first edge. Pass it as `before` to page backward. Null on an empty page."
    )
    end_cursor: str | None = strawberry.field(
        description="The cursor of the last edge. Pass it as `after` for the next page. Null on an empty page."
    )


@strawberry.type(description="One entry of a page, with its cursor.")
class Edge(Generic[NodeT]):
    """Relay's Edge. `node` is nullable, so that one invalid row does not null the whole page."""

    cursor: str = strawberry.field(
        description="An opaque bookmark. It stays valid when its entry is deleted, and is valid only for its `orderBy`."
    )
    node: NodeT | None = strawberry.field(
        description="The entry. Null, with an error, if a stored value does not fit the schema."
    )


@strawberry.type(description="A page of a list.")
class Connection(Generic[NodeT]):
    """Relay's Connection, with `nodes` for clients that need no cursors."""

    edges: list[Edge[NodeT]] = strawberry.field(description="The entries of this page, each with its cursor.")
    nodes: list[NodeT | None] = strawberry.field(
        description="The entries of this page without cursors. An entry is null where its `edges.node` is."
    )
    page_info: PageInfo = strawberry.field(
        description="Where this page is in the list, and the cursors for the pages around it."
    )


_T = TypeVar("_T")


def given(argument: _T | None) -> _T | None:
    """The argument, or None if it is absent. Arguments default to UNSET because the schema would print `= null`."""
    return None if argument is strawberry.UNSET else argument


def page_size(requested: int | None, limits: PageLimits, *, argument: str) -> int:
    """The page size: as requested, or the default.

    Raises:
        InputError: PAGE_SIZE_INVALID.
    """
    if requested is None:
        return limits.default
    if not 0 <= requested <= limits.maximum:
        raise InputError(
            Reason.PAGE_SIZE_INVALID, f"`{argument}` is {requested}; it must be from 0 to {limits.maximum}."
        )
    return requested


def page_request(
    limits: PageLimits,
    ordering: Ordering,
    conditions: Conditions,
    *,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
    parent: object = None,
) -> PageRequest:
    """The page that Relay's four arguments ask for, of the rows that belong to the parent if there is one.

    Raises:
        InputError: PAGE_ARGUMENTS_CONFLICT, PAGE_SIZE_INVALID, CURSOR_INVALID, CURSOR_ORDER_MISMATCH.
    """
    window = page_window(limits, first=first, after=after, last=last, before=before)
    return PageRequest(
        ordering=ordering,
        conditions=conditions,
        size=window.size,
        position=None if window.cursor is None else decode_cursor(window.cursor, ordering, parent),
        backward=window.backward,
    )


class Window(NamedTuple):
    """Relay's four arguments, combined."""

    size: int
    cursor: str | None
    backward: bool


def page_window(
    limits: PageLimits, *, first: int | None, after: str | None, last: int | None, before: str | None
) -> Window:
    """The window that Relay's four arguments ask for.

    Raises:
        InputError: PAGE_ARGUMENTS_CONFLICT, PAGE_SIZE_INVALID.
    """
    forward, backward = first is not None or after is not None, last is not None or before is not None
    if forward and backward:
        raise InputError(
            Reason.PAGE_ARGUMENTS_CONFLICT,
            "Use either `first` and `after` to page forward, or `last` and `before` to page backward.",
        )
    size = page_size(last if backward else first, limits, argument="last" if backward else "first")
    return Window(size, before if backward else after, backward)
