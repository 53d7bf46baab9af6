"""SQL that reads the history of changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from schema.ports.changes import BEGINNING
from server.changes.sql_writes import MOMENT
from server.tables.sql.pages import limit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schema.ports.changes import ChangeFilter, ChangeWindow, FeedPlace
    from server.db.app_tables import ChangeTables


_MOMENT: sa.ColumnElement[int] = sa.literal_column(MOMENT, sa.BigInteger()).label("moment")


def head_statement(tables: ChangeTables) -> sa.Select[Any]:
    """The id and the moment of the newest change."""
    return sa.select(tables.change.c.id, _MOMENT).order_by(tables.change.c.id.desc()).limit(limit(1))


def places_statement(tables: ChangeTables, ids: Sequence[int]) -> sa.Select[Any]:
    """The ids and moments of those changes that exist."""
    return by_ids_statement(tables, ids).with_only_columns(tables.change.c.id, _MOMENT)


def page_statement(
    tables: ChangeTables, window: ChangeWindow, chosen: ChangeFilter, *, until: FeedPlace | None
) -> sa.Select[Any]:
    """The changes of a window and one more, in the direction of travel.

    Each row begins with whether the history has the window's position, and with `any_behind`.

    A page without changes is one row whose change is null.
    """
    change = tables.change
    conditions = _conditions(change, chosen, until)
    one = sa.select(sa.literal_column("1")).subquery("one")
    by_user = chosen.changed_by is not None
    page = _next(change, window, conditions, by_user=by_user).subquery("page")
    behind = _any_behind(change, window, conditions, by_user=by_user)
    return (
        sa.select(_known(change, window), behind, *page.c)
        .select_from(one.outerjoin(page, sa.true()))
        .order_by(*_travel(page.c, window))
    )


def of_orders_statement(
    tables: ChangeTables, keys: Sequence[int], window: ChangeWindow, *, until: FeedPlace | None
) -> sa.Select[Any]:
    """The changes of a window for each of these orders. Each row begins with the order's key, then as in a page."""
    change = tables.change
    wanted = _each(keys)
    conditions = [change.c.o_orderkey == wanted.c.o_orderkey]
    if until is not None:
        conditions.append(change.c.id <= sa.literal(until.id, sa.BigInteger()))
    page = _next(change, window, conditions).correlate(wanted).lateral("page")
    return (
        sa.select(wanted.c.o_orderkey, _known(change, window), _any_behind(change, window, conditions), *page.c)
        .select_from(wanted.outerjoin(page, sa.true()))
        .order_by(*_travel(page.c, window))
    )


def by_ids_statement(tables: ChangeTables, ids: Sequence[int]) -> sa.Select[Any]:
    """The changes with these ids."""
    given = sa.bindparam(None, list(ids), type_=ARRAY(sa.BigInteger()))
    return sa.select(tables.change, _MOMENT).where(tables.change.c.id == sa.any_(given))


def between_statement(
    tables: ChangeTables, after: int, until: int, order_keys: frozenset[int] | None, *, size: int
) -> sa.Select[Any]:
    """The first changes after one position and up to another.

    Those of certain orders are looked up order by order: in the order of ids PostgreSQL would read all of the history
    to find that these orders have no changes.
    """
    change = tables.change
    first = (
        sa.select(change, _MOMENT)
        .where(change.c.id > sa.literal(after, sa.BigInteger()), change.c.id <= sa.literal(until, sa.BigInteger()))
        .order_by(change.c.id)
        .limit(limit(size))
    )
    if order_keys is None:
        return first
    wanted = _each(sorted(order_keys))
    of_order = first.where(change.c.o_orderkey == wanted.c.o_orderkey).correlate(wanted).lateral("of_order")
    return (
        sa.select(*of_order.c).select_from(wanted.join(of_order, sa.true())).order_by(of_order.c.id).limit(limit(size))
    )


def _each(keys: Sequence[int]) -> sa.TableValuedAlias:
    """A row for each key."""
    given = sa.bindparam(None, list(keys), type_=ARRAY(sa.BigInteger()))
    return sa.func.unnest(given).table_valued("o_orderkey", name="wanted").render_derived()


def _conditions(change: sa.Table, chosen: ChangeFilter, until: FeedPlace | None) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    if chosen.order_keys is not None:
        given = sa.bindparam(None, sorted(chosen.order_keys), type_=ARRAY(sa.BigInteger()))
        conditions.append(change.c.o_orderkey == sa.any_(given))
    if chosen.changed_by is not None:
        # In an array, so that PostgreSQL does not drop the user from the order (`_travel`).
        user = sa.bindparam(None, [chosen.changed_by], type_=ARRAY(sa.Text()))
        conditions.append(change.c.changed_by == sa.any_(user))
    if until is not None:
        conditions.append(change.c.id <= sa.literal(until.id, sa.BigInteger()))
    return conditions


def _next(
    change: sa.Table, window: ChangeWindow, conditions: Sequence[sa.ColumnElement[bool]], *, by_user: bool = False
) -> sa.Select[Any]:
    statement = (
        sa.select(change, _MOMENT)
        .where(*conditions)
        .order_by(*_travel(change.c, window, by_user=by_user))
        .limit(limit(window.size + 1))
    )
    if window.position is None:
        return statement
    position = sa.literal(window.position.id, sa.BigInteger())
    return statement.where(change.c.id < position if window.backward else change.c.id > position)


def _any_behind(
    change: sa.Table, window: ChangeWindow, conditions: Sequence[sa.ColumnElement[bool]], *, by_user: bool = False
) -> sa.ColumnElement[bool]:
    if window.position is None:
        return sa.false()
    position = sa.literal(window.position.id, sa.BigInteger())
    behind = change.c.id >= position if window.backward else change.c.id <= position
    # Not EXISTS, in which PostgreSQL drops the order.
    found: sa.Select[Any] = sa.select(sa.literal_column("1")).select_from(change).where(*conditions, behind)
    return found.limit(limit(1)).order_by(*_travel(change.c, window, by_user=by_user)).scalar_subquery().is_not(None)


def _known(change: sa.Table, window: ChangeWindow) -> sa.ColumnElement[bool]:
    """Whether the history has the window's position."""
    position = window.position
    if position is None or position == BEGINNING:
        return sa.true()
    conditions = [change.c.id == sa.literal(position.id, sa.BigInteger())]
    if position.moment is not None:
        conditions.append(sa.literal(position.moment, sa.BigInteger()) == _MOMENT)
    return sa.exists(sa.select(sa.literal_column("1")).select_from(change).where(*conditions))


def _travel(columns: Any, window: ChangeWindow, *, by_user: bool = False) -> list[sa.ColumnElement[Any]]:
    """The order of travel. By the index on users, if there is only one user.

    PostgreSQL would choose the order of ids, expect many changes of the user, and read the whole history if there are
    none.
    """
    by = [columns.changed_by, columns.id] if by_user else [columns.id]
    return [column.desc() if window.backward else column.asc() for column in by]
