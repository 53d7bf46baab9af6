"""SQL of rows by their keys, and of rows that belong to parents: one statement for however many there are."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from server.db.driver import Compiled
from server.tables.sql.conditions import conditions_of
from server.tables.sql.pages import any_behind, rows_of
from server.tables.sql.stretches import by_keys, sort_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from schema.ports.columns import Column
    from schema.ports.values import Key
    from server.tables.source import Source
    from server.tables.sql.shape import Shape

_REMEMBERED: Final = 256
# The parent of a row, in the statements of pages of several parents.
PARENT: Final = "wanted.parent"


@lru_cache(maxsize=_REMEMBERED)
def rows_by_key(source: Source, columns: tuple[Column, ...]) -> sa.Select[Any]:
    """The rows with the keys of `key_values`. Each begins with its key. Cached for a table and its columns."""
    return select_by_key(source, columns, [source.column(column).label(column.name) for column in columns])


def select_by_key(
    source: Source, columns: Iterable[Column], selected: Sequence[sa.ColumnElement[Any]], *, one_plan: bool = False
) -> sa.Select[Any]:
    """Select expressions over these columns from the rows with the keys of `key_values`. Each begins with its key.

    With `one_plan`, PostgreSQL does not see how many keys there are. It then keeps one plan: for a few keys it expects
    less work than for an unknown number, and would plan the statement anew each time.
    """
    keys = [source.column(column) for column in source.table.key]
    rows = source.rows(columns)
    arrays: list[Any] = [_array(f"keys_{index}") for index in range(len(keys))]
    if one_plan:
        # The cast makes it a value: ANY of a subquery compares with its rows.
        arrays = [sa.cast(sa.select(array).scalar_subquery(), array.type) for array in arrays]
    if len(keys) == 1:
        return sa.select(*keys, *selected).select_from(rows).where(keys[0] == sa.any_(arrays[0]))
    names = [f"key_{index}" for index in range(len(keys))]
    given = sa.func.unnest(*arrays)
    wanted = given.table_valued(*(sa.column(name, sa.BigInteger()) for name in names)).render_derived(name="wanted")
    same = [key == wanted.c[name] for key, name in zip(keys, names, strict=True)]
    return sa.select(*keys, *selected).select_from(rows).join(wanted, sa.and_(*same))


def key_values(keys: Sequence[Key]) -> dict[str, list[int]]:
    """The values of the parameters for these keys: an array for each column."""
    return {f"keys_{index}": list(parts) for index, parts in enumerate(zip(*keys, strict=True))}


@lru_cache(maxsize=_REMEMBERED)
def page_of_parents(source: Source, shape: Shape, columns: tuple[Column, ...]) -> Compiled:
    """The same page of each parent of `parents`.

    A row has the parent, whether any row is behind the page, `present`, and the columns. A parent whose page is empty
    has one row, in which `present` is null.
    """
    present = sa.true().label("present")
    selected = [source.column(column).label(column.name) for column in columns]
    keys = sort_keys(source, shape.ordering)
    page = rows_of(source, shape, columns, [present, *selected, *keys], parent=PARENT).lateral("page")
    by = [page.c[key.name] for key in keys]
    wanted = _wanted()
    parents: sa.FromClause = wanted
    behind: sa.ColumnElement[bool] = sa.false()
    if shape.look_back:
        # Behind a fence: PostgreSQL would look back for each row of a page.
        fence = sa.literal_column("0", sa.Integer())
        looked = sa.select(any_behind(source, shape, parent=PARENT).label("any_behind")).offset(fence).lateral("behind")
        parents, behind = wanted.join(looked, sa.true()), looked.c.any_behind
    return Compiled(
        sa.select(wanted.c.parent, behind, page.c.present, *(page.c[column.name] for column in columns))
        .select_from(parents.outerjoin(page, sa.true()))
        .order_by(*by_keys(shape.ordering, by, reverse=shape.backward))
    )


@lru_cache(maxsize=_REMEMBERED)
def counts_of_parents(source: Source, shape: Shape) -> Compiled:
    """The number of rows of each parent of `parents`, beside the parent."""
    counted = (
        sa.select(sa.func.count())
        .select_from(source.rows(shape.columns))
        .where(*conditions_of(source, shape, parent=PARENT))
    )
    return Compiled(sa.select(_wanted().c.parent, counted.scalar_subquery()))


def parent_values(parents: Sequence[object], others: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the parameters of a page or a count of these parents."""
    return {"parents": list(parents), **others}


def _wanted() -> sa.TableValuedAlias:
    given = sa.func.unnest(_array("parents"))
    return given.table_valued(sa.column("parent", sa.BigInteger())).render_derived(name="wanted")


def _array(name: str) -> sa.BindParameter[Any]:
    return sa.bindparam(name, type_=ARRAY(sa.BigInteger()))
