"""SQL over many orders: numbered pages, statistics and samples."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from schema.orders.types import ORDERS
from schema.ports.values import StatsGroup
from schema.ports.ways import Way
from server.db.driver import Compiled
from server.tables.sql.conditions import where
from server.tables.sql.counts import regclass
from server.tables.sql.pages import limit, rows_of
from server.tables.sql.related import labelled
from server.tables.sql.stretches import order_by

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from schema.ports.columns import Column
    from schema.ports.values import Conditions
    from server.orders.sql_merged import Orders
    from server.tables.sql.shape import Shape

GROUP_COLUMNS: Final[dict[StatsGroup, Column]] = {
    StatsGroup.STATUS: ORDERS["status"],
    StatsGroup.PRIORITY: ORDERS["order_priority"],
}
_AVERAGE_DECIMALS = 4
_REMEMBERED_NUMBERED = 256
# A heap page of 8 KiB has at most this many line pointers (MaxHeapTuplesPerPage), and one of BLCKSZ in proportion.
_LINE_POINTERS_PER_BYTE = 291 / 8192
_LOCATION_IN_SAMPLE = """
= ANY(ARRAY(
    SELECT ('(' || floor(random() * :pages)::bigint || ',' || 1 + floor(random() * :pointers)::bigint || ')')::tid
    FROM generate_series(1, :draws)
))
"""


def selected(orders: Orders, columns: Iterable[Column]) -> list[sa.ColumnElement[Any]]:
    """The columns of a select list; a constant if there are none, because the rows still count."""
    return [orders.column(column) for column in columns] or [sa.literal_column("1")]


@lru_cache(maxsize=_REMEMBERED_NUMBERED)
def numbered_page(orders: Orders, shape: Shape, columns: tuple[Column, ...]) -> Compiled:
    """The statement of a numbered page, compiled once for a table and a shape. It depends on how much it skips."""
    return Compiled(numbered_page_statement(orders, shape, columns), by_values=True)


def numbered_page_statement(orders: Orders, shape: Shape, columns: Sequence[Column]) -> sa.Select[Any]:
    """The page after the first `skipped` orders, and one more row, which shows whether there is another page."""
    orders, skipped = orders.read(shape.way), sa.bindparam("skipped", type_=sa.BigInteger())
    if shape.way is Way.CHANGED or any(column.merged for column in (*shape.columns, *shape.ordering.columns)):
        chosen = labelled(orders, columns) or [sa.literal_column("1").label("nothing")]
        return rows_of(orders, shape, columns, chosen, skipped=skipped)
    # Rows that are skipped need no merged status, so only the page's own rows are looked up in the overlay.
    synced = orders.synced.c
    stored = [synced[column.name].label(column.name) for column in ORDERS.columns if column.name in synced]
    page = orders.among(rows_of(orders, shape, (), stored, skipped=skipped).subquery(orders.synced.name))
    return sa.select(*selected(page, columns)).select_from(page.rows(columns)).order_by(*order_by(page, shape.ordering))


def overlay_counts_statement(orders: Orders) -> sa.Select[Any]:
    """The number of orders in the overlay for each pair of synced status, as it was at the change, and status set."""
    overlay = orders.overlay
    if overlay is None:
        raise ValueError("these orders have no overlay")
    return (
        sa.select(overlay.c.synced_status, overlay.c.status, sa.func.count())
        .where(overlay.c.status.is_not(None))
        .group_by(overlay.c.synced_status, overlay.c.status)
    )


def stats_statement(orders: Orders, conditions: Conditions, groups: Sequence[StatsGroup]) -> sa.Select[Any]:
    """A row over all orders and one for each group: grouping bits, group values, count, sum, average, min, max."""
    orders = orders.whole()
    columns = [orders.column(GROUP_COLUMNS[group]) for group in groups]
    sets = sa.func.grouping_sets(sa.tuple_(), *(sa.tuple_(column) for column in columns))
    return (
        sa.select(
            sa.func.grouping(*columns) if columns else sa.literal_column("0"),
            *columns,
            sa.func.count(),
            *price_statistics(orders),
        )
        .select_from(orders.rows([GROUP_COLUMNS[group] for group in groups], conditions))
        .where(*where(orders, conditions))
        .group_by(sets)
    )


def price_statistics(orders: Orders) -> list[sa.ColumnElement[Any]]:
    """The sum, average, minimum and maximum of the total prices."""
    price = orders.column(ORDERS["total_price"])
    average = sa.func.round(sa.func.avg(price), _AVERAGE_DECIMALS)
    return [sa.func.sum(price), average, sa.func.min(price), sa.func.max(price)]


def heap_statement(orders: Orders) -> sa.Select[Any, Any]:
    """The number of pages of a plain table, and of the line pointers that a page can have. No row for a view."""
    block = sa.cast(sa.func.current_setting("block_size"), sa.Integer())
    oid = sa.func.to_regclass(regclass(orders))
    relkind: sa.ColumnElement[str] = sa.literal_column("c.relkind")
    return (
        sa.select(
            sa.func.pg_relation_size(oid) / block,
            sa.cast(sa.func.ceil(block * _LINE_POINTERS_PER_BYTE), sa.Integer()),
        )
        .select_from(sa.text("pg_catalog.pg_class c"))
        .where(sa.literal_column("c.oid") == oid, relkind == "r")
    )


def sample_statement(
    orders: Orders, columns: Sequence[Column], *, pages: int, pointers: int, draws: int
) -> sa.Select[Any]:
    """The orders at randomly drawn locations in the table. Each row begins with its location.

    Every location (page, line pointer) is equally likely and holds one order or none, so every order is equally
    likely. A sample of pages would favour neighbours. The next key after a random one would favour orders after gaps.
    """
    name = f'"{orders.synced.name}".ctid'
    drawn = sa.text(f"{name} {_LOCATION_IN_SAMPLE}").bindparams(
        *(
            sa.bindparam(name, value, sa.BigInteger())
            for name, value in {"pages": pages, "pointers": pointers, "draws": draws}.items()
        )
    )
    location: sa.ColumnElement[str] = sa.literal_column(f"{name}::text")
    return sa.select(location, *selected(orders, columns)).select_from(orders.rows(columns)).where(drawn)


def shuffled_statement(orders: Orders, columns: Sequence[Column], *, size: int) -> sa.Select[Any]:
    """A random sample: all orders sorted at random. For small tables and views."""
    return (
        sa.select(*selected(orders, columns))
        .select_from(orders.rows(columns))
        .order_by(sa.func.random())
        .limit(limit(size))
    )
