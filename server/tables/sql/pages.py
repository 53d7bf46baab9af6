"""SQL of a page of rows at a position: an index scan that stops after page size + 1 rows, at any depth."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from schema.ports.ways import Way
from server.db.driver import Compiled
from server.tables.catalog.column_types import BlankPadded
from server.tables.sql.conditions import conditions_of, in_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from schema.ports.columns import Column
    from schema.ports.values import Ordering
    from server.tables.source import Source
    from server.tables.sql.shape import Shape

# Per table. A frontend uses a few dozen.
_REMEMBERED_STATEMENTS: Final = 512


def order_by(
    source: Source, ordering: Ordering, *, reverse: bool = False, way: Way = Way.SERVED
) -> list[sa.ColumnElement[Any]]:
    """The ordering in SQL, or its exact reverse. Both columns have one direction, so one index serves both.

    If the rows are to be sorted, the ordering is by expressions that no index has.
    """
    columns = [in_order(source.column(column)) for column in _sort_columns(ordering)]
    if way is Way.SORTED:
        columns = [_without_index(column) for column in columns]
    return [column.desc() if ordering.descending is not reverse else column.asc() for column in columns]


def _without_index(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """A value that sorts as the column does, and that no index has."""
    if isinstance(column.type, BlankPadded):
        return sa.collate(column.op("||")(sa.literal_column("''")), "C")
    return column.op("+")(sa.literal_column("0"))


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
    one = sa.select(sa.literal_column("1")).subquery("one")
    return (
        sa.select(
            any_behind(source, shape).label("any_behind"),
            rows.c.present,
            *(rows.c[column.name] for column in columns),
        )
        .select_from(one.outerjoin(rows, sa.true()))
        .order_by(*_by_sort_keys(rows, descending=shape.descends))
    )


def rows_of(
    source: Source,
    shape: Shape,
    columns: Iterable[Column],
    selected: Sequence[sa.Label[Any]],
    *,
    parent: str | None = None,
) -> sa.Select[Any]:
    """Select expressions over these columns from the rows of a page and one more, in the direction of travel.

    `parent` is what the column `shape.ordering.within` has to equal: an expression of the query around this one.
    """
    rows = source.rows({*columns, *shape.columns})
    conditions = conditions_of(source, shape, parent=parent)
    travel = order_by(source, shape.ordering, reverse=shape.backward, way=shape.way)
    size = limit(shape.size + 1)
    stretches = _stretches(source, shape, descends=shape.descends, inclusive=False)
    if len(stretches) == 1:
        return sa.select(*selected).select_from(rows).where(*conditions, *stretches[0]).order_by(*travel).limit(size)
    # The union sorts by keys of its own: `selected` may already have sort keys for the outer query.
    keys = [key.label(f"by_{key.name}") for key in sort_keys(source, shape.ordering)]
    parts = [
        sa.select(*selected, *keys, sa.literal_column(str(index)).label("stretch"))
        .select_from(rows)
        .where(*conditions, *stretch)
        .order_by(*travel)
        .limit(size)
        for index, stretch in enumerate(stretches)
    ]
    union = sa.union_all(*(part.subquery().select() for part in parts)).subquery("stretches")
    by = [union.c[key.name] for key in keys]
    return (
        sa.select(*(union.c[label.name] for label in selected))
        .order_by(union.c.stretch, *(key.desc() if shape.descends else key.asc() for key in by))
        .limit(size)
    )


def any_behind(source: Source, shape: Shape, *, parent: str | None = None) -> sa.ColumnElement[bool]:
    """Whether any row is at the position or behind it: one probe of the index, or two if nulls may lie there.

    It does not use EXISTS: PostgreSQL drops the ORDER BY in an EXISTS, and could then choose to scan the table.
    """
    # Among the rows of a parent, no index of the page's order is walked where the page itself is not read so.
    way = Way.SERVED if parent is None else shape.way
    probes = (
        sa.select(sa.literal_column("1"))
        .select_from(source.rows(shape.columns))
        .where(*conditions_of(source, shape, parent=parent), *stretch)
        .order_by(*order_by(source, shape.ordering, reverse=not shape.backward, way=way))
        .limit(limit(1))
        .scalar_subquery()
        for stretch in _stretches(source, shape, descends=not shape.descends, inclusive=True)
    )
    return sa.or_(*(probe.is_not(None) for probe in probes))


def _stretches(source: Source, shape: Shape, *, descends: bool, inclusive: bool) -> list[list[sa.ColumnElement[bool]]]:
    """The conditions for the rows ahead of a position, one list for each stretch of the index, in order.

    A row comparison leaves out rows whose sort column is null, although the index has them at its upper end. So they
    are a stretch of their own, even if the column holds no nulls now: a sync may bring some at any time.
    """
    if not shape.position:
        return [[]]
    by = shape.ordering.column
    keys = [source.column(column) for column in shape.ordering.table.key]
    sort = in_order(source.column(by))
    after = _comparison(descends=descends, inclusive=inclusive)
    at = [sa.bindparam(f"{shape.prefix}position_key_{index}", type_=sa.BigInteger()) for index in range(len(keys))]
    if shape.ordering.by_key:
        return [[after(_row(keys), _row(at))]]
    if shape.position_is_null:
        rest = [sort.is_(None), after(_row(keys), _row(at))]
        return [rest, [sort.is_not(None)]] if descends else [rest]
    position_value = sa.bindparam(f"{shape.prefix}position_value", type_=sort.type)
    rest = [after(_row([sort, *keys]), _row([position_value, *at]))]
    return [rest] if descends else [rest, [sort.is_(None)]]


def _row(values: Sequence[sa.ColumnElement[Any]]) -> sa.ColumnElement[Any]:
    """A row of values to compare; a value alone is compared as such."""
    return values[0] if len(values) == 1 else sa.tuple_(*values)


def _comparison(*, descends: bool, inclusive: bool) -> Any:
    if descends:
        return sa.ColumnElement.__le__ if inclusive else sa.ColumnElement.__lt__
    return sa.ColumnElement.__ge__ if inclusive else sa.ColumnElement.__gt__


def _sort_columns(ordering: Ordering) -> list[Column]:
    return list(dict.fromkeys((ordering.column, *ordering.table.key)))


def sort_keys(source: Source, ordering: Ordering) -> list[sa.Label[Any]]:
    """The sort columns under separate names, for a query around the one that reads the index."""
    columns = enumerate(_sort_columns(ordering))
    return [in_order(source.column(column)).label(f"sort_{index}") for index, column in columns]


def _by_sort_keys(rows: sa.Subquery, *, descending: bool) -> list[sa.ColumnElement[Any]]:
    keys = [column for column in rows.c if column.name.startswith("sort_")]
    return [key.desc() if descending else key.asc() for key in keys]
