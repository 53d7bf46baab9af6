"""SQL of a page of rows at a position: an index scan that stops after page size + 1 rows, at any depth."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from schema.ports.ways import Way
from server.db.driver import Compiled
from server.tables.sql.conditions import conditions_of
from server.tables.sql.stretches import by_keys, is_simple, sort_keys, stretches_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from schema.ports.columns import Column
    from server.tables.source import Source
    from server.tables.sql.shape import Shape

# Per table. A frontend uses a few dozen.
_REMEMBERED_STATEMENTS: Final = 512


def limit(rows: int) -> sa.ColumnElement[int]:
    """A limit in the statement's text: for a parameter, a generic plan would assume a tenth of the table."""
    return sa.literal_column(str(rows), sa.Integer())


@lru_cache(maxsize=_REMEMBERED_STATEMENTS)
def page_of(source: Source, shape: Shape, columns: tuple[Column, ...]) -> Compiled:
    """The statement of a page, compiled once for a table and a shape."""
    return Compiled(page_statement(source, shape, columns), by_values=shape.by_values)


def page_statement(source: Source, shape: Shape, columns: Sequence[Column]) -> sa.Select[Any]:
    """The rows of a page and one more, in the direction of travel.

    If the shape looks back, each row begins with whether any row is behind, and with `present`. A page without rows
    is then one row in which `present` is null.
    """
    source = source.read(shape.way)
    selected = [source.column(column).label(column.name) for column in columns]
    if not shape.look_back:
        return rows_of(source, shape, columns, selected or [sa.literal_column("1").label("nothing")])
    present = sa.true().label("present")
    keys = sort_keys(source, shape.ordering)
    rows = rows_of(source, shape, columns, [present, *selected, *keys]).subquery("page")
    by = [rows.c[key.name] for key in keys]
    one = sa.select(sa.literal_column("1")).subquery("one")
    return (
        sa.select(
            any_behind(source, shape).label("any_behind"),
            rows.c.present,
            *(rows.c[column.name] for column in columns),
        )
        .select_from(one.outerjoin(rows, sa.true()))
        .order_by(*by_keys(shape.ordering, by, reverse=shape.backward))
    )


def rows_of(
    source: Source,
    shape: Shape,
    columns: Iterable[Column],
    selected: Sequence[sa.Label[Any]],
    *,
    parent: str | None = None,
    skipped: sa.ColumnElement[int] | None = None,
) -> sa.Select[Any]:
    """Select expressions over these columns from the rows of a page and one more, in the direction of travel.

    Args:
        source: the table.
        shape: of the page.
        columns: the columns that the expressions need.
        selected: the expressions.
        parent: what the column `shape.ordering.within` has to equal: an expression of the query around this one.
        skipped: how many rows to pass before the page.
    """
    reads = {*columns, *shape.columns, *shape.ordering.columns}
    size = limit(shape.size + 1)
    stretches = stretches_of(source, shape, reverse=shape.backward, inclusive=False, way=shape.way)
    if len(stretches) == 1:
        (only,) = stretches
        found = sa.select(*selected).select_from(only.source.rows(reads))
        found = found.where(*conditions_of(only.source, shape, parent=parent), *only.conditions)
        return found.order_by(*only.by).limit(size).offset(skipped)
    # The union sorts by keys of its own: `selected` may already have sort keys for the outer query.
    most = size if skipped is None else size + skipped
    keys = [key.label(f"by_{key.name}") for key in sort_keys(source, shape.ordering)]
    parts = [
        sa.select(*selected, *keys, sa.literal_column(str(index)).label("stretch"))
        .select_from(stretch.source.rows(reads))
        .where(*conditions_of(stretch.source, shape, parent=parent), *stretch.conditions)
        .order_by(*stretch.by)
        .limit(most)
        for index, stretch in enumerate(stretches)
    ]
    begun = None
    if not is_simple(shape.ordering):
        # The second stretch may take a sort. It is read only if the first one does not fill the page.
        begun = parts[0].cte("begun")
        lacks_rows = sa.select(sa.func.count()).select_from(begun).scalar_subquery() < most
        parts = [sa.select(begun), parts[1].where(lacks_rows)]
    union = sa.union_all(*(part.subquery().select() for part in parts)).subquery("stretches")
    by = [union.c[key.name] for key in keys]
    found = (
        sa.select(*(union.c[label.name] for label in selected))
        .order_by(union.c.stretch, *by_keys(shape.ordering, by, reverse=shape.backward))
        .limit(size)
        .offset(skipped)
    )
    return found if begun is None else found.add_cte(begun, nest_here=True)


def any_behind(source: Source, shape: Shape, *, parent: str | None = None) -> sa.ColumnElement[bool]:
    """Whether any row is at the position or behind it: one probe of the index, or two if nulls may lie there.

    It does not use EXISTS: PostgreSQL drops the ORDER BY in an EXISTS, and could then choose to scan the table.
    """
    # Among the rows of a parent, no index of the page's order is walked where the page itself is not read so.
    walks = parent is None and is_simple(shape.ordering) and shape.ordering.first in source.table.sorts
    way = Way.SERVED if walks and shape.way is not Way.CHANGED else shape.way
    reads = {*shape.columns, *shape.ordering.columns}
    probes = (
        sa.select(sa.literal_column("1"))
        .select_from(stretch.source.rows(reads))
        .where(*conditions_of(stretch.source, shape, parent=parent), *stretch.conditions)
        .order_by(*stretch.by)
        .limit(limit(1))
        .scalar_subquery()
        for stretch in stretches_of(source, shape, reverse=not shape.backward, inclusive=True, way=way)
    )
    return sa.or_(*(probe.is_not(None) for probe in probes))
