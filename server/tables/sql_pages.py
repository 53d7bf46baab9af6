"""SQL of a page of rows at a position: an index scan that stops after page size + 1 rows, at any depth."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

from schema.ports.values import Operator
from schema.ports.ways import Way
from server.db.driver import Compiled
from server.tables.catalog.column_types import AsText, BlankPadded

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from schema.ports.columns import Column
    from schema.ports.values import Conditions, Ordering, PageRequest
    from server.tables.source import Source

_LAST_CHARACTER: Final = "\U0010ffff"
_SURROGATES, _AFTER_SURROGATES = 0xD800, 0xE000
# More than any name has.
_NAME_CHARACTERS: Final = 100
# Per table. A frontend uses a few dozen.
_REMEMBERED_STATEMENTS: Final = 512
_COMPARE = {
    Operator.EQ: sa.ColumnElement.__eq__,
    Operator.GT: sa.ColumnElement.__gt__,
    Operator.GTE: sa.ColumnElement.__ge__,
    Operator.LT: sa.ColumnElement.__lt__,
    Operator.LTE: sa.ColumnElement.__le__,
}


class Shape(NamedTuple):
    """The part of a page request that decides the statement's text. `values_of` gives the parameters for the rest."""

    ordering: Ordering
    comparisons: tuple[tuple[Column, Operator], ...]
    size: int
    position: bool
    position_is_null: bool
    backward: bool
    look_back: bool
    way: Way
    prefix: str = ""

    @classmethod
    def of(cls, request: PageRequest, way: Way = Way.SERVED, *, prefix: str = "") -> Shape:
        """The shape of a request that is read in this way. The names of its parameters have the prefix."""
        position = request.position
        return cls(
            ordering=request.ordering,
            comparisons=tuple((condition.column, condition.operator) for condition in request.conditions),
            size=request.size,
            position=position is not None,
            position_is_null=position is not None and position.value is None,
            backward=request.backward,
            look_back=request.look_back and position is not None,
            way=way,
            prefix=prefix,
        )

    @classmethod
    def of_parents(cls, request: PageRequest, *, prefix: str = "") -> Shape:
        """The shape of a request for rows that belong to parents.

        There is an index of the parent and the key. In any other order all rows of a parent are sorted: an index of
        that order has the rows of all parents.
        """
        return cls.of(request, Way.SERVED if request.ordering.by_key else Way.SORTED, prefix=prefix)

    @property
    def columns(self) -> frozenset[Column]:
        """The columns that the conditions filter by."""
        return frozenset(column for column, _ in self.comparisons)

    @property
    def by_values(self) -> bool:
        """Whether the best plan depends on the values. Of the merged status PostgreSQL knows nothing in any case."""
        return self.way is not Way.SERVED and any(
            column is not self.ordering.column and not column.merged for column in self.columns
        )

    @property
    def descends(self) -> bool:
        """Whether the rows are read in descending order."""
        return self.ordering.descending is not self.backward


def values_of(request: PageRequest, prefix: str = "") -> dict[str, Any]:
    """The values of the statement's parameters."""
    values: dict[str, Any] = {}
    for index, condition in enumerate(request.conditions):
        values[f"{prefix}condition_{index}"] = condition.value
        if condition.operator is Operator.STARTS_WITH:
            values[f"{prefix}condition_{index}_end"] = _end_of_prefix(str(condition.value))
            values[f"{prefix}condition_{index}_start"] = condition.value
    if request.position is not None:
        values[f"{prefix}position_value"] = request.position.value
        values |= {f"{prefix}position_key_{index}": part for index, part in enumerate(request.position.key)}
    return values


def where(source: Source, conditions: Conditions) -> list[sa.ColumnElement[bool]]:
    """The conditions in SQL, with their values."""
    found = []
    for condition in conditions:
        column, operator, value = _comparable(source, condition.column), condition.operator, condition.value
        end = _end_of_prefix(str(value)) if operator is Operator.STARTS_WITH else None
        found.append(_compared(column, operator, *({"key": None, "value": one} for one in (value, end, value))))
    return found


def _comparable(source: Source, column: Column) -> sa.ColumnElement[Any]:
    """A column to compare with values. The index of a text that is sorted by code points finds equal ones so, too."""
    found = source.column(column)
    return in_order(found) if column in source.table.sorts else found


def _compared(
    column: sa.ColumnElement[Any],
    operator: Operator,
    parameter: dict[str, Any],
    end: dict[str, Any],
    start: dict[str, Any],
) -> sa.ColumnElement[bool]:
    # A client may ask for a key of 64 bits although the column has fewer. An index can compare the two.
    type_ = sa.BigInteger() if isinstance(column.type, sa.Integer) else column.type
    if operator is Operator.IN:
        # One array, so that the list's length does not change the statement.
        return column == sa.any_(sa.bindparam(**parameter, type_=ARRAY(type_)))
    if operator is Operator.STARTS_WITH:
        # A stretch of the index: those texts are side by side in the order of the code points.
        by_code = in_order(column)
        stretch = by_code >= sa.bindparam(**parameter, type_=type_), by_code < sa.bindparam(**end, type_=type_)
        if isinstance(column.type, AsText):
            return sa.and_(*stretch)
        # To char(n), blanks at the end of a prefix mean nothing.
        return sa.and_(*stretch, sa.func.starts_with(sa.cast(column, TEXT()), sa.bindparam(**start, type_=TEXT())))
    return _COMPARE[operator](column, sa.bindparam(**parameter, type_=type_))


def _end_of_prefix(prefix: str) -> str:
    """The first text, by code points, after all that start with the prefix."""
    shorter = prefix.rstrip(_LAST_CHARACTER)
    if not shorter:
        return prefix + _LAST_CHARACTER * _NAME_CHARACTERS
    following = ord(shorter[-1]) + 1
    return shorter[:-1] + chr(_AFTER_SURROGATES if following == _SURROGATES else following)


def in_order(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """A column to sort or compare by: texts go by their code points, whatever the collation of the database is."""
    return sa.collate(column, "C") if isinstance(column.type, BlankPadded) else column


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


def conditions_of(source: Source, shape: Shape, *, parent: str | None = None) -> list[sa.ColumnElement[bool]]:
    """The conditions in SQL, with parameters for their values, and that of the parent."""
    found = []
    for index, (column, operator) in enumerate(shape.comparisons):
        name = f"{shape.prefix}condition_{index}"
        names = name, f"{name}_end", f"{name}_start"
        found.append(_compared(_comparable(source, column), operator, *({"key": name} for name in names)))
    within = shape.ordering.within
    if within is not None and parent is not None:
        # As text: SQLAlchemy would add the query around this one to a FROM clause within.
        found.append(source.column(within) == sa.literal_column(parent))
    return found


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
