"""SQL of conditions: comparisons of columns with parameters, and the values of the parameters."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

from schema.ports.values import AnyOf, Not, OfRelated, Operator, comparisons_in
from schema.ports.ways import Way
from server.tables.catalog.column_types import AsText, BlankPadded
from server.tables.source import as_text
from server.tables.sql.shape import columns_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from schema.ports.columns import Column
    from schema.ports.values import Condition, Conditions, PageRequest
    from server.tables.source import Source
    from server.tables.sql.shape import Shape

_LAST_CHARACTER: Final = "\U0010ffff"
_SURROGATES, _AFTER_SURROGATES = 0xD800, 0xE000
# More than any name has.
_NAME_CHARACTERS: Final = 100
_COMPARE = {
    Operator.EQ: sa.ColumnElement.__eq__,
    Operator.NE: sa.ColumnElement.__ne__,
    Operator.GT: sa.ColumnElement.__gt__,
    Operator.GTE: sa.ColumnElement.__ge__,
    Operator.LT: sa.ColumnElement.__lt__,
    Operator.LTE: sa.ColumnElement.__le__,
}
_ORDERED: Final = frozenset({Operator.GT, Operator.GTE, Operator.LT, Operator.LTE})
# A character that has a meaning in a pattern of LIKE.
_SPECIAL: Final = re.compile(r"([%_\\])")
# Makes the parameter of a comparison: its first or another one, by the end of its name, with its type.
Parameter: TypeAlias = "Callable[[str, sa.types.TypeEngine[Any]], sa.ColumnElement[Any]]"
# Makes a comparison of a source's rows.
Compare: TypeAlias = "Callable[[Source, Any], sa.ColumnElement[bool]]"


def values_of(request: PageRequest, prefix: str = "") -> dict[str, Any]:
    """The values of the statement's parameters."""
    values: dict[str, Any] = {}
    for index, condition in enumerate(comparisons_in(request.conditions)):
        name = f"{prefix}condition_{index}"
        values |= {f"{name}{end}": value for end, value in _values(condition).items()}
    if request.position is not None:
        for index, part in enumerate(request.position.values):
            values[f"{prefix}position_value_{index}"] = part
        values |= {f"{prefix}position_key_{index}": part for index, part in enumerate(request.position.key)}
    return values


def conditions_of(source: Source, shape: Shape, *, parent: str | None = None) -> list[sa.ColumnElement[bool]]:
    """The conditions in SQL, with parameters for their values, and that of the parent."""
    numbers = itertools.count()

    def compare(of: Source, comparison: tuple[Column, Operator]) -> sa.ColumnElement[bool]:
        name = f"{shape.prefix}condition_{next(numbers)}"
        return _compared(of, *comparison, lambda end, type_: sa.bindparam(f"{name}{end}", type_=type_))

    within = shape.ordering.within
    writer = _Writer(compare, one_by_one=within is not None or shape.way is not Way.SORTED)
    found = [writer.term(source, term) for term in shape.terms]
    if within is not None and parent is not None:
        # As text: SQLAlchemy would add the query around this one to a FROM clause within.
        found.append(source.column(within) == sa.literal_column(parent))
    return found


def where(source: Source, conditions: Conditions) -> list[sa.ColumnElement[bool]]:
    """The conditions in SQL, with their values."""

    def compare(of: Source, condition: Condition) -> sa.ColumnElement[bool]:
        values = _values(condition)
        return _compared(
            of, condition.column, condition.operator, lambda end, type_: sa.bindparam(None, values[end], type_)
        )

    writer = _Writer(compare, one_by_one=False)
    return [writer.term(source, term) for term in conditions]


class _Writer(NamedTuple):
    """Writes terms in SQL, with their comparisons from left to right.

    Attributes:
        compare: writes a comparison.
        one_by_one: whether related rows are looked up for each row, by their index. Otherwise PostgreSQL may also begin
            at the related rows, or join both tables.
    """

    compare: Compare
    one_by_one: bool

    def term(self, source: Source, term: Any) -> sa.ColumnElement[bool]:
        """A term on the rows of a source."""
        if isinstance(term, AnyOf):
            return sa.or_(sa.false(), *(self._all(source, terms) for terms in term.alternatives))
        if isinstance(term, Not):
            if len(term.conditions) == 1 and isinstance(term.conditions[0], OfRelated):
                # In any other form than NOT EXISTS, PostgreSQL would not join the tables.
                return sa.not_(self._exists(source, term.conditions[0]))
            # Also where the comparisons are null: a row without a value is one that does not match.
            return self._all(source, term.conditions).self_group().is_not(sa.true())
        return self._exists(source, term) if isinstance(term, OfRelated) else self.compare(source, term)

    def _all(self, source: Source, terms: Iterable[Any]) -> sa.ColumnElement[bool]:
        return sa.and_(sa.true(), *(self.term(source, term) for term in terms))

    def _exists(self, source: Source, term: OfRelated) -> sa.ColumnElement[bool]:
        """Whether a row of another table belongs to the source's row, and matches."""
        other = source.others[term.table.name].again()
        same = other.column(term.there) == source.column(term.here)
        found: sa.Select[Any] = (
            sa.select(sa.literal_column("1"))
            .select_from(other.rows(columns_of(term.conditions)))
            .where(same, *(self.term(other, one) for one in term.conditions))
            # The source's row may come from several tables.
            .correlate_except(other.synced)
        )
        # PostgreSQL does not pull up a subquery with an OFFSET. To fill a short page it might read all related rows.
        return sa.exists(found.offset(sa.literal_column("0")) if self.one_by_one else found)


def _values(condition: Condition) -> dict[str, Any]:
    """The values of a comparison's parameters, by the ends of their names."""
    operator, value = condition.operator, condition.value
    if operator in {Operator.IS_NULL, Operator.IS_NOT_NULL}:
        return {}
    if operator is Operator.STARTS_WITH:
        return {"": value, "_end": _end_of_prefix(str(value)), "_start": value}
    if operator in {Operator.CONTAINS, Operator.CONTAINS_IN_ANY_CASE}:
        return {"": f"%{_literally(str(value))}%"}
    if operator is Operator.STARTS_WITH_IN_ANY_CASE:
        return {"": f"{_literally(str(value))}%"}
    return {"": value}


def _literally(text: str) -> str:
    """A pattern of LIKE that matches just this text."""
    return _SPECIAL.sub(r"\\\1", text)


def _compared(source: Source, by: Column, operator: Operator, parameter: Parameter) -> sa.ColumnElement[bool]:
    column = source.column(by)
    # A client may ask for a key of 64 bits although the column has fewer. An index can compare the two.
    type_ = sa.BigInteger() if isinstance(column.type, sa.Integer) else column.type
    if operator is Operator.IS_NULL:
        return column.is_(None)
    if operator is Operator.IS_NOT_NULL:
        return column.is_not(None)
    if operator in _OF_TEXTS:
        return _OF_TEXTS[operator](column, parameter)
    if by in source.table.sorts or operator in _ORDERED:
        # The index of a text that is sorted by code points finds equal ones so, too.
        column = in_order(column)
    # A list is one array, so that its length does not change the statement.
    if operator is Operator.IN:
        return column == sa.any_(parameter("", ARRAY(type_)))
    if operator is Operator.NOT_IN:
        # To an empty array, PostgreSQL compares no value at all.
        return sa.and_(column.is_not(None), column != sa.all_(parameter("", ARRAY(type_))))
    return _COMPARE[operator](column, parameter("", type_))


def _starts_with(column: sa.ColumnElement[Any], parameter: Parameter) -> sa.ColumnElement[bool]:
    """A stretch of the index: those texts are side by side in the order of the code points."""
    by_code = in_order(column)
    stretch = by_code >= parameter("", column.type), by_code < parameter("_end", column.type)
    if isinstance(column.type, AsText):
        return sa.and_(*stretch)
    # To char(n), blanks at the end of a prefix mean nothing.
    return sa.and_(*stretch, sa.func.starts_with(as_text(column), parameter("_start", TEXT())))


def _like(column: sa.ColumnElement[Any], parameter: Parameter) -> sa.ColumnElement[bool]:
    return as_text(column).like(parameter("", TEXT()))


def _like_in_any_case(column: sa.ColumnElement[Any], parameter: Parameter) -> sa.ColumnElement[bool]:
    return sa.func.lower(as_text(column)).like(sa.func.lower(parameter("", TEXT())))


_OF_TEXTS: Final[Mapping[Operator, Callable[[sa.ColumnElement[Any], Parameter], sa.ColumnElement[bool]]]] = {
    Operator.CONTAINS: _like,
    Operator.CONTAINS_IN_ANY_CASE: _like_in_any_case,
    Operator.STARTS_WITH: _starts_with,
    Operator.STARTS_WITH_IN_ANY_CASE: _like_in_any_case,
}


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
