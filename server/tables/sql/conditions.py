"""SQL of conditions: comparisons of columns with parameters, and the values of the parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

from schema.ports.values import Operator
from server.tables.catalog.column_types import AsText, BlankPadded

if TYPE_CHECKING:
    from schema.ports.columns import Column
    from schema.ports.values import Conditions, PageRequest
    from server.tables.source import Source
    from server.tables.sql.shape import Shape

_LAST_CHARACTER: Final = "\U0010ffff"
_SURROGATES, _AFTER_SURROGATES = 0xD800, 0xE000
# More than any name has.
_NAME_CHARACTERS: Final = 100
_COMPARE = {
    Operator.EQ: sa.ColumnElement.__eq__,
    Operator.GT: sa.ColumnElement.__gt__,
    Operator.GTE: sa.ColumnElement.__ge__,
    Operator.LT: sa.ColumnElement.__lt__,
    Operator.LTE: sa.ColumnElement.__le__,
}


def values_of(request: PageRequest, prefix: str = "") -> dict[str, Any]:
    """The values of the statement's parameters."""
    values: dict[str, Any] = {}
    for index, condition in enumerate(request.conditions):
        values[f"{prefix}condition_{index}"] = condition.value
        if condition.operator is Operator.STARTS_WITH:
            values[f"{prefix}condition_{index}_end"] = _end_of_prefix(str(condition.value))
            values[f"{prefix}condition_{index}_start"] = condition.value
    if request.position is not None:
        for index, part in enumerate(request.position.values):
            values[f"{prefix}position_value_{index}"] = part
        values |= {f"{prefix}position_key_{index}": part for index, part in enumerate(request.position.key)}
    return values


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
