"""Paging: the checked arguments, the opaque cursor, and the Relay types Connection, Edge and PageInfo."""

from __future__ import annotations

import base64
import json
import re
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import strawberry

from schema.errors import InputError, Reason
from schema.ports.changes import BEGINNING, FeedPlace
from schema.ports.columns import Kind
from schema.ports.values import Conditions, Key, Ordering, PageRequest, Position
from schema.scalars import sort_date

if TYPE_CHECKING:
    from schema.context import PageLimits
    from schema.ports.columns import Column, Table

NodeT = TypeVar("NodeT")

CURSOR_VERSION = 1
_CHANGES = "changes"
_UNNAMED = "orders"
# Longer than any cursor that we issue. One by key, date or price holds at most four numbers of 19 digits and a price.
_CURSOR_MAX_CHARACTERS = 300
# A cursor by a text holds the text.
_TEXT_CURSOR_MAX_CHARACTERS = 8_192
# Every value that PostgreSQL's numeric can hold, because every row has a cursor.
_NUMERIC = re.compile(r"-?([0-9]+(\.[0-9]+)?|Infinity)|NaN", re.ASCII)
_KEY_CURSOR = re.compile(rb'\[%d,"([a-z_.]+[+-])",(0|-?[1-9][0-9]{0,18})\]' % CURSOR_VERSION)
_BIGINT = range(-(2**63), 2**63)
# The place of the parent in a cursor of a list below it.
_PARENT = 2
_CURSOR_INVALID = "The cursor was not issued by this API for this list, or is damaged."


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


def encode_cursor(ordering: Ordering, value: object, key: Key, parent: object = None) -> str:
    """The opaque cursor of the row with this sort value and key, in the list of its parent if it has one."""
    parts: list[object] = [CURSOR_VERSION, _ordering_name(ordering)]
    if ordering.within is not None:
        parts.append(parent)
    parts += key
    if not ordering.by_key:
        parts.append(None if value is None else f"{value:f}" if isinstance(value, Decimal) else str(value))
    # PostgreSQL writes these cursors too, and escapes only what JSON requires.
    return opaque(parts, escaped=False)


def cursor_start(ordering: Ordering) -> str:
    """The start of every cursor of an ordering, before the parent, the key and the value, not yet encoded."""
    return f'[{CURSOR_VERSION},"{_ordering_name(ordering)}",'


def decode_cursor(cursor: str, ordering: Ordering, parent: object = None) -> Position:
    """The position that a cursor holds.

    Raises:
        InputError: CURSOR_INVALID if this API did not issue it for this list, CURSOR_ORDER_MISMATCH if it belongs to
            another ordering of it.
    """
    try:
        return _key_position(cursor, ordering) or _position(cursor, ordering, parent)
    except (ValueError, RecursionError) as error:
        raise InputError(Reason.CURSOR_INVALID, _CURSOR_INVALID) from error


def parent_of(cursor: str) -> int:
    """The parent that a cursor names, whose list it may belong to: `decode_cursor` checks that.

    Raises:
        InputError: CURSOR_INVALID if it names none.
    """
    try:
        parent = cursor_parts(cursor, longest=_TEXT_CURSOR_MAX_CHARACTERS)[_PARENT]
    except (ValueError, RecursionError, IndexError) as error:
        raise InputError(Reason.CURSOR_INVALID, _CURSOR_INVALID) from error
    if type(parent) is not int or parent not in _BIGINT:
        raise InputError(Reason.CURSOR_INVALID, _CURSOR_INVALID)
    return parent


# All subscribers are told the cursor of the same change at about the same time.
@lru_cache(maxsize=256)
def encode_change_cursor(place: FeedPlace) -> str:
    """The opaque cursor of a place in the feed."""
    parts: list[object] = [CURSOR_VERSION, _CHANGES, place.id]
    if place.moment is not None:
        parts.append(place.moment)
    if place.epoch:
        parts.append(place.epoch)
    return opaque(parts)


def decode_change_cursor(cursor: str) -> FeedPlace:
    """The place in the feed that a cursor holds. Whether the history has it is checked where it is read.

    Raises:
        InputError: CURSOR_INVALID if it is not a cursor of the feed.
    """
    try:
        return _change(cursor)
    except (ValueError, RecursionError) as error:
        raise InputError(
            Reason.CURSOR_INVALID, "The cursor does not belong to the feed of changes, or is damaged."
        ) from error


def _change(cursor: str) -> FeedPlace:
    version, name, *numbers = cursor_parts(cursor)
    if version != CURSOR_VERSION or name != _CHANGES or len(numbers) not in {1, 2, 3}:
        raise ValueError(cursor)
    if not all(type(number) is int and number in _BIGINT for number in numbers):
        raise ValueError(cursor)
    place = FeedPlace(*numbers)  # type: ignore[arg-type] # they are integers
    if place.id < 0 or (place.id == 0 and place != BEGINNING) or encode_change_cursor(place) != cursor:
        raise ValueError(cursor)
    return place


def opaque(parts: list[object], *, escaped: bool = True) -> str:
    """The text of a cursor that holds these parts. What is not ASCII is escaped, or not."""
    return _encoded(json.dumps(parts, separators=(",", ":"), ensure_ascii=escaped).encode())


def _encoded(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def _key_position(cursor: str, ordering: Ordering) -> Position | None:
    """`_position` for the simplest and most common cursors, at a fifth of the cost; None for any other cursor."""
    if not ordering.by_key or ordering.within is not None or len(ordering.table.key) > 1:
        return None
    if len(cursor) > _CURSOR_MAX_CHARACTERS:
        return None
    text = base64.urlsafe_b64decode(f"{cursor}==")
    match = _KEY_CURSOR.fullmatch(text)
    if match is None or match[1].decode() != _ordering_name(ordering) or _encoded(text) != cursor:
        return None
    key = int(match[2])
    return Position(value=None, key=(key,)) if key in _BIGINT else None


def _position(cursor: str, ordering: Ordering, parent: object) -> Position:
    by_text = ordering.column.kind is Kind.TEXT
    longest = _TEXT_CURSOR_MAX_CHARACTERS if by_text else _CURSOR_MAX_CHARACTERS
    version, name, *rest = cursor_parts(cursor, longest=longest)
    if version != CURSOR_VERSION or not isinstance(name, str):
        raise ValueError(cursor)
    if name not in _ordering_names(ordering.table, ordering.within):
        raise ValueError(cursor)
    if name != _ordering_name(ordering):
        raise InputError(
            Reason.CURSOR_ORDER_MISMATCH,
            f"The cursor was issued for another `orderBy` than {ordering.column.name.upper()} "
            f"{'DESC' if ordering.descending else 'ASC'}. Use that `orderBy`, or start again without a cursor.",
        )
    of = None
    if ordering.within is not None:
        of, *rest = rest
        if type(of) is not int:
            raise ValueError(cursor)
    width = len(ordering.table.key)
    key = tuple(part for part in rest[:width] if type(part) is int and part in _BIGINT)
    if len(key) != width:
        raise ValueError(cursor)
    value = _sort_value(ordering, rest[width:])
    # Only the exact encoding that we issue is accepted: each position has one cursor.
    if encode_cursor(ordering, value, key, of) != cursor:
        raise ValueError(cursor)
    if of != parent:
        raise InputError(
            Reason.CURSOR_INVALID,
            "The cursor was issued for the list of another object. Use it there, or start this list without a cursor.",
        )
    return Position(value=value, key=key)


def cursor_parts(cursor: str, *, longest: int = _CURSOR_MAX_CHARACTERS) -> list[object]:
    """The parts of a cursor, not yet checked.

    Raises:
        ValueError: if this API cannot have issued it. A RecursionError means the same.
    """
    if len(cursor) > longest:
        raise ValueError(cursor)
    padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
    parts = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    if not isinstance(parts, list):
        raise ValueError(cursor)  # noqa: TRY004 # to the caller a cursor of the wrong shape is a wrong value
    return parts


def _ordering_name(ordering: Ordering) -> str:
    # A cursor of orders names no table: there was no other one when the first of them were issued.
    table = "" if ordering.table.name == _UNNAMED and ordering.within is None else f"{ordering.table.name}."
    within = "" if ordering.within is None else f"{ordering.within.name}."
    return f"{table}{within}{ordering.column.name}{'-' if ordering.descending else '+'}"


@lru_cache(maxsize=64)
def _ordering_names(table: Table, within: Column | None) -> frozenset[str]:
    return frozenset(
        _ordering_name(Ordering(table, column, descending=descending, within=within))
        for column in table.columns
        for descending in (False, True)
    )


def _sort_value(ordering: Ordering, rest: list[object]) -> object:
    if ordering.by_key:
        if rest:
            raise ValueError(rest)
        return None
    (text,) = rest
    if text is None:
        return None
    if not isinstance(text, str):
        raise ValueError(text)  # noqa: TRY004 # as above
    if ordering.column.kind is Kind.DATE:
        return sort_date(text)
    if ordering.column.kind is Kind.TEXT:
        if "\0" in text:
            raise ValueError(text)
        return text
    number = Decimal(text) if _NUMERIC.fullmatch(text) else None
    # PostgreSQL has no negative zero.
    if number is None or (number.is_zero() and number.is_signed()):
        raise ValueError(text)
    return number
