"""SQL that writes the values of a row as JSON, each as its GraphQL type serializes it.

A value that its type would refuse is null, and so is every text with it.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BIGINT, BOOLEAN, BYTEA, DATE, NUMERIC, TEXT
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import ExpressionClauseList

from schema.ports.columns import Kind
from schema.ports.templates import Form
from schema.relay.cursors import cursor_start
from server.tables.source import as_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from schema.ports.templates import Slot
    from schema.ports.values import Ordering
    from server.tables.source import Source

_BASE64_GROUP_BYTES: Final = 3
_DATES: Final = ("0001-01-01", "9999-12-31")
_MOMENTS: Final = ("0001-01-02 00:00:00+00", "9999-12-30 00:00:00+00")
_INTS: Final = ("-2147483648", "2147483647")

Text: TypeAlias = sa.ColumnElement[str]
Piece: TypeAlias = str | sa.ColumnElement[str]


def joined(pieces: Iterable[Piece]) -> Text:
    """The concatenation of constants and expressions. Neighbouring constants become one."""
    fewer: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and fewer and isinstance(fewer[-1], str):
            fewer[-1] += piece
        else:
            fewer.append(piece)
    operands = [constant(piece) if isinstance(piece, str) else piece for piece in fewer]
    if len(operands) == 1:
        return operands[0]
    # One flat list: binary operators would nest as deep as the template is long.
    return ExpressionClauseList(operators.concat_op, *operands, type_=TEXT())


def constant(text: str | None) -> Text:
    """A constant within the statement's text. It consists of names from the schema and of JSON's punctuation."""
    if text is None:
        return sa.cast(sa.null(), TEXT())
    quoted = text.replace("'", "''").replace("\n", "\\n")
    return sa.literal_column(f"E'{quoted}'" if "\n" in text else f"'{quoted}'", TEXT())


def value_of(source: Source, slot: Slot, ordering: Ordering | None) -> list[Piece]:
    """The value of a slot. A cursor is one of this ordering."""
    column = source.column(slot.column)
    if slot.form is Form.GLOBAL_ID:
        return ['"', *_base64(f"{source.table.type_name}:", *_between(_keys(source), ":")), '"']
    if slot.form is Form.CURSOR:
        return ['"', *_cursor_of(source, ordering), '"'] if ordering else [constant(None)]
    pieces = _FORMS[slot.form](column, slot)
    if not slot.nullable:
        return pieces
    return [sa.case((column.is_(None), constant("null")), else_=joined(pieces))]


def cursor(ordering: Ordering, place: Sequence[sa.ColumnElement[Any]], parent: Any = None) -> list[Piece]:
    """The cursor of a row, as `schema.relay.cursors.encode_cursor` encodes it.

    Args:
        ordering: the ordering that it is a place in.
        place: the values of `ordering.columns` in that row.
        parent: the value of `ordering.within`, if the rows belong to a parent.
    """
    sorts, keys = place[: len(ordering.keys)], place[len(ordering.keys) :]
    whole = keys if parent is None else (parent, *keys)
    written = _between([_as_text(key, BIGINT()) for key in whole], ",")
    if ordering.by_key:
        start, encoded = _base64(cursor_start(ordering), *written, "]")
        return [start, sa.func.rtrim(encoded, constant("="))]
    by_text = any(key.column.kind is Kind.TEXT for key in ordering.keys)
    values: list[Piece] = []
    for key, sort in zip(ordering.keys, sorts, strict=True):
        values += [",", sa.case((sort.is_(None), constant("null")), else_=_sort_value(sort, key.column.kind))]
    start, encoded = _base64(cursor_start(ordering), *written, *values, "]", by_text=by_text)
    # PostgreSQL breaks long base64 into lines, and a price may have any number of digits.
    replaced, by = ("+/=\n", "-_") if by_text else ("=\n", "")
    return [start, sa.func.translate(encoded, constant(replaced), constant(by))]


def _cursor_of(source: Source, ordering: Ordering) -> list[Piece]:
    parent = None if ordering.within is None else source.column(ordering.within)
    return cursor(ordering, [source.column(column) for column in ordering.columns], parent)


def _sort_value(value: sa.ColumnElement[Any], kind: Kind) -> Text:
    """A value in a cursor, as `schema.relay.sort_values.written_value` writes it."""
    if kind is Kind.TEXT:
        return sa.cast(sa.func.to_json(as_text(value)), TEXT())
    if kind is Kind.MOMENT:
        # The text of any other time depends on the time zone of the session.
        utc = _as_text(sa.func.timezone(constant("UTC"), value))
        return joined(['"', sa.case((_within(value, "timestamptz", *_MOMENTS), utc)), '"'])
    return joined(['"', _as_text(value), '"'])


def _base64(start: str, *rest: Piece, by_text: bool = False) -> tuple[str, Text]:
    """Text in base64: a constant, encoded here up to its last whole group of bytes, and the rest for PostgreSQL.

    The URL-safe alphabet makes no difference: ASCII without `>`, `?`, `~` and DEL is never encoded as `+` or `/`. Only
    a stored text (`by_text`) may hold others.
    """
    whole = len(start) // _BASE64_GROUP_BYTES * _BASE64_GROUP_BYTES
    text = joined([start[whole:], *rest])
    # The cast to bytea would read a backslash as an escape, but what is not a stored text contains none.
    in_bytes = sa.func.convert_to(text, constant("UTF8")) if by_text else sa.cast(text, BYTEA())
    encoded: Text = sa.func.encode(in_bytes, constant("base64"), type_=TEXT())
    return base64.b64encode(start[:whole].encode()).decode(), encoded


def _keys(source: Source) -> list[Text]:
    return [_as_text(source.column(column), BIGINT()) for column in source.table.key]


def _between(texts: Sequence[Text], separator: str) -> list[Piece]:
    """Texts with a separator between them."""
    pieces: list[Piece] = []
    for text in texts:
        pieces += [*([separator] if pieces else []), text]
    return pieces


def _string(column: sa.ColumnElement[Any], _slot: Slot) -> list[Piece]:
    return [sa.cast(sa.func.to_json(as_text(column)), TEXT())]


def _decimal(column: sa.ColumnElement[Any], _slot: Slot) -> list[Piece]:
    # PostgreSQL sorts NaN above Infinity.
    finite = sa.and_(column > _bound("-Infinity", "numeric"), column < _bound("Infinity", "numeric"))
    return ['"', sa.case((finite, _as_text(column, NUMERIC()))), '"']


def _date(column: sa.ColumnElement[Any], _slot: Slot) -> list[Piece]:
    return ['"', sa.case((_within(column, "date", *_DATES), _as_text(column, DATE()))), '"']


def _datetime(column: sa.ColumnElement[Any], _slot: Slot) -> list[Piece]:
    utc = sa.func.timezone(constant("UTC"), column)
    written = sa.func.to_char(utc, constant('YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), type_=TEXT())
    return ['"', sa.case((_within(column, "timestamptz", *_MOMENTS), written)), '"']


def _integer(column: sa.ColumnElement[Any], _slot: Slot) -> list[Piece]:
    return [int_of(column)]


def int_of(value: sa.ColumnElement[Any]) -> Text:
    """A value of GraphQL's Int."""
    return sa.case((_within(value, "bigint", *_INTS), _as_text(value, BIGINT())))


def _enum(column: sa.ColumnElement[Any], slot: Slot) -> list[Piece]:
    names = {constant(stored): constant(f'"{name}"') for stored, name in slot.names}
    return [sa.case(names, value=as_text(column))]


def _within(column: sa.ColumnElement[Any], type_name: str, low: str, high: str) -> sa.ColumnElement[bool]:
    return sa.and_(column >= _bound(low, type_name), column <= _bound(high, type_name))


def _bound(value: str, type_name: str) -> sa.ColumnElement[Any]:
    return sa.literal_column(f"'{value}'::{type_name}")


def _as_text(column: sa.ColumnElement[Any], type_: sa.types.TypeEngine[Any] | None = None) -> Text:
    """A value in its type's text form.

    It is cast to the type first, because the column may have become a text column since it was looked up. Then its text
    could be anything, including JSON.
    """
    return sa.cast(column if type_ is None else sa.cast(column, type_), TEXT())


_FORMS: Final[dict[Form, Callable[[sa.ColumnElement[Any], Slot], list[Piece]]]] = {
    Form.INT: _integer,
    Form.BOOLEAN: lambda column, _slot: [_as_text(column, BOOLEAN())],
    Form.STRING: _string,
    Form.BIGINT: lambda column, _slot: ['"', _as_text(column, BIGINT()), '"'],
    Form.DECIMAL: _decimal,
    Form.DATE: _date,
    Form.DATETIME: _datetime,
    Form.ENUM: _enum,
}
