"""SQL of groups of orders: one statement groups them by their keys, sorts the groups, and returns the first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

from schema.graph import TABLES
from schema.orders.groups import column_of, values_of
from schema.orders.types import ORDERS
from schema.ports.groups import GroupKey, GroupSort
from server.orders.sql_aggregates import price_statistics
from server.tables.source import as_text
from server.tables.sql.conditions import in_order, where
from server.tables.sql.pages import limit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schema.ports.groups import GroupRequest
    from server.orders.sql_merged import Orders
    from server.tables.catalog.served import Sources

_CUSTOMERS, _NATIONS = TABLES["customers"], TABLES["nations"]
# The dates that the schema can return. Infinity has neither a year nor a month.
_FIRST_DAY: Final = sa.literal_column("date '0001-01-01'", sa.Date())
_LAST_DAY: Final = sa.literal_column("date '9999-12-31'", sa.Date())

# The keys that have an index: a number and a date.
_INDEXED: Final = frozenset({GroupKey.CUSTOMER, GroupKey.ORDER_DAY})


def groups_statement(orders: Orders, others: Sources, request: GroupRequest) -> sa.Select[Any]:
    """A row for each group: the values of its keys, the number of its orders, and the price statistics if wanted.

    If there are more groups than wanted, there is one row more.

    Args:
        orders: the orders.
        others: the tables that the request reads beside them.
        request: the groups that are wanted.
    """
    orders = orders.whole()
    wanted = [column_of(key) for key in request.by]
    rows = orders.rows([column for table, column in wanted if table is ORDERS], request.conditions)
    # Under names of their own, because a condition may read the same tables.
    joined = {name: others[name].synced.alias(f"grouped_{name}") for name in request.tables}
    if (customers := joined.get(_CUSTOMERS.name)) is not None:
        ordered_by = orders.column(ORDERS["customer_key"])
        rows = rows.outerjoin(customers, customers.c[_CUSTOMERS["customer_key"].name] == ordered_by)
        if (nations := joined.get(_NATIONS.name)) is not None:
            nation_key = customers.c[_CUSTOMERS["nation_key"].name]
            rows = rows.outerjoin(nations, nations.c[_NATIONS["nation_key"].name] == nation_key)
    keys = [
        _value(key, orders.column(column) if table is ORDERS else joined[table.name].c[column.name])
        for key, (table, column) in zip(request.by, wanted, strict=True)
    ]
    if request.sort is not GroupSort.KEYS or request.at_least > 1:
        # All groups are made. Along the index of a key PostgreSQL would read the whole table in random order for them.
        nothing: sa.ColumnElement[Any] = sa.literal_column("0")
        keys = [
            value.op("+")(nothing) if key in _INDEXED else value for key, value in zip(request.by, keys, strict=True)
        ]
    grouped_by: list[sa.ColumnElement[Any]] = []
    for place, key in enumerate(request.by):
        if key is GroupKey.STATUS:
            # Of a merged status PostgreSQL expects hundreds of values, and would sort all orders. A truth has two.
            truths = {
                status: (as_text(keys[place]) == status).is_(sa.true()) for status in map(_literal, values_of(key))
            }
            grouped_by += truths.values()
            keys[place] = sa.case(*((truth, status) for status, truth in truths.items()))
        else:
            grouped_by.append(keys[place])
    grouped = (
        sa.select(*keys, sa.func.count(), *(price_statistics(orders) if request.prices else ()))
        .select_from(rows)
        .where(*where(orders, request.conditions))
        .group_by(*grouped_by)
        .order_by(*_order(orders, request, keys))
        .limit(limit(request.size + 1))
    )
    return grouped.having(sa.func.count() >= request.at_least) if request.at_least > 1 else grouped


def _literal(text: object) -> sa.ColumnElement[str]:
    """A value of the schema in the statement's text."""
    return sa.literal_column(f"'{text}'", TEXT())


def _value(key: GroupKey, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """The value that orders are grouped by. It has no parameters: PostgreSQL compares the texts of its two places."""
    if key is GroupKey.ORDER_YEAR:
        value: sa.ColumnElement[Any] = sa.cast(sa.extract("year", column), sa.Integer())
    elif key is GroupKey.ORDER_MONTH:
        day = sa.cast(sa.extract("day", column), sa.Integer())
        value = column.op("-", return_type=sa.Date())(day.op("-")(sa.literal_column("1")))
    else:
        return column
    return sa.case((column.between(_FIRST_DAY, _LAST_DAY), value))


def _order(orders: Orders, request: GroupRequest, keys: list[sa.ColumnElement[Any]]) -> Iterator[sa.ColumnElement[Any]]:
    by_keys = [part for key, value in zip(request.by, keys, strict=True) for part in _sortable(key, value)]
    if request.sort is GroupSort.KEYS:
        yield from (part.desc() if request.descending else part.asc() for part in by_keys)
        return
    if request.sort is GroupSort.COUNT:
        measure: sa.ColumnElement[Any] = sa.func.count()
    else:
        measure = sa.func.sum(orders.column(ORDERS["total_price"]))
    yield (measure.desc() if request.descending else measure.asc()).nulls_last()
    yield from by_keys


def _sortable(key: GroupKey, value: sa.ColumnElement[Any]) -> Iterator[sa.ColumnElement[Any]]:
    """What to sort a key by: enums by their place in the schema, texts by their code points."""
    if values := values_of(key):
        yield sa.func.array_position(sa.bindparam(None, [*values], type_=ARRAY(TEXT())), as_text(value))
    yield in_order(value)
