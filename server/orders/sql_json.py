"""Owns the SQL that writes orders as JSON, so that a page is one text by the time that it arrives.

A value that its GraphQL type would refuse becomes null, and the whole row with it: such a row is counted and not
written, by which the caller knows. PostgreSQL writes a page in about half of the time that Python takes to build it.
"""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BIGINT, BOOLEAN, BYTEA, DATE, NUMERIC, TEXT
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import ExpressionClauseList

from schema.ports.templates import Form
from schema.ports.values import OrderColumn
from schema.relay.pagination import cursor_start
from server.db.driver import Compiled
from server.orders.sql_merged import as_text
from server.orders.sql_pages import any_behind, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from schema.ports.templates import Slot, Template
    from schema.ports.values import Ordering
    from server.orders.sql_merged import Orders
    from server.orders.sql_pages import Shape

_REMEMBERED_STATEMENTS: Final = 512
# A newline is white space between two values of JSON, and within a string it is always escaped: rows end at it.
BETWEEN_ROWS: Final = ",\n"
_BASE64_GROUP_BYTES: Final = 3
_DATES: Final = ("0001-01-01", "9999-12-31")
_MOMENTS: Final = ("0001-01-02 00:00:00+00", "9999-12-30 00:00:00+00")
_INTS: Final = ("-2147483648", "2147483647")

_Text: TypeAlias = sa.ColumnElement[str]
_Piece: TypeAlias = str | sa.ColumnElement[str]


@lru_cache(maxsize=_REMEMBERED_STATEMENTS)
def json_page(orders: Orders, shape: Shape, templates: tuple[Template, ...], *, ends: bool) -> Compiled:
    """The statement of a page, compiled: what it was composed of takes a hundred times as much to remember."""
    return Compiled(json_page_statement(orders, shape, templates, ends=ends))


@lru_cache(maxsize=_REMEMBERED_STATEMENTS)
def json_orders(orders: Orders, templates: tuple[Template, ...]) -> Compiled:
    """The statement of single orders, compiled."""
    return Compiled(json_orders_statement(orders, templates))


def json_page_statement(orders: Orders, shape: Shape, templates: tuple[Template, ...], *, ends: bool) -> sa.Select[Any]:
    """A page in one row.

    First how many orders were read (one more than the page holds, if there are as many), and whether any is behind;
    then for each template how many it could write, and their text; and where the ends are wanted, the sort value and
    the key of the first and of the last one that is on the page, in the direction of travel.
    """
    key, sort = orders.column(OrderColumn.ORDER_KEY), orders.column(shape.ordering.column)
    texts = [_row(orders, template, shape.ordering).label(f"row_{index}") for index, template in enumerate(templates)]
    by = [sort.label("by_value"), key.label("by_key")] if ends else []
    inner = rows_of(
        orders,
        shape,
        _columns(templates, shape.ordering),
        [*texts, *by] or [sa.literal_column("1").label("nothing")],
    ).subquery("page")
    columns: list[sa.ColumnElement[Any]] = [
        sa.func.count().label("read"),
        any_behind(orders, shape).label("any_behind") if shape.look_back else sa.false().label("any_behind"),
    ]
    for text in texts:
        column = inner.c[text.name]
        columns += [sa.func.count(column), sa.func.string_agg(column, _constant(BETWEEN_ROWS), type_=TEXT())]
    if ends:
        last = sa.func.least(sa.literal_column(str(shape.size), sa.Integer()), sa.cast(sa.func.count(), sa.Integer()))
        for place in (sa.literal_column("1", sa.Integer()), last):
            for name in ("by_value", "by_key"):
                column = inner.c[name]
                columns.append(sa.func.array_agg(column, type_=ARRAY(column.type))[place])
    return sa.select(*columns).select_from(inner)


def json_orders_statement(orders: Orders, templates: tuple[Template, ...]) -> sa.Select[Any]:
    """The orders with the keys `keys`: each one's key, and its text by each template."""
    key = orders.column(OrderColumn.ORDER_KEY)
    return (
        sa.select(key, *(_row(orders, template, None) for template in templates))
        .select_from(orders.rows(_columns(templates, None)))
        .where(key == sa.any_(sa.bindparam("keys", type_=ARRAY(sa.BigInteger()))))
    )


def _columns(templates: Iterable[Template], ordering: Ordering | None) -> set[OrderColumn]:
    columns = {slot.column for template in templates for slot in template.slots}
    return columns | {ordering.column, OrderColumn.ORDER_KEY} if ordering else columns


def _row(orders: Orders, template: Template, ordering: Ordering | None) -> _Text:
    """An order as text; null where any value of it is."""
    pieces: list[_Piece] = []
    for part in template.parts:
        pieces += [part] if isinstance(part, str) else _value(orders, part, ordering)
    return _joined(pieces)


def _joined(pieces: Iterable[_Piece]) -> _Text:
    """What is constant and what is not, side by side."""
    merged: list[_Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and merged and isinstance(merged[-1], str):
            merged[-1] += piece
        else:
            merged.append(piece)
    operands = [_constant(piece) if isinstance(piece, str) else piece for piece in merged]
    if len(operands) == 1:
        return operands[0]
    # Flat: one operator within the other would nest as deep as the template is long.
    return ExpressionClauseList(operators.concat_op, *operands, type_=TEXT())


def _value(orders: Orders, slot: Slot, ordering: Ordering | None) -> list[_Piece]:
    column = orders.column(slot.column)
    if slot.form is Form.CURSOR:
        return ['"', *_cursor(orders, ordering), '"'] if ordering else [_constant(None)]
    pieces = _FORMS[slot.form](column, slot)
    if not slot.nullable:
        return pieces
    return [sa.case((column.is_(None), _constant("null")), else_=_joined(pieces))]


def _cursor(orders: Orders, ordering: Ordering) -> list[_Piece]:
    """As `schema.relay.pagination.encode_cursor` has it."""
    key, sort = orders.column(OrderColumn.ORDER_KEY), orders.column(ordering.column)
    if ordering.column is OrderColumn.ORDER_KEY:
        start, encoded = _base64(cursor_start(ordering), _as_text(key, BIGINT()), "]")
        return [start, sa.func.rtrim(encoded, _constant("="))]
    value = sa.case((sort.is_(None), _constant("null")), else_=_joined(['"', _as_text(sort), '"']))
    start, encoded = _base64(cursor_start(ordering), _as_text(key), ",", value, "]")
    # PostgreSQL breaks base64 into lines, and a price may have as many digits as it likes.
    return [start, sa.func.translate(encoded, _constant("=\n"), _constant(""))]


def _base64(start: str, *rest: _Piece) -> tuple[str, _Text]:
    """Text in base64: what is constant encoded here, as far as its groups of bytes go, and what PostgreSQL encodes.

    The alphabet of URLs is not asked for: of ASCII without `>`, `?`, `~` and DEL nothing is encoded as `+` or `/`.
    """
    whole = len(start) // _BASE64_GROUP_BYTES * _BASE64_GROUP_BYTES
    # A cast reads a backslash as the beginning of another byte, and there is none.
    encoded: _Text = sa.func.encode(
        sa.cast(_joined([start[whole:], *rest]), BYTEA()), _constant("base64"), type_=TEXT()
    )
    return base64.b64encode(start[:whole].encode()).decode(), encoded


def _global_id(column: sa.ColumnElement[Any], _slot: Slot) -> list[_Piece]:
    return ['"', *_base64("Order:", _as_text(column, BIGINT())), '"']


def _string(column: sa.ColumnElement[Any], _slot: Slot) -> list[_Piece]:
    return [sa.cast(sa.func.to_json(as_text(column)), TEXT())]


def _decimal(column: sa.ColumnElement[Any], _slot: Slot) -> list[_Piece]:
    # NaN is the greatest of all to PostgreSQL.
    finite = sa.and_(column > _bound("-Infinity", "numeric"), column < _bound("Infinity", "numeric"))
    return ['"', sa.case((finite, _as_text(column, NUMERIC()))), '"']


def _date(column: sa.ColumnElement[Any], _slot: Slot) -> list[_Piece]:
    return ['"', sa.case((_between(column, "date", *_DATES), _as_text(column, DATE()))), '"']


def _datetime(column: sa.ColumnElement[Any], _slot: Slot) -> list[_Piece]:
    utc = sa.func.timezone(_constant("UTC"), column)
    written = sa.func.to_char(utc, _constant('YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), type_=TEXT())
    return ['"', sa.case((_between(column, "timestamptz", *_MOMENTS), written)), '"']


def _integer(column: sa.ColumnElement[Any], _slot: Slot) -> list[_Piece]:
    return [sa.case((_between(column, "bigint", *_INTS), _as_text(column, BIGINT())))]


def _enum(column: sa.ColumnElement[Any], slot: Slot) -> list[_Piece]:
    names = {_constant(stored): _constant(f'"{name}"') for stored, name in slot.names}
    return [sa.case(names, value=as_text(column))]


def _between(column: sa.ColumnElement[Any], type_name: str, low: str, high: str) -> sa.ColumnElement[bool]:
    return sa.and_(column >= _bound(low, type_name), column <= _bound(high, type_name))


def _bound(value: str, type_name: str) -> sa.ColumnElement[Any]:
    return sa.literal_column(f"'{value}'::{type_name}")


def _as_text(column: sa.ColumnElement[Any], type_: sa.types.TypeEngine[Any] | None = None) -> _Text:
    """A value as its type writes it.

    It is cast to the type first, for a column may have become another since it was looked up: what a text column then
    holds may be no value, but JSON of its own.
    """
    return sa.cast(column if type_ is None else sa.cast(column, type_), TEXT())


def _constant(text: str | None) -> _Text:
    """A constant in the statement's own text. What is in it are names of the schema's, and JSON's punctuation."""
    if text is None:
        return sa.cast(sa.null(), TEXT())
    quoted = text.replace("'", "''").replace("\n", "\\n")
    return sa.literal_column(f"E'{quoted}'" if "\n" in text else f"'{quoted}'", TEXT())


_FORMS: Final[dict[Form, Callable[[sa.ColumnElement[Any], Slot], list[_Piece]]]] = {
    Form.INT: _integer,
    Form.BOOLEAN: lambda column, _slot: [_as_text(column, BOOLEAN())],
    Form.STRING: _string,
    Form.BIGINT: lambda column, _slot: ['"', _as_text(column, BIGINT()), '"'],
    Form.DECIMAL: _decimal,
    Form.DATE: _date,
    Form.DATETIME: _datetime,
    Form.ENUM: _enum,
    Form.GLOBAL_ID: _global_id,
}
