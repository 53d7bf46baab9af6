"""SQL that writes rows as JSON: PostgreSQL fills the slots of the templates, and a page arrives as one text.

PostgreSQL writes a page in about half the time that Python takes to build it. A value that its GraphQL type would
refuse makes the text of its row null. Such a row is counted and not written, so the caller can tell by the counts.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

from schema.ports.templates import Slot
from server.db.driver import Compiled
from server.tables.sql.pages import any_behind, rows_of
from server.tables.sql.rows import select_by_key
from server.tables.sql.values import constant, joined, value_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schema.ports.columns import Column
    from schema.ports.templates import Template
    from schema.ports.values import Ordering
    from server.tables.source import Source
    from server.tables.sql.shape import Shape
    from server.tables.sql.values import Piece, Text

_REMEMBERED_STATEMENTS: Final = 512
# Within a JSON string a newline is always escaped, so it separates rows safely. The answer has commas in its place.
BETWEEN_ROWS: Final = "\n"


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
    are wanted, the sort values and the key of the first and the last row on the page follow, in the direction
    of travel.
    """
    source = source.read(shape.way)
    texts = [_row(source, template, shape.ordering).label(f"row_{index}") for index, template in enumerate(templates)]
    outermost = shape.ordering.columns if ends else ()
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
        columns += [sa.func.count(column), sa.func.string_agg(column, constant(BETWEEN_ROWS), type_=TEXT())]
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
    return columns.union(ordering.columns) if ordering else columns


def _row(source: Source, template: Template, ordering: Ordering | None) -> Text:
    """A row as text; null if any of its values is."""
    pieces: list[Piece] = []
    for part in template.parts:
        if isinstance(part, str):
            pieces.append(part)
        elif isinstance(part, Slot):
            pieces += value_of(source, part, ordering)
    return joined(pieces)
