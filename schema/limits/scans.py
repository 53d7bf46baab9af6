"""The price of finding rows: of those that the database reads beside the ones that it returns, and of counts.

How a page is found, and how long that takes, is decided in schema/ports/ways.py: a price is the time that is expected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from strawberry.utils.str_converters import to_camel_case

from schema.limits.arguments import filled
from schema.limits.conditions import asked_conditions, asked_ordering, names_of_filters
from schema.limits.formulas import ONE, Formula, PageSize, PriceByArgument
from schema.limits.prices import COUNT_OF_PARENT, COUNTED, ConditionalPrice
from schema.orders.groups import MAX_KEYS, OrderGroupBy, column_of
from schema.orders.types import ORDERS
from schema.ports.groups import GroupKey
from schema.ports.values import Condition, Operator, columns_in, comparisons_in, related_in
from schema.ports.ways import time_of_count, time_of_count_within, time_of_groups, way_of
from schema.tables.fields import Reads, roots_of
from schema.tables.indexes import served_filters
from schema.tables.registry import REGISTERED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from graphql import FieldNode

    from schema.context import PageLimits
    from schema.limits.arguments import GivenArguments
    from schema.limits.formulas import ArgumentValue, Number, StatisticsSource, Variables
    from schema.ports.columns import Column, Table
    from schema.ports.statistics import TableStatistics
    from schema.ports.values import Conditions, Ordering

# Ten times as long as a point of a page takes (schema/limits/prices.py), so that an operation may read the whole table.
# What it really takes is charged afterwards.
_MICROSECONDS_FOR_A_POINT: Final = 100
# The statement timeout ends a longer scan. An operation may cost more than one of them by default, but not two.
_MOST: Final = 20_000
# What sorting an order at random takes.
_SHUFFLED_MICROSECONDS: Final = 0.8
_PAGE: Final = frozenset({"edges", "nodes", "pageInfo"})


@dataclass(frozen=True, slots=True)
class Finds:
    """What a field finds.

    Attributes:
        table: the table that it reads.
        page: the fields below it that need a page; None if it reads rows whatever is selected.
        within: the column by which rows belong to a parent; None if they are those of a root field.
    """

    table: Table
    page: frozenset[str] | None = _PAGE
    within: Column | None = None


def _finding() -> Iterator[tuple[str, Finds]]:
    for declared in REGISTERED.values():
        for name, root in roots_of(declared):
            if root.reads is Reads.PAGE:
                yield f"Query.{to_camel_case(name)}", Finds(declared.table)
        for name, relation in declared.table.relations.items():
            if relation.many:
                target = REGISTERED[relation.target].table
                page = None if relation.listed else _PAGE
                yield f"{declared.type_name}.{to_camel_case(name)}", Finds(target, page, target[relation.there])


# The fields that find rows of a table.
FINDING: Final[Mapping[str, Finds]] = {
    **dict(_finding()),
    "Query.ordersPage": Finds(ORDERS, frozenset({"nodes", "hasNextPage"})),
    "Query.orderCount": Finds(ORDERS, frozenset()),
    "Query.orderStats": Finds(ORDERS, frozenset()),
    "Query.orderSample": Finds(ORDERS, frozenset()),
    "Query.orderGroups": Finds(ORDERS, frozenset()),
}
# About how many days of order dates are in a group.
_DAYS: Final = {GroupKey.ORDER_MONTH: 30, GroupKey.ORDER_YEAR: 365}
# An estimate reads no row.
_UNCOUNTED: Final = ConditionalPrice(1, "precision", "ESTIMATED", 0)


@dataclass(frozen=True, slots=True)
class PageScan:
    """The points for the rows that a page reads and leaves out: of each parent, if it is a nested one.

    Attributes:
        finds: what the field finds.
        filter: the argument `filter`, whole.
        order_by: the argument `orderBy`, whole.
        size: the size of the page.
        page: the number of the page, if it has one.
    """

    finds: Finds
    filter: Any
    order_by: Any
    size: Number
    page: ArgumentValue | None

    def __call__(self, variables: Variables, pages: PageLimits, statistics: StatisticsSource) -> int:
        """The points; 0 if the number of rows is unknown."""
        size = self.size(variables, pages, statistics)
        conditions, ordering = self.asked(variables)
        known = _known(self.finds.table, conditions, statistics)
        skipped = self._skipped(size, variables, known)
        return _points(way_of(conditions, ordering, size, known, skipped=skipped).microseconds)

    def advice(self, variables: Variables, pages: PageLimits, statistics: StatisticsSource) -> Iterator[str]:
        """How to ask so that fewer rows are read, a sentence for each reason."""
        known, within = statistics(self.finds.table), self.finds.within
        conditions, ordering = self.asked(variables)
        if within is not None:
            yield from _advice_within(within, known)
            return
        yield from _advice_on(self.finds.table, conditions, known)
        first = ordering.first
        if not first.merged and not known.has_index(first):
            built = "`ensureIndexes` builds one" if first in self.finds.table.sorts else "begin with another field"
            yield f"No index serves `orderBy` {first.name.upper()}: {built}."
        if self._skipped(self.size(variables, pages, statistics), variables, known):
            yield "A numbered page reads all orders before it: follow the cursors of `orders`."

    def asked(self, variables: Variables) -> tuple[Conditions, Ordering]:
        """The conditions, and the order of the page."""
        table = self.finds.table
        return (
            asked_conditions(table, filled(self.filter, variables)),
            asked_ordering(table, filled(self.order_by, variables), within=self.finds.within),
        )

    def _skipped(self, size: int, variables: Variables, known: TableStatistics) -> int:
        """How many rows are before the page, as far as there are any."""
        number = None if self.page is None else self.page.value(variables)
        return min(int(number) - 1, known.rows // max(1, size)) * size if type(number) is int and number > 1 else 0


@dataclass(frozen=True, slots=True)
class CountScan:
    """The points for the rows that a count or statistics read: of each parent, if they belong to one.

    Attributes:
        finds: what the field finds.
        filter: the argument `filter`, whole.
        statistics: whether these are statistics.
    """

    finds: Finds
    filter: Any
    statistics: bool = False

    def __call__(self, variables: Variables, _pages: PageLimits, statistics: StatisticsSource) -> int:
        """The points; 0 if the number of rows is unknown."""
        conditions = self.asked(variables)
        known = _known(self.finds.table, conditions, statistics)
        if self.finds.within is not None:
            return _points(time_of_count_within(self.finds.within, conditions, known))
        # Without conditions, all callers share a count for a while.
        return _points(time_of_count(conditions, known, statistics=self.statistics)) if conditions else 0

    def advice(self, variables: Variables, _pages: PageLimits, statistics: StatisticsSource) -> Iterator[str]:
        """How to ask so that fewer rows are read, a sentence for each reason."""
        known, within = statistics(self.finds.table), self.finds.within
        if within is not None:
            yield from _advice_within(within, known)
        else:
            yield from _advice_on(self.finds.table, self.asked(variables), known)

    def asked(self, variables: Variables) -> Conditions:
        """The conditions."""
        return asked_conditions(self.finds.table, filled(self.filter, variables))


@dataclass(frozen=True, slots=True)
class GroupScan(CountScan):
    """The points for the rows that groups of orders read, and for the groups.

    `by` is the argument of this name, whole.
    """

    by: Any = None

    def __call__(self, variables: Variables, _pages: PageLimits, statistics: StatisticsSource) -> int:
        """The points. Groups of all orders are paid for as well: they are shared only by those who ask for the same."""
        given, conditions = filled(self.by, variables), self.asked(variables)
        known = _known(ORDERS, conditions, statistics)
        names = given[:MAX_KEYS] if isinstance(given, list) else [given]
        keys = [
            GroupKey(OrderGroupBy[name].value)
            for name in names
            if isinstance(name, str) and name in OrderGroupBy.__members__
        ]
        groups, merged = 1.0, False
        for key in keys:
            table, column = column_of(key)
            if table is ORDERS:
                groups *= max(1.0, 1.0 / (known.spread(column).of_any * _DAYS.get(key, 1)))
                merged = merged or column.merged
        looked_up = any(key.tables for key in keys)
        return _points(time_of_groups(conditions, known, groups=groups, merged=merged, looked_up=looked_up))


def _known(table: Table, conditions: Conditions, statistics: StatisticsSource) -> TableStatistics:
    """What is known of a table, with what its conditions need to know of others."""
    known = statistics(table)
    return known.beside(statistics) if any(related_in(conditions)) else known


def advice_on(formula: Formula, variables: Variables, pages: PageLimits, statistics: StatisticsSource) -> Iterator[str]:
    """How to ask so that an operation with this formula reads fewer rows."""
    if any(isinstance(term.times, PageSize) and _has_pages(term.below) for term in formula.terms):
        yield "The sizes of nested pages multiply: ask for a smaller `first` within a page."
    for number in formula.numbers:
        if isinstance(number, PageScan | CountScan) and number(variables, pages, statistics):
            yield from number.advice(variables, pages, statistics)


def _has_pages(formula: Formula) -> bool:
    return any(isinstance(number, PageSize) for number in formula.numbers)


def _advice_on(table: Table, conditions: Conditions, known: TableStatistics) -> Iterator[str]:
    columns = columns_in(conditions)
    filters = names_of_filters(table)
    names = [f"`{name}`" for name, column in filters.items() if column in columns and not known.has_index(column)]
    if names:
        *others, last = (f"`{name}`" for name in served_filters(table))
        yield (
            f"No index serves the condition on {' and '.join(names)}: add a narrow one on "
            f"{', '.join(others)} or {last}."
        )
    if not all(isinstance(term, Condition) for term in conditions):
        yield "No index serves conditions within `or` and `not`."
    for condition in comparisons_in(conditions):
        if condition.operator is Operator.STARTS_WITH_IN_ANY_CASE and known.has_index(condition.column):
            name = to_camel_case(condition.column.name)
            yield f"An index serves `startsWith` on `{name}` with `caseSensitive: true`."


def _advice_within(within: Column, known: TableStatistics) -> Iterator[str]:
    if known.has_index(within):
        yield "A nested page with a `filter` or an `orderBy`, and a nested count, read all rows of each parent."
    else:
        yield f"No index serves the rows with one `{to_camel_case(within.name)}`: `ensureIndexes` builds one."


def _points(microseconds: float) -> int:
    return min(_MOST, int(microseconds / _MICROSECONDS_FOR_A_POINT))


def _shuffled(_variables: Variables, _pages: PageLimits, statistics: StatisticsSource) -> int:
    """The points for a sample of orders that are not one plain table: all of them are sorted at random."""
    known = statistics(ORDERS)
    return 0 if known.plain else _points(known.rows * _SHUFFLED_MICROSECONDS)


def scans_of(
    finds: Finds,
    node: FieldNode,
    selected: Sequence[FieldNode],
    arguments: GivenArguments,
    size: int | Number | None,
) -> Formula:
    """The points for the rows that a field reads and leaves out, and for its counts.

    Args:
        finds: what the field finds.
        node: the field, one of FINDING.
        selected: the fields below it, one for each response key.
        arguments: the operation's arguments.
        size: the size of its page.
    """
    formula, name, below = Formula(), node.name.value, {field.name.value for field in selected}
    filter_, order_by = arguments.whole(node, "filter"), arguments.whole(node, "orderBy")
    page = arguments.find(node, "page")
    if name == "orderSample":
        formula.add_times(_shuffled, ONE)
    if name == "orderGroups":
        formula.add_times(GroupScan(finds, filter_, by=arguments.whole(node, "by")), ONE)
    # A root page in the order of the keys is never sorted, so that it costs nothing here.
    searches = filter_ is not None or order_by is not None or page is not None or finds.within is not None
    if searches and callable(size) and (finds.page is None or below & finds.page):
        formula.add_times(PageScan(finds, filter_, order_by, size, page), ONE)
    count = Formula()
    if filter_ is not None or finds.within is not None:
        count.add_times(CountScan(finds, filter_, statistics=name == "orderStats"), ONE)
    if name in {"orderCount", "orderStats"} or (name == "ordersPage" and below & {"totalCount", "totalPages"}):
        formula.add(count)
    elif finds.page is _PAGE:
        for field in selected:
            if field.name.value == "totalCount":
                formula.add(_count(finds, arguments.find(field, COUNTED.argument), count))
    return formula


def _count(finds: Finds, precision: ArgumentValue | None, scan: Formula) -> Formula:
    """The price of the field `totalCount`, and of its scan. Rows of parents are counted whatever the precision is."""
    formula = Formula()
    if finds.within is not None:
        formula.points += COUNT_OF_PARENT
        formula.add(scan)
    elif precision is None:
        formula.points += COUNTED.otherwise
        formula.add(scan)
    else:
        formula.add_times(PriceByArgument(precision, COUNTED), ONE)
        formula.add_times(PriceByArgument(precision, _UNCOUNTED), scan)
    return formula
