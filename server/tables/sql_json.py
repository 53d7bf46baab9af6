"""SQL that writes rows as JSON: PostgreSQL fills the slots of the templates, and a page arrives as one text.

PostgreSQL writes a page in about half the time that Python takes to build it. A value that its GraphQL type would
refuse makes the text of its row null. Such a row is counted and not written, so the caller can tell by the counts.
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
from schema.relay.pagination import cursor_start
from server.db.driver import Compiled
from server.tables.source import as_text
from server.tables.sql_pages import any_behind, rows_of
from server.tables.sql_rows import select_by_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from schema.ports.columns import Column, Table
    from schema.ports.templates import Slot, Template
    from schema.ports.values import Ordering
    from server.tables.source import Source
    from server.tables.sql_pages import Shape

_REMEMBERED_STATEMENTS: Final = 512
# Within a JSON string a newline is always escaped, so it separates rows safely. The answer has commas in its place.
BETWEEN_ROWS: Final = "\n"
_BASE64_GROUP_BYTES: Final = 3
_DATES: Final = ("0001-01-01", "9999-12-31")
_MOMENTS: Final = ("0001-01-02 00:00:00+00", "9999-12-30 00:00:00+00")
_INTS: Final = ("-2147483648", "2147483647")

_Text: TypeAlias = sa.ColumnElement[str]
_Piece: TypeAlias = str | sa.ColumnElement[str]


@lru_cache(maxsize=_REMEMBERED_STATEMENTS)
def json_page(source: Source, shape: Shape, templates: tuple[Template, ...], *, ends: bool) -> Compiled:
    """The statement of a page, compiled: caching the expression tree would take a hundred times the memory."""
    return Compiled(json_page_statement(source, shape, templates, ends=ends), by_values=shape.by_values)


@lru_cache(maxsize=_REMEMBERED_STATEMENTS)
def json_rows(source: Source, templates: tuple[Template, ...]) -> Compiled:
    """The statement of single rows, compiled."""
    return Compiled(json_rows_statement(source, templates))


def json_page_statement(source: Source, shape: Shape, templates: tuple[Template, ...], *, ends: bool) -> sa.Select[Any]:
    """A page in one row.

    The row begins with the number of rows read (the page's size and one more, if there are as many), and whether any
    row is behind. Then come, for each template, the number of rows that it could write, and their text. If the ends
    are wanted, the sort value and the key of the first and the last row on the page follow, in the direction of
    travel.
    """
    texts = [_row(source, template, shape.ordering).label(f"row_{index}") for index, template in enumerate(templates)]
    ordering = shape.ordering
    outermost = (ordering.column, *ordering.table.key) if ends else ()
    by = [source.column(column).label(f"by_{index}") for index, column in enumerate(outermost)]
    inner = rows_of(
        source,
        shape,
        _columns(templates, shape.ordering),
        [*texts, *by] or [sa.literal_column("1").label("nothing")],
    ).subquery("page")
    columns: list[sa.ColumnElement[Any]] = [
        sa.func.count().label("read"),
        any_behind(source, shape).label("any_behind") if shape.look_back else sa.false().label("any_behind"),
    ]
    for text in texts:
        column = inner.c[text.name]
        columns += [sa.func.count(column), sa.func.string_agg(column, _constant(BETWEEN_ROWS), type_=TEXT())]
    if ends:
        last = sa.func.least(sa.literal_column(str(shape.size), sa.Integer()), sa.cast(sa.func.count(), sa.Integer()))
        for index in (sa.literal_column("1", sa.Integer()), last):
            for label in by:
                column = inner.c[label.name]
                columns.append(sa.func.array_agg(column, type_=ARRAY(column.type))[index])
    return sa.select(*columns).select_from(inner)


def json_rows_statement(source: Source, templates: tuple[Template, ...]) -> sa.Select[Any]:
    """The rows with the keys `keys`: the key of each, and its text by each template."""
    texts = [_row(source, template, None) for template in templates]
    return select_by_key(source, _columns(templates, None), texts)


def _columns(templates: Iterable[Template], ordering: Ordering | None) -> set[Column]:
    columns = {slot.column for template in templates for slot in template.slots}
    return columns | {ordering.column, *ordering.table.key} if ordering else columns


def _row(source: Source, template: Template, ordering: Ordering | None) -> _Text:
    """A row as text; null if any of its values is."""
    pieces: list[_Piece] = []
    for part in template.parts:
        pieces += [part] if isinstance(part, str) else _value(source, part, ordering)
    return _joined(pieces)


def _joined(pieces: Iterable[_Piece]) -> _Text:
    """The concatenation of constants and expressions. Neighbouring constants become one."""
    joined: list[_Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        else:
            joined.append(piece)
    operands = [_constant(piece) if isinstance(piece, str) else piece for piece in joined]
    if len(operands) == 1:
        return operands[0]
    # One flat list: binary operators would nest as deep as the template is long.
    return ExpressionClauseList(operators.concat_op, *operands, type_=TEXT())


def _value(source: Source, slot: Slot, ordering: Ordering | None) -> list[_Piece]:
    column = source.column(slot.column)
    if slot.form is Form.GLOBAL_ID:
        return ['"', *_base64(f"{source.table.type_name}:", *_key(source, source.table, between=":")), '"']
    if slot.form is Form.CURSOR:
        return ['"', *_cursor(source, ordering), '"'] if ordering else [_constant(None)]
    pieces = _FORMS[slot.form](column, slot)
    if not slot.nullable:
        return pieces
    return [sa.case((column.is_(None), _constant("null")), else_=_joined(pieces))]


def _cursor(source: Source, ordering: Ordering) -> list[_Piece]:
    """The cursor of a row, as `schema.relay.pagination.encode_cursor` encodes it."""
    sort, key = source.column(ordering.column), _key(source, ordering.table, between=",")
    if ordering.by_key:
        start, encoded = _base64(cursor_start(ordering), *key, "]")
        return [start, sa.func.rtrim(encoded, _constant("="))]
    value = sa.case((sort.is_(None), _constant("null")), else_=_joined(['"', _as_text(sort), '"']))
    start, encoded = _base64(cursor_start(ordering), *key, ",", value, "]")
    # PostgreSQL breaks long base64 into lines, and a price may have any number of digits.
    return [start, sa.func.translate(encoded, _constant("=\n"), _constant(""))]


def _base64(start: str, *rest: _Piece) -> tuple[str, _Text]:
    """Text in base64: a constant, encoded here up to its last whole group of bytes, and the rest for PostgreSQL.

    The URL-safe alphabet makes no difference: ASCII without `>`, `?`, `~` and DEL is never encoded as `+` or `/`.
    """
    whole = len(start) // _BASE64_GROUP_BYTES * _BASE64_GROUP_BYTES
    # The cast to bytea would read a backslash as an escape, but the text contains none.
    encoded: _Text = sa.func.encode(
        sa.cast(_joined([start[whole:], *rest]), BYTEA()), _constant("base64"), type_=TEXT()
    )
    return base64.b64encode(start[:whole].encode()).decode(), encoded


def _key(source: Source, table: Table, *, between: str) -> list[_Piece]:
    """The columns of the key as text, with a separator."""
    pieces: list[_Piece] = []
    for column in table.key:
        pieces += [*([between] if pieces else []), _as_text(source.column(column), BIGINT())]
    return pieces


def _string(column: sa.ColumnElement[Any], _slot: Slot) -> list[_Piece]:
    return [sa.cast(sa.func.to_json(as_text(column)), TEXT())]


def _decimal(column: sa.ColumnElement[Any], _slot: Slot) -> list[_Piece]:
    # PostgreSQL sorts NaN above Infinity.
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
    """A value in its type's text form.

    It is cast to the type first, because the column may have become a text column since it was looked up. Then its text
    could be anything, including JSON.
    """
    return sa.cast(column if type_ is None else sa.cast(column, type_), TEXT())


def _constant(text: str | None) -> _Text:
    """A constant within the statement's text. It consists of names from the schema and of JSON's punctuation."""
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
}
