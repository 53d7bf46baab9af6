"""Owns the SQL of a page of orders by position: an index scan that stops after page size + 1 rows, at any depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from schema.ports import Operator, OrderColumn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schema.ports import Conditions, Ordering, PageRequest, Position
    from server.db.merged import Orders

_COMPARE = {
    Operator.EQ: sa.ColumnElement.__eq__,
    Operator.GT: sa.ColumnElement.__gt__,
    Operator.GTE: sa.ColumnElement.__ge__,
    Operator.LT: sa.ColumnElement.__lt__,
    Operator.LTE: sa.ColumnElement.__le__,
}


def where(orders: Orders, conditions: Conditions) -> list[sa.ColumnElement[bool]]:
    """The conditions in SQL. A list is one array parameter, so that its length does not change the statement."""
    clauses: list[sa.ColumnElement[bool]] = []
    for condition in conditions:
        column = orders.column(condition.column)
        # A key of 64 bits may be asked for where the column has fewer; an index compares the two all the same.
        type_ = sa.BigInteger() if isinstance(column.type, sa.Integer) else column.type
        if condition.operator is Operator.IN:
            values = sa.bindparam(None, condition.value, type_=ARRAY(type_))
            clauses.append(column == sa.any_(values))
        else:
            clauses.append(_COMPARE[condition.operator](column, sa.literal(condition.value, type_)))
    return clauses


def order_by(orders: Orders, ordering: Ordering, *, reverse: bool = False) -> list[sa.ColumnElement[Any]]:
    """The ordering in SQL, or its exact reverse: both columns one way, so that one index serves both."""
    columns = [orders.column(column) for column in _sort_columns(ordering)]
    return [column.desc() if ordering.descending is not reverse else column.asc() for column in columns]


def limit(rows: int) -> sa.ColumnElement[int]:
    """A limit in the statement's text: as a parameter a generic plan would take it for a tenth of the table."""
    return sa.literal_column(str(rows), sa.Integer())


def page_statement(orders: Orders, request: PageRequest, columns: Sequence[OrderColumn]) -> sa.Select[Any]:
    """One more row than the page holds, in the direction of travel.

    Where the request looks back, each row begins with whether there is any order behind, and a page without
    orders is one row whose second value, `present`, is null.
    """
    selected = [orders.column(column).label(column.value) for column in columns]
    if not request.look_back or request.position is None:
        return _page(orders, request, columns, selected or [sa.literal_column("1").label("nothing")])
    present = sa.true().label("present")
    keys = _sort_keys(orders, request.ordering)
    rows = _page(orders, request, columns, [present, *selected, *keys]).subquery("page")
    one = sa.select(sa.literal_column("1")).subquery("one")
    return (
        sa.select(
            _any_behind(orders, request, request.position).label("any_behind"),
            rows.c.present,
            *(rows.c[column.value] for column in columns),
        )
        .select_from(one.outerjoin(rows, sa.true()))
        .order_by(*_by_sort_keys(rows, descending=_descends(request)))
    )


def _page(
    orders: Orders, request: PageRequest, columns: Sequence[OrderColumn], selected: Sequence[sa.Label[Any]]
) -> sa.Select[Any]:
    source = orders.rows(columns, request.conditions)
    conditions = where(orders, request.conditions)
    travel = order_by(orders, request.ordering, reverse=request.backward)
    size = limit(request.size + 1)
    stretches = _stretches(orders, request.ordering, request.position, descends=_descends(request), inclusive=False)
    if len(stretches) == 1:
        return sa.select(*selected).select_from(source).where(*conditions, *stretches[0]).order_by(*travel).limit(size)
    # Sort keys of its own, beside those that may be selected for the query around this one.
    keys = [key.label(f"by_{key.name}") for key in _sort_keys(orders, request.ordering)]
    parts = [
        sa.select(*selected, *keys, sa.literal_column(str(index)).label("stretch"))
        .select_from(source)
        .where(*conditions, *stretch)
        .order_by(*travel)
        .limit(size)
        for index, stretch in enumerate(stretches)
    ]
    union = sa.union_all(*(part.subquery().select() for part in parts)).subquery("stretches")
    by = [union.c[key.name] for key in keys]
    return (
        sa.select(*(union.c[label.name] for label in selected))
        .order_by(union.c.stretch, *(key.desc() if _descends(request) else key.asc() for key in by))
        .limit(size)
    )


def _any_behind(orders: Orders, request: PageRequest, position: Position) -> sa.ColumnElement[bool]:
    """Whether any order is at the position or behind it: one probe of the index, or two where the nulls lie there.

    Not EXISTS, from which PostgreSQL drops the ORDER BY: it could then choose to scan the table.
    """
    stretches = _stretches(orders, request.ordering, position, descends=not _descends(request), inclusive=True)
    probes = (
        sa.select(sa.literal_column("1"))
        .select_from(orders.rows((), request.conditions))
        .where(*where(orders, request.conditions), *stretch)
        .order_by(*order_by(orders, request.ordering, reverse=not request.backward))
        .limit(limit(1))
        .scalar_subquery()
        for stretch in stretches
    )
    return sa.or_(*(probe.is_not(None) for probe in probes))


def _stretches(
    orders: Orders, ordering: Ordering, position: Position | None, *, descends: bool, inclusive: bool
) -> list[list[sa.ColumnElement[bool]]]:
    """What lies ahead of a position, as stretches of the index that follow each other.

    A row comparison leaves out rows whose sort column is null, though they are in the index, at its upper end.
    So they are a stretch of their own, also where the column has none: a sync may bring some at any time.
    """
    if position is None:
        return [[]]
    key, sort = orders.column(OrderColumn.ORDER_KEY), orders.column(ordering.column)
    after = _passes(descends=descends, inclusive=inclusive)
    position_key = sa.literal(position.key, sa.BigInteger())
    if ordering.column is OrderColumn.ORDER_KEY:
        return [[after(key, position_key)]]
    if position.value is None:
        rest = [sort.is_(None), after(key, position_key)]
        return [rest, [sort.is_not(None)]] if descends else [rest]
    rest = [after(sa.tuple_(sort, key), sa.tuple_(sa.literal(position.value, sort.type), position_key))]
    return [rest] if descends else [rest, [sort.is_(None)]]


def _passes(*, descends: bool, inclusive: bool) -> Any:
    if descends:
        return sa.ColumnElement.__le__ if inclusive else sa.ColumnElement.__lt__
    return sa.ColumnElement.__ge__ if inclusive else sa.ColumnElement.__gt__


def _descends(request: PageRequest) -> bool:
    return request.ordering.descending is not request.backward


def _sort_columns(ordering: Ordering) -> list[OrderColumn]:
    return list(dict.fromkeys((ordering.column, OrderColumn.ORDER_KEY)))


def _sort_keys(orders: Orders, ordering: Ordering) -> list[sa.Label[Any]]:
    """The sort columns under names of their own, for a query around the one that reads the index."""
    return [orders.column(column).label(f"sort_{index}") for index, column in enumerate(_sort_columns(ordering))]


def _by_sort_keys(rows: sa.Subquery, *, descending: bool) -> list[sa.ColumnElement[Any]]:
    keys = [column for column in rows.c if column.name.startswith("sort_")]
    return [key.desc() if descending else key.asc() for key in keys]
