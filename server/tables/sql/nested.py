"""SQL that writes rows as JSON together with the rows and pages that they lead to, at any depth, in one statement."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TEXT

from server.db.driver import Compiled
from server.tables.sql.conditions import values_of
from server.tables.sql.pages import any_behind
from server.tables.sql.related import FENCE, Below, Names, RelatedRows, at_ends, labelled, page_rows, prefix_of
from server.tables.sql.rows import select_by_key
from server.tables.sql.values import constant

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schema.ports.columns import Table
    from schema.ports.templates import NestedRequest, Template
    from server.tables.catalog.served import Sources
    from server.tables.sql.shape import Shape

_REMEMBERED_STATEMENTS: Final = 256


@lru_cache(maxsize=_REMEMBERED_STATEMENTS)
def nested_page(
    sources: Sources,
    shape: Shape,
    templates: tuple[Template, ...],
    below: tuple[Below, ...],
    separator: str = ",",
    *,
    ends: bool,
) -> Compiled:
    """The statement of a page with all that is nested in it, compiled."""
    statement = nested_page_statement(sources, shape, templates, below, separator, ends=ends)
    return Compiled(statement, by_values=shape.by_values)


@lru_cache(maxsize=_REMEMBERED_STATEMENTS)
def nested_rows(sources: Sources, table: Table, templates: tuple[Template, ...], below: tuple[Below, ...]) -> Compiled:
    """The statement of single rows with all that is nested in them, compiled."""
    return Compiled(nested_rows_statement(sources, table, templates, below))


def nested_values(requests: Iterable[NestedRequest]) -> dict[str, Any]:
    """The values of the parameters of nested requests."""
    values: dict[str, Any] = {}
    for number, request in enumerate(requests):
        prefix = prefix_of(number)
        values |= values_of(request.page, prefix)
        if request.parent is not None:
            values[f"{prefix}parent"] = request.parent
    return values


def nested_page_statement(
    sources: Sources,
    shape: Shape,
    templates: tuple[Template, ...],
    below: tuple[Below, ...],
    separator: str = ",",
    *,
    ends: bool,
) -> sa.Select[Any]:
    """A page in one row, in its order and without the extra row.

    The row begins with the number of rows read (the page's size and one more, if there are as many), and whether any
    row is behind. Then come, for each template, the number of rows that it could write, and their text. If the ends
    are wanted, the sort values and the key of the first and the last row on the page follow.
    """
    source, ordering = sources[shape.ordering.table.name].read(shape.way), shape.ordering
    rows = RelatedRows(Names(sources, below), source)
    texts = [rows.text(rows.row, template.parts, ordering) for template in templates]
    outermost = ordering.columns if ends else ()
    by = [rows.row.column(column).label(f"by_{index}") for index, column in enumerate(outermost)]
    found = page_rows(source, shape, rows.row.columns, counted=True)
    page = rows.page(found, texts, by, counted=True)
    columns: list[sa.ColumnElement[Any]] = [
        sa.func.coalesce(sa.func.max(page.found), FENCE).label("read"),
        any_behind(source, shape).label("any_behind") if shape.look_back else sa.false().label("any_behind"),
    ]
    for text in page.texts:
        columns += [sa.func.count(text), sa.func.string_agg(text, constant(separator), type_=TEXT())]
    first, last = at_ends(page.others)
    return sa.select(*columns, *first, *last).select_from(page.rows)


def nested_rows_statement(
    sources: Sources, table: Table, templates: tuple[Template, ...], below: tuple[Below, ...]
) -> sa.Select[Any]:
    """The rows with the keys of `key_values`: the key of each, and its text by each template."""
    source = sources[table.name]
    rows = RelatedRows(Names(sources, below), source)
    keys = [rows.row.column(column) for column in table.key]
    texts = [rows.text(rows.row, template.parts) for template in templates]
    columns = labelled(source, rows.row.columns)
    found = select_by_key(source, rows.row.columns, columns, one_plan=True).with_only_columns(*columns).offset(FENCE)
    return sa.select(*keys, *texts).select_from(rows.joined_to(found))
