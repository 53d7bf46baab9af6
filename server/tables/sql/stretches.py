"""SQL of an order: what rows are sorted by, and the stretches of them that lie ahead of a position.

An index has nulls at one end. So the rows with null in the first column are a stretch of their own wherever the order
has them at the other end, and wherever a comparison with a position would leave them out. Within a stretch, rows are
in the order of the index. After the first column PostgreSQL sorts only the rows that tie in it (incremental sort).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import INTERVAL

from schema.ports.values import Operator, SortKey
from schema.ports.ways import Way
from server.tables.catalog.column_types import BlankPadded
from server.tables.sql.conditions import in_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schema.ports.values import Ordering
    from server.tables.source import Source
    from server.tables.sql.shape import Shape


class Stretch(NamedTuple):
    """Rows that follow one another in an order.

    Attributes:
        source: where they are read from.
        conditions: which rows they are.
        by: their order within the stretch.
    """

    source: Source
    conditions: list[sa.ColumnElement[bool]]
    by: list[sa.ColumnElement[Any]]


class _Term(NamedTuple):
    """What rows are sorted by, in the direction of travel."""

    value: sa.ColumnElement[Any]
    descends: bool
    nulls_first: bool

    def by(self, *, like_an_index: bool = False) -> sa.ColumnElement[Any]:
        """The term in ORDER BY, with nulls where they belong, or where an index has them."""
        by = self.value.desc() if self.descends else self.value.asc()
        if like_an_index or self.nulls_first is self.descends:
            return by
        return by.nulls_first() if self.nulls_first else by.nulls_last()


def is_simple(ordering: Ordering) -> bool:
    """Whether one index has the whole order: the key, or a column and the key in one direction, with nulls as usual."""
    if ordering.by_key:
        return True
    key, *others = ordering.keys
    return not others and key == SortKey.of(key.column, descending=ordering.descending) and not key.column.merged


def order_by(source: Source, ordering: Ordering) -> list[sa.ColumnElement[Any]]:
    """The ordering in SQL."""
    return [term.by() for term in _terms(source, ordering, reverse=False)]


def sort_keys(source: Source, ordering: Ordering) -> list[sa.Label[Any]]:
    """The sort columns under separate names, for a query around this one, which sorts by them: `by_keys`."""
    return [in_order(source.column(one)).label(f"sort_{index}") for index, one in enumerate(ordering.columns)]


def by_keys(
    ordering: Ordering, keys: Sequence[sa.ColumnElement[Any]], *, reverse: bool = False
) -> list[sa.ColumnElement[Any]]:
    """The ordering in SQL, or its exact reverse, by the values of `ordering.columns`."""
    return [term.by() for term in _directed(ordering, keys, reverse=reverse)]


def stretches_of(source: Source, shape: Shape, *, reverse: bool, inclusive: bool, way: Way) -> list[Stretch]:
    """The rows ahead of the position of a shape, or all rows if it has none.

    Args:
        source: the table.
        shape: the shape.
        reverse: whether the travel is against the ordering.
        inclusive: whether the position itself is ahead.
        way: how the rows are found. If they are to be sorted, they are one stretch.
    """
    travel, ordering = _Travel(source, shape, reverse=reverse, inclusive=inclusive), shape.ordering
    if way is Way.CHANGED and ordering.first.merged:
        # What was changed has a time of the change.
        return [travel.with_value() or travel.nothing()]
    # The overlay has no index of another order.
    sorts = way is Way.SORTED or (way is Way.CHANGED and not ordering.by_key)
    return [travel.sorted()] if sorts else travel.along_an_index()


class _Travel:
    """The travel from a position, or from the beginning, to the end of an order."""

    def __init__(self, source: Source, shape: Shape, *, reverse: bool, inclusive: bool) -> None:
        self._source = source
        self._ordering = shape.ordering
        self._has_nulls_alone = (shape.ordering.first, Operator.IS_NULL) in shape.terms
        self._prefix = shape.prefix
        self._starts_at_position = shape.position
        self._nulls = shape.position_nulls
        self._reverse = reverse
        self._inclusive = inclusive

    def sorted(self) -> Stretch:
        """All rows ahead, in an order by expressions that no index has."""
        terms = self._terms(self._source)
        ahead = [self._ahead(terms)] if self._starts_at_position else []
        return Stretch(self._source, ahead, [term._replace(value=_without_index(term.value)).by() for term in terms])

    def along_an_index(self) -> list[Stretch]:
        """The rows ahead as stretches of the index of the first column, in the direction of travel."""
        if self._ordering.by_key:
            terms = self._terms(self._source)
            ahead = [self._ahead(terms)] if self._starts_at_position else []
            return [Stretch(self._source, ahead, [term.by() for term in terms])]
        first = self._terms(self._source)[0]
        if not self._starts_at_position and first.nulls_first is first.descends and not self._begins_elsewhere:
            return [Stretch(self._source, [], [term.by() for term in self._terms(self._source)])]
        stretches = [self.with_value(), self._without_value()]
        if first.nulls_first:
            stretches.reverse()
        some = [stretch for stretch in stretches if stretch is not None]
        return some or [self.nothing()]

    def nothing(self) -> Stretch:
        """No rows."""
        return Stretch(self._source, [sa.false()], [])

    @property
    def _begins_elsewhere(self) -> bool:
        return self._ordering.first.merged

    def with_value(self) -> Stretch | None:
        """The rows ahead that have a value in the first column; None if there can be none."""
        source = self._source.starting_at(self._ordering.first)
        if source is None or self._has_nulls_alone:
            return None
        terms = self._terms(source)
        first, by = terms[0], [terms[0].by(like_an_index=True), *(term.by() for term in terms[1:])]
        if not self._starts_at_position:
            return Stretch(source, [first.value.is_not(None)], by)
        if self._nulls[0]:
            return Stretch(source, [first.value.is_not(None)], by) if first.nulls_first else None
        if len(self._ordering.keys) == 1 and first.descends is terms[-1].descends:
            values = [term.value for term in terms]
            return Stretch(source, [self._compared(values, [self._value(0, first), *self._key()], first)], by)
        at = self._value(0, first)
        within = _compare(first.value, at, descends=first.descends, inclusive=True)
        beyond = _compare(first.value, at, descends=first.descends, inclusive=False)
        return Stretch(source, [within, sa.or_(beyond, self._ahead(terms, 1))], by)

    def _without_value(self) -> Stretch | None:
        """The rows ahead that have null in the first column; None if there can be none."""
        terms = self._terms(self._source)
        first, *others = terms
        conditions: list[sa.ColumnElement[bool]] = [first.value.is_(None)]
        if self._starts_at_position:
            if self._nulls[0]:
                conditions.append(self._ahead(terms, 1))
            elif first.nulls_first:
                return None
        by = [term.by() for term in others]
        return Stretch(self._source, conditions, by if self._begins_elsewhere else [first.by(like_an_index=True), *by])

    def _ahead(self, terms: Sequence[_Term], number: int = 0) -> sa.ColumnElement[bool]:
        """Whether a row is ahead of the position, if it ties with it in the terms before this one."""
        if number == len(self._ordering.keys):
            keys = terms[number:]
            return self._compared([term.value for term in keys], self._key(), keys[0])
        term = terms[number]
        rest = self._ahead(terms, number + 1)
        if self._nulls[number]:
            ties = sa.and_(term.value.is_(None), rest)
            return sa.or_(term.value.is_not(None), ties) if term.nulls_first else ties
        at = self._value(number, term)
        beyond = _compare(term.value, at, descends=term.descends, inclusive=False)
        ties = sa.and_(term.value == at, rest)
        return sa.or_(beyond, ties) if term.nulls_first else sa.or_(beyond, term.value.is_(None), ties)

    def _compared(
        self, values: Sequence[sa.ColumnElement[Any]], at: Sequence[sa.ColumnElement[Any]], term: _Term
    ) -> sa.ColumnElement[bool]:
        return _compare(_row(values), _row(at), descends=term.descends, inclusive=self._inclusive)

    def _value(self, number: int, term: _Term) -> sa.ColumnElement[Any]:
        # A cursor may hold a number of 64 bits although the column has fewer. An index can compare the two.
        type_ = sa.BigInteger() if isinstance(term.value.type, sa.Integer) else term.value.type
        return sa.bindparam(f"{self._prefix}position_value_{number}", type_=type_)

    def _key(self) -> list[sa.ColumnElement[Any]]:
        numbers = range(len(self._ordering.table.key))
        return [sa.bindparam(f"{self._prefix}position_key_{one}", type_=sa.BigInteger()) for one in numbers]

    def _terms(self, source: Source) -> list[_Term]:
        return _terms(source, self._ordering, reverse=self._reverse)


def _terms(source: Source, ordering: Ordering, *, reverse: bool) -> list[_Term]:
    return _directed(ordering, [in_order(source.column(column)) for column in ordering.columns], reverse=reverse)


def _directed(ordering: Ordering, values: Sequence[sa.ColumnElement[Any]], *, reverse: bool) -> list[_Term]:
    """The values of `ordering.columns` with their directions."""
    ties = [SortKey.of(column, descending=ordering.descending) for column in ordering.table.key]
    return [
        _Term(value, key.descending is not reverse, key.nulls_first is not reverse)
        for value, key in zip(values, (*ordering.keys, *ties), strict=True)
    ]


def _row(values: Sequence[sa.ColumnElement[Any]]) -> sa.ColumnElement[Any]:
    """A row of values to compare; a value alone is compared as such."""
    return values[0] if len(values) == 1 else sa.tuple_(*values)


def _compare(
    value: sa.ColumnElement[Any], at: sa.ColumnElement[Any], *, descends: bool, inclusive: bool
) -> sa.ColumnElement[bool]:
    if descends:
        return value <= at if inclusive else value < at
    return value >= at if inclusive else value > at


def _without_index(value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """A value that sorts as this one does, and that no index has."""
    if isinstance(value.type, BlankPadded):
        return sa.collate(value.op("||")(sa.literal_column("''")), "C")
    if isinstance(value.type, sa.DateTime):
        return value.op("+")(sa.literal_column("INTERVAL '0'", INTERVAL()))
    return value.op("+")(sa.literal_column("0"))
