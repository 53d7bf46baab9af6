"""Opaque cursors: of a row in an ordering of its table or of its parent's rows, and of a place in the feed."""

from __future__ import annotations

import base64
import binascii
import json
import re
from functools import lru_cache

from schema.errors import InputError, Reason
from schema.ports.changes import BEGINNING, FeedPlace
from schema.ports.columns import Kind
from schema.ports.values import Key, Ordering, Position, SortKey
from schema.relay.sort_values import read_value, written_value

CURSOR_VERSION = 1
_CHANGES = "changes"
_UNNAMED = "orders"
# Longer than any cursor that we issue. One without a text holds at most four names, four numbers of 19 digits, and a
# date, a time and a price.
_CURSOR_MAX_CHARACTERS = 600
# A cursor by a text holds the text.
_TEXT_CURSOR_MAX_CHARACTERS = 8_192
_KEY_NAME = re.compile(r"(?P<column>[a-z_]+)(?P<sign>[+-])(?P<nulls>first|last)?", re.ASCII)
_KEY_CURSOR = re.compile(rb'\[%d,"([a-z_.]+[+-])",(0|-?[1-9][0-9]{0,18})\]' % CURSOR_VERSION)
_BIGINT = range(-(2**63), 2**63)
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
# The place of the parent in a cursor of a list below it.
_PARENT = 2
_CURSOR_INVALID = "The cursor was not issued by this API for this list, or is damaged."


def encode_cursor(ordering: Ordering, values: tuple[object, ...], key: Key, parent: object = None) -> str:
    """The opaque cursor of the row with these sort values and key, in the list of its parent if it has one."""
    if ordering.by_key and ordering.within is None and len(key) == 1:
        # The simplest and most common cursor, at a third of the cost.
        return _encoded(f"{cursor_start(ordering)}{key[0]}]".encode())
    parts: list[object] = [CURSOR_VERSION, _ordering_name(ordering)]
    if ordering.within is not None:
        parts.append(parent)
    parts += key
    parts += [written_value(one.column, value) for one, value in zip(ordering.keys, values, strict=True)]
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
    return binascii.b2a_base64(text, newline=False).translate(_URL_SAFE).rstrip(b"=").decode()


def _key_position(cursor: str, ordering: Ordering) -> Position | None:
    """`_position` for the simplest and most common cursors, at a fifth of the cost; None for any other cursor."""
    if not ordering.by_key or ordering.within is not None or len(ordering.table.key) > 1:
        return None
    if len(cursor) > _CURSOR_MAX_CHARACTERS:
        return None
    text = binascii.a2b_base64(f"{cursor}==")
    match = _KEY_CURSOR.fullmatch(text)
    if match is None or match[1].decode() != _ordering_name(ordering) or _encoded(text) != cursor:
        return None
    key = int(match[2])
    return Position(values=(), key=(key,)) if key in _BIGINT else None


def _position(cursor: str, ordering: Ordering, parent: object) -> Position:
    by_text = any(one.column.kind is Kind.TEXT for one in ordering.keys)
    longest = _TEXT_CURSOR_MAX_CHARACTERS if by_text else _CURSOR_MAX_CHARACTERS
    version, name, *rest = cursor_parts(cursor, longest=longest)
    if version != CURSOR_VERSION or not isinstance(name, str):
        raise ValueError(cursor)
    if name != _ordering_name(ordering):
        issued_for = _ordering_named(name, ordering)
        raise InputError(
            Reason.CURSOR_ORDER_MISMATCH,
            f"The cursor was issued for the `orderBy` {_described(issued_for)}, and this is {_described(ordering)}. "
            "Use that `orderBy`, or start again without a cursor.",
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
    written = rest[width:]
    if len(written) != len(ordering.keys):
        raise ValueError(cursor)
    values = tuple(read_value(one.column, text) for one, text in zip(ordering.keys, written, strict=True))
    # Only the exact encoding that we issue is accepted: each position has one cursor.
    if encode_cursor(ordering, values, key, of) != cursor:
        raise ValueError(cursor)
    if of != parent:
        raise InputError(
            Reason.CURSOR_INVALID,
            "The cursor was issued for the list of another object. Use it there, or start this list without a cursor.",
        )
    return Position(values=values, key=key)


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
    if not ordering.keys:
        return f"{_prefix(ordering)}{ordering.table.key[0].name}{'-' if ordering.descending else '+'}"
    return f"{_prefix(ordering)}{','.join(map(_key_name, _named_keys(ordering)))}"


def _named_keys(ordering: Ordering) -> tuple[SortKey, ...]:
    """The columns that name an ordering. The table's key is one if its direction does not follow from the others."""
    if ordering.keys and ordering.keys[-1].descending is ordering.descending:
        return ordering.keys
    return (*ordering.keys, SortKey.of(ordering.table.key[0], descending=ordering.descending))


def _prefix(ordering: Ordering) -> str:
    # A cursor of orders names no table: there was no other one when the first of them were issued.
    table = "" if ordering.table.name == _UNNAMED and ordering.within is None else f"{ordering.table.name}."
    return table if ordering.within is None else f"{table}{ordering.within.name}."


def _key_name(key: SortKey) -> str:
    """A column with its direction, and the place of nulls if that is not the usual one: `order_date-last`."""
    nulls = "" if key.nulls_first is key.descending else "first" if key.nulls_first else "last"
    return f"{key.column.name}{'-' if key.descending else '+'}{nulls}"


def _ordering_named(name: str, ordering: Ordering) -> Ordering:
    """The ordering of the same list that has this name.

    Raises:
        ValueError: none has it.
    """
    prefix = _prefix(ordering)
    columns = {column.name: column for column in ordering.table.columns}
    keys: list[SortKey] = []
    for part in name.removeprefix(prefix).split(","):
        match = _KEY_NAME.fullmatch(part)
        # Each column is named once.
        column = None if match is None else columns.pop(match["column"], None)
        if match is None or column is None:
            raise ValueError(name)
        nulls_first = match["nulls"] == "first" if match["nulls"] else None
        keys.append(SortKey.of(column, descending=match["sign"] == "-", nulls_first=nulls_first))
    named = Ordering.by(ordering.table, keys, within=ordering.within)
    if _ordering_name(named) != name:
        raise ValueError(name)
    return named


def _described(ordering: Ordering) -> str:
    """An ordering in the words of the argument `orderBy`."""
    words = []
    for key in _named_keys(ordering):
        nulls = "" if key.nulls_first is key.descending else f" NULLS {'FIRST' if key.nulls_first else 'LAST'}"
        words.append(f"{key.column.name.upper()} {'DESC' if key.descending else 'ASC'}{nulls}")
    return ", ".join(words)
