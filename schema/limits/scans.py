"""The price of finding orders: of those that the database may have to read beside the ones that it returns.

The database stops after a page if one index has the orders of the filter in the order of the page. Otherwise it may
read all orders that an indexed condition leaves, or the whole table. A numbered page also reads all orders before it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from strawberry.utils.str_converters import to_camel_case

from schema.limits.arguments import filled
from schema.limits.formulas import ONE, Formula, PriceByArgument, length_of
from schema.limits.prices import ConditionalPrice
from schema.ports.statistics import place_of
from schema.ports.values import OrderColumn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from graphql import FieldNode

    from schema.context import PageLimits
    from schema.limits.arguments import GivenArguments
    from schema.limits.formulas import ArgumentValue, Number, StatisticsSource, Variables
    from schema.ports.statistics import OrderStatistics, Spread

    # Conditions by column, and then by operator: values as the client sent them.
    _Conditions = Mapping[OrderColumn, Mapping[str, Any]]

# Orders that PostgreSQL reads for a point: all in the table, one after the other; and those that an index finds. If
# these are more than one in a hundred, it reads the whole table.
_SCANNED_FOR_A_POINT: Final = 1_000
_FETCHED_FOR_A_POINT: Final = 15
# Orders that it passes for a point, in the order of the keys, in which most tables are stored, and in another one.
_PASSED_BY_KEY: Final = 200
_PASSED: Final = 100
# Orders that are sorted for a point, to find those of a page.
_SORTED_FOR_A_POINT: Final = 150
# The statement timeout ends a longer scan. An operation may cost more than one of them by default, but not two.
_MOST: Final = 20_000
# A list of texts is compared with each order, one by one.
_COMPARED_LIKE_A_ROW: Final = 8
# The root fields that find orders, with the fields below them that need a page.
SCANNING: Final[Mapping[str, frozenset[str]]] = {
    "orders": frozenset({"edges", "nodes", "pageInfo"}),
    "ordersPage": frozenset({"nodes", "hasNextPage"}),
    "orderCount": frozenset(),
    "orderStats": frozenset(),
    "orderSample": frozenset(),
}
# An estimate reads no order.
_UNCOUNTED: Final = ConditionalPrice(1, "precision", "ESTIMATED", 0)
_INDEXED: Final = (
    OrderColumn.ORDER_KEY,
    OrderColumn.CUSTOMER_KEY,
    OrderColumn.ORDER_DATE,
    OrderColumn.TOTAL_PRICE,
)
_CONDITIONS: Final = {
    to_camel_case(column.value): column
    for column in (*_INDEXED, OrderColumn.STATUS, OrderColumn.ORDER_PRIORITY, OrderColumn.CLERK)
}
_SORTS: Final = {
    column.name: column for column in (OrderColumn.ORDER_KEY, OrderColumn.ORDER_DATE, OrderColumn.TOTAL_PRICE)
}


@dataclass(frozen=True, slots=True)
class _Work:
    """How much an order takes that is read and left out, as a number of orders that are read for nothing else.

    Attributes:
        plain: in general.
        merged: how much more with a condition on the status: that of each order is looked up in the overlay.
        sorted: how much more in another order than that of the keys, in which most tables are stored. PostgreSQL may
            then go through all of an index, and from there to the table for each order.
    """

    plain: int
    merged: int
    sorted: int = 0


_PAGE: Final = _Work(1, 6, 11)
_COUNT: Final = _Work(1, 2)
_STATISTICS: Final = _Work(4, 2)
_SHUFFLE: Final = 8


@dataclass(frozen=True, slots=True)
class Scan:
    """The points for orders that are read and left out.

    Attributes:
        work: what one of them takes.
        filter: the argument `filter`, whole.
        order_by: the argument `orderBy`, whole.
        size: the size of the page; None if all orders that match are read.
        page: the number of the page, if it has one.
    """

    work: _Work
    filter: Any
    order_by: Any = None
    size: Number | None = None
    page: ArgumentValue | None = None

    def __call__(self, variables: Variables, pages: PageLimits, statistics: StatisticsSource) -> int:
        """The points; 0 if the number of orders is unknown."""
        known, conditions = statistics(), _conditions(filled(self.filter, variables))
        if known.rows == 0 or (self.size is None and not conditions):
            # Without conditions, all callers share a count for a while.
            return 0
        sort = _sort(filled(self.order_by, variables))
        ways = [self._whole(conditions, sort, known), *self._by_conditions(conditions, known)]
        if self.size is not None:
            size = self.size(variables, pages, statistics)
            skipped = self._skipped(size, variables, known)
            ways = [way + skipped / _SORTED_FOR_A_POINT for way in ways]
            if share := _share_in_order(conditions, sort, known):
                passed = (skipped + size) / share - size
                ways.append(passed / (_PASSED_BY_KEY if sort is OrderColumn.ORDER_KEY else _PASSED))
        return min(_MOST, int(min(ways)))

    def advice(self, variables: Variables, pages: PageLimits, statistics: StatisticsSource) -> Iterator[str]:
        """How to ask so that fewer orders are read, a sentence for each reason."""
        known = statistics()
        conditions, sort = _conditions(filled(self.filter, variables)), _sort(filled(self.order_by, variables))
        names = [name for name, column in _CONDITIONS.items() if column in conditions and not known.has_index(column)]
        if names:
            listed = " and ".join(f"`{name}`" for name in names)
            yield (
                f"No index serves the condition on {listed}: add a narrow one on `orderKey`, `customerKey`, "
                "`orderDate` or `totalPrice`."
            )
        if self.size is None:
            return
        if not _sorts(known, sort):
            yield f"No index serves `orderBy` {sort.name}: `ensureOrderIndexes` builds one."
        if self._skipped(self.size(variables, pages, statistics), variables, known):
            yield "A numbered page reads all orders before it: follow the cursors of `orders`."

    def _skipped(self, size: int, variables: Variables, known: OrderStatistics) -> int:
        """How many orders are before the page, as far as there are any."""
        number = None if self.page is None else self.page.value(variables)
        return min(int(number) - 1, known.rows // max(1, size)) * size if type(number) is int and number > 1 else 0

    def _whole(self, conditions: _Conditions, sort: OrderColumn, known: OrderStatistics) -> float:
        """The points for reading all orders."""
        compared = max((length_of(parts.get("in")) for parts in conditions.values()), default=0)
        work = self._work(conditions) * (1 + compared / _COMPARED_LIKE_A_ROW)
        if conditions and sort is not OrderColumn.ORDER_KEY:
            work += self.work.sorted
        return known.rows * work / _SCANNED_FOR_A_POINT

    def _by_conditions(self, conditions: _Conditions, known: OrderStatistics) -> Iterator[float]:
        """The points for reading the orders that one indexed condition leaves, for each of them."""
        for column, parts in conditions.items():
            if known.has_index(column):
                found = known.rows * _share(column, parts, known.spread(column))
                yield found * self._work(conditions) / _FETCHED_FOR_A_POINT

    def _work(self, conditions: _Conditions) -> int:
        return self.work.plain + (self.work.merged if OrderColumn.STATUS in conditions else 0)


def advice_on(formula: Formula, variables: Variables, pages: PageLimits, statistics: StatisticsSource) -> Iterator[str]:
    """How to ask so that an operation with this formula reads fewer orders."""
    for number in formula.numbers:
        if isinstance(number, Scan) and number(variables, pages, statistics):
            yield from number.advice(variables, pages, statistics)


def _shuffled(_variables: Variables, _pages: PageLimits, statistics: StatisticsSource) -> int:
    """The points for a sample of orders that are not one plain table: all of them are sorted at random."""
    known = statistics()
    return 0 if known.plain else min(_MOST, known.rows * _SHUFFLE // _SCANNED_FOR_A_POINT)


def scans_of(
    node: FieldNode, selected: Sequence[FieldNode], arguments: GivenArguments, size: int | Number | None
) -> Formula:
    """The points for the orders that a root field reads and leaves out.

    Args:
        node: the field, one of SCANNING.
        selected: the fields below it, one for each response key.
        arguments: the operation's arguments.
        size: the size of its page.
    """
    formula, name, below = Formula(), node.name.value, {field.name.value for field in selected}
    filter_, order_by = arguments.whole(node, "filter"), arguments.whole(node, "orderBy")
    page = arguments.find(node, "page")
    if name == "orderSample":
        formula.add_times(_shuffled, ONE)
    # A page in the order of the keys is never sorted, so that it costs nothing here.
    if below & SCANNING[name] and (filter_ is not None or order_by is not None or page is not None) and callable(size):
        formula.add_times(Scan(_PAGE, filter_, order_by, size, page), ONE)
    if filter_ is None:
        return formula
    count = Formula()
    count.add_times(Scan(_STATISTICS if name == "orderStats" else _COUNT, filter_), ONE)
    if name in {"orderCount", "orderStats"} or (name == "ordersPage" and below & {"totalCount", "totalPages"}):
        formula.add(count)
    if name == "orders":
        for field in selected:
            if field.name.value == "totalCount":
                given = arguments.find(field, _UNCOUNTED.argument)
                formula.add_times(_UNCOUNTED.otherwise if given is None else PriceByArgument(given, _UNCOUNTED), count)
    return formula


def _conditions(given: Any) -> _Conditions:
    """The conditions of a filter, as far as they are understood. What is wrong is refused before it is read."""
    if not isinstance(given, dict):
        return {}
    found = {}
    for name, parts in given.items():
        column = _CONDITIONS.get(name)
        if column is not None and isinstance(parts, dict) and any(value is not None for value in parts.values()):
            found[column] = parts
    return found


def _sort(given: Any) -> OrderColumn:
    name = given.get("field") if isinstance(given, dict) else None
    return _SORTS.get(name, OrderColumn.ORDER_KEY) if isinstance(name, str) else OrderColumn.ORDER_KEY


def _sorts(known: OrderStatistics, sort: OrderColumn, *before: OrderColumn) -> bool:
    """Whether an index has the orders in this order, after the columns `before`. Equal orders are sorted quickly."""
    return known.has_index(*before, sort)


def _share_in_order(conditions: _Conditions, sort: OrderColumn, known: OrderStatistics) -> float:
    """The share of the orders that match, among those that an index has in the order of the page.

    0 if there is no such index, or if a condition may match none: the database then reads on to the end.
    """
    if len(conditions) == 1:
        ((column, parts),) = conditions.items()
        if {name for name, value in parts.items() if value is not None} == {"eq"} and _sorts(known, sort, column):
            return 1.0
    if not _sorts(known, sort):
        return 0.0
    share = 1.0
    for column, parts in conditions.items():
        if column is not sort:
            share *= _share(column, parts, known.spread(column)) if known.has_index(column) else 0.0
    return share


def _share(column: OrderColumn, parts: Mapping[str, Any], spread: Spread) -> float:
    """About the share of the orders that match the conditions on a column."""
    share, low, high = 1.0, -math.inf, math.inf
    for operator, value in parts.items():
        place = place_of(column, value)
        if operator in {"eq", "in"} and value is not None:
            share = min(share, spread.each * length_of(value))
        elif operator in {"gt", "gte"} and place is not None:
            low = max(low, place)
        elif operator in {"lt", "lte"} and place is not None:
            high = min(high, place)
    if low > high:
        return 0.0
    return share if low == -math.inf and high == math.inf else min(share, spread.between(low, high))
