"""The price of finding orders: of those that the database reads beside the ones that it returns.

How a page is found, and how long that takes, is decided in schema/ports/ways.py: a price is the time that is expected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from strawberry.utils.str_converters import to_camel_case

from schema.limits.arguments import filled
from schema.limits.formulas import ONE, Formula, PriceByArgument
from schema.limits.prices import ConditionalPrice
from schema.orders.enums import OrderPriority, OrderStatus
from schema.orders.types import ORDERS
from schema.ports.values import Condition, Operator, Ordering
from schema.ports.ways import time_of_count, way_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from graphql import FieldNode

    from schema.context import PageLimits
    from schema.limits.arguments import GivenArguments
    from schema.limits.formulas import ArgumentValue, Number, StatisticsSource, Variables
    from schema.ports.columns import Column
    from schema.ports.statistics import TableStatistics
    from schema.ports.values import Conditions

# Ten times as long as a point of a page takes (schema/limits/prices.py), so that an operation may read the whole table.
# What it really takes is charged afterwards.
_MICROSECONDS_FOR_A_POINT: Final = 100
# The statement timeout ends a longer scan. An operation may cost more than one of them by default, but not two.
_MOST: Final = 20_000
# What sorting an order at random takes.
_SHUFFLED_MICROSECONDS: Final = 0.8
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
_CONDITIONS: Final = {
    to_camel_case(column.name): column
    for column in (
        ORDERS["order_key"],
        ORDERS["customer_key"],
        ORDERS["order_date"],
        ORDERS["total_price"],
        ORDERS["status"],
        ORDERS["order_priority"],
        ORDERS["clerk"],
    )
}
_OPERATORS: Final = {operator.value.rstrip("_"): operator for operator in Operator}
_SORTS: Final = {name.upper(): ORDERS[name] for name in ("order_key", "order_date", "total_price")}
# Clients send the name of an enum's member, and the database stores its value.
_STORED: Final[Mapping[Column, Mapping[str, Any]]] = {
    ORDERS["status"]: {member.name: member.value for member in OrderStatus},
    ORDERS["order_priority"]: {member.name: member.value for member in OrderPriority},
}


@dataclass(frozen=True, slots=True)
class PageScan:
    """The points for the orders that a page reads and leaves out.

    Attributes:
        filter: the argument `filter`, whole.
        order_by: the argument `orderBy`, whole.
        size: the size of the page.
        page: the number of the page, if it has one.
    """

    filter: Any
    order_by: Any
    size: Number
    page: ArgumentValue | None

    def __call__(self, variables: Variables, pages: PageLimits, statistics: StatisticsSource) -> int:
        """The points; 0 if the number of orders is unknown."""
        known, size = statistics(), self.size(variables, pages, statistics)
        conditions, ordering = self.asked(variables)
        skipped = self._skipped(size, variables, known)
        return _points(way_of(conditions, ordering, size, known, skipped=skipped).microseconds)

    def advice(self, variables: Variables, pages: PageLimits, statistics: StatisticsSource) -> Iterator[str]:
        """How to ask so that fewer orders are read, a sentence for each reason."""
        known = statistics()
        conditions, ordering = self.asked(variables)
        yield from _advice_on(conditions, known)
        if not known.has_index(ordering.column):
            yield f"No index serves `orderBy` {ordering.column.name.upper()}: `ensureIndexes` builds one."
        if self._skipped(self.size(variables, pages, statistics), variables, known):
            yield "A numbered page reads all orders before it: follow the cursors of `orders`."

    def asked(self, variables: Variables) -> tuple[Conditions, Ordering]:
        """The conditions, and the order of the page. Its direction does not matter here."""
        return _conditions(filled(self.filter, variables)), _sort(filled(self.order_by, variables))

    def _skipped(self, size: int, variables: Variables, known: TableStatistics) -> int:
        """How many orders are before the page, as far as there are any."""
        number = None if self.page is None else self.page.value(variables)
        return min(int(number) - 1, known.rows // max(1, size)) * size if type(number) is int and number > 1 else 0


@dataclass(frozen=True, slots=True)
class CountScan:
    """The points for the orders that a count or statistics read.

    Attributes:
        filter: the argument `filter`, whole.
        statistics: whether these are statistics.
    """

    filter: Any
    statistics: bool

    def __call__(self, variables: Variables, _pages: PageLimits, statistics: StatisticsSource) -> int:
        """The points; 0 if the number of orders is unknown."""
        conditions = _conditions(filled(self.filter, variables))
        # Without conditions, all callers share a count for a while.
        return _points(time_of_count(conditions, statistics(), statistics=self.statistics)) if conditions else 0

    def advice(self, variables: Variables, _pages: PageLimits, statistics: StatisticsSource) -> Iterator[str]:
        """How to ask so that fewer orders are read, a sentence for each reason."""
        return _advice_on(_conditions(filled(self.filter, variables)), statistics())


def advice_on(formula: Formula, variables: Variables, pages: PageLimits, statistics: StatisticsSource) -> Iterator[str]:
    """How to ask so that an operation with this formula reads fewer orders."""
    for number in formula.numbers:
        if isinstance(number, PageScan | CountScan) and number(variables, pages, statistics):
            yield from number.advice(variables, pages, statistics)


def _advice_on(conditions: Conditions, known: TableStatistics) -> Iterator[str]:
    columns = {condition.column for condition in conditions}
    names = [name for name, column in _CONDITIONS.items() if column in columns and not known.has_index(column)]
    if names:
        listed = " and ".join(f"`{name}`" for name in names)
        yield (
            f"No index serves the condition on {listed}: add a narrow one on `orderKey`, `customerKey`, "
            "`orderDate` or `totalPrice`."
        )


def _points(microseconds: float) -> int:
    return min(_MOST, int(microseconds / _MICROSECONDS_FOR_A_POINT))


def _shuffled(_variables: Variables, _pages: PageLimits, statistics: StatisticsSource) -> int:
    """The points for a sample of orders that are not one plain table: all of them are sorted at random."""
    known = statistics()
    return 0 if known.plain else _points(known.rows * _SHUFFLED_MICROSECONDS)


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
        formula.add_times(PageScan(filter_, order_by, size, page), ONE)
    if filter_ is None:
        return formula
    count = Formula()
    count.add_times(CountScan(filter_, statistics=name == "orderStats"), ONE)
    if name in {"orderCount", "orderStats"} or (name == "ordersPage" and below & {"totalCount", "totalPages"}):
        formula.add(count)
    if name == "orders":
        for field in selected:
            if field.name.value == "totalCount":
                given = arguments.find(field, _UNCOUNTED.argument)
                formula.add_times(_UNCOUNTED.otherwise if given is None else PriceByArgument(given, _UNCOUNTED), count)
    return formula


def _conditions(given: Any) -> Conditions:
    """The conditions of a filter, as far as they are understood. What is wrong is refused before it is read."""
    if not isinstance(given, dict):
        return ()
    return tuple(
        Condition(column, operator, _stored(column, value))
        for name, parts in given.items()
        if (column := _CONDITIONS.get(name)) is not None and isinstance(parts, dict)
        for part, value in parts.items()
        if (operator := _OPERATORS.get(part)) is not None and value is not None
    )


def _stored(column: Column, value: Any) -> Any:
    """A value as the database has it, as far as it is understood."""
    if isinstance(value, list):
        return tuple(_scalar(column, element) for element in value)
    return _scalar(column, value)


def _scalar(column: Column, value: Any) -> str | float | None:
    if isinstance(value, str):
        return str(_STORED[column].get(value, value)) if column in _STORED else value
    return value if isinstance(value, int | float) else None


def _sort(given: Any) -> Ordering:
    name = given.get("field") if isinstance(given, dict) else None
    (key,) = ORDERS.key
    return Ordering(ORDERS, _SORTS.get(name, key) if isinstance(name, str) else key)
