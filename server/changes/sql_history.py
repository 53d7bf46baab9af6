"""SQL that reads the history of changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from server.orders.sql_pages import limit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schema.ports.changes import ChangeFilter, ChangeWindow
    from server.db.app_tables import ChangeTables


def head_statement(tables: ChangeTables) -> sa.Select[Any]:
    """The id of the newest change; 0 if there is none."""
    return sa.select(sa.func.coalesce(sa.func.max(tables.change.c.id), 0))


def page_statement(
    tables: ChangeTables, window: ChangeWindow, chosen: ChangeFilter, *, until: int | None
) -> sa.Select[Any]:
    """The changes of a window and one more, in the direction of travel. Each row begins with `any_behind`.

    A page without changes is one row whose change is null.
    """
    change = tables.change
    conditions = _conditions(change, chosen, until)
    one = sa.select(sa.literal_column("1")).subquery("one")
    page = _next(change, window, conditions).subquery("page")
    behind = _any_behind(change, window, conditions)
    return sa.select(behind, *page.c).select_from(one.outerjoin(page, sa.true())).order_by(*_travel(page.c, window))


def of_orders_statement(
    tables: ChangeTables, keys: Sequence[int], window: ChangeWindow, *, until: int | None
) -> sa.Select[Any]:
    """The changes of a window for each of these orders. Each row begins with the order's key and `any_behind`."""
    change = tables.change
    given = sa.bindparam(None, list(keys), type_=ARRAY(sa.BigInteger()))
    wanted = sa.func.unnest(given).table_valued("o_orderkey", name="wanted").render_derived()
    conditions = [change.c.o_orderkey == wanted.c.o_orderkey]
    if until is not None:
        conditions.append(change.c.id <= sa.literal(until, sa.BigInteger()))
    page = _next(change, window, conditions).correlate(wanted).lateral("page")
    return (
        sa.select(wanted.c.o_orderkey, _any_behind(change, window, conditions), *page.c)
        .select_from(wanted.outerjoin(page, sa.true()))
        .order_by(*_travel(page.c, window))
    )


def by_ids_statement(tables: ChangeTables, ids: Sequence[int]) -> sa.Select[Any]:
    """The changes with these ids."""
    given = sa.bindparam(None, list(ids), type_=ARRAY(sa.BigInteger()))
    return sa.select(tables.change).where(tables.change.c.id == sa.any_(given))


def between_statement(
    tables: ChangeTables, after: int, until: int, order_keys: frozenset[int] | None, *, size: int
) -> sa.Select[Any]:
    """The first changes after one position and up to another."""
    change = tables.change
    statement = (
        sa.select(change)
        .where(change.c.id > sa.literal(after, sa.BigInteger()), change.c.id <= sa.literal(until, sa.BigInteger()))
        .order_by(change.c.id)
        .limit(limit(size))
    )
    if order_keys is not None:
        given = sa.bindparam(None, sorted(order_keys), type_=ARRAY(sa.BigInteger()))
        statement = statement.where(change.c.o_orderkey == sa.any_(given))
    return statement


def _conditions(change: sa.Table, chosen: ChangeFilter, until: int | None) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    if chosen.order_keys is not None:
        given = sa.bindparam(None, sorted(chosen.order_keys), type_=ARRAY(sa.BigInteger()))
        conditions.append(change.c.o_orderkey == sa.any_(given))
    if chosen.changed_by is not None:
        conditions.append(change.c.changed_by == chosen.changed_by)
    if until is not None:
        conditions.append(change.c.id <= sa.literal(until, sa.BigInteger()))
    return conditions


def _next(change: sa.Table, window: ChangeWindow, conditions: Sequence[sa.ColumnElement[bool]]) -> sa.Select[Any]:
    statement = sa.select(change).where(*conditions).order_by(*_travel(change.c, window)).limit(limit(window.size + 1))
    if window.position is None:
        return statement
    position = sa.literal(window.position, sa.BigInteger())
    return statement.where(change.c.id < position if window.backward else change.c.id > position)


def _any_behind(
    change: sa.Table, window: ChangeWindow, conditions: Sequence[sa.ColumnElement[bool]]
) -> sa.ColumnElement[bool]:
    if window.position is None:
        return sa.false()
    position = sa.literal(window.position, sa.BigInteger())
    behind = change.c.id >= position if window.backward else change.c.id <= position
    return sa.exists(sa.select(sa.literal_column("1")).select_from(change).where(*conditions, behind))


def _travel(columns: Any, window: ChangeWindow) -> tuple[sa.ColumnElement[Any]]:
    return (columns.id.desc() if window.backward else columns.id.asc(),)
