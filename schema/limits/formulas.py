"""Cost formulas: sums and products of numbers that depend on a request's variables."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from graphql import GraphQLInputObjectType, GraphQLList, get_nullable_type

from schema.tables.arguments import MAX_LIST_VALUES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from graphql import GraphQLInputType

    from schema.context import PageLimits
    from schema.limits.prices import ConditionalPrice
    from schema.ports.columns import Column, Table
    from schema.ports.statistics import TableStatistics

Variables: TypeAlias = "Mapping[str, Any]"
StatisticsSource: TypeAlias = "Callable[[Table], TableStatistics]"
# A number that depends on a request's variables, on the limits of pages and on the sizes of the tables.
Number: TypeAlias = "Callable[[Variables, PageLimits, StatisticsSource], int]"
# What the server does for any operation. A page of four orders with one field costs as much.
LEAST_POINTS: Final = 6
# Of nations and regions, if nothing is known of their tables.
_FEW_ROWS: Final = 25


@dataclass(slots=True)
class Formula:
    """The cost of a selection: its points, plus for each term a number times another formula.

    `introspection` is the part of `points` for the schema's own description, which has a limit of its own.
    """

    points: int = 0
    terms: list[_Term] = field(default_factory=list)
    introspection: int = 0

    def price(self, variables: Variables, pages: PageLimits, statistics: StatisticsSource) -> int:
        """The cost of an operation: that of its formula, or what the smallest operation costs."""
        return max(LEAST_POINTS, self.evaluate(variables, pages, statistics))

    def evaluate(self, variables: Variables, pages: PageLimits, statistics: StatisticsSource) -> int:
        """The cost for these variables, page limits and tables. Invalid variables are refused elsewhere."""
        total = self.points
        for term in self.terms:
            below = term.below
            total += term.times(variables, pages, statistics) * (
                below.evaluate(variables, pages, statistics) if below.terms else below.points
            )
        return total

    @property
    def numbers(self) -> Iterator[Number]:
        """All numbers that it depends on."""
        for term in self.terms:
            yield term.times
            yield from term.below.numbers

    def add(self, other: Formula) -> None:
        """Add another formula."""
        self.points += other.points
        self.terms += other.terms
        self.introspection += other.introspection

    def add_times(self, times: int | Number, other: Formula) -> None:
        """Add another formula, multiplied by a number."""
        if not isinstance(times, int):
            self.terms.append(_Term(times, other))
            return
        self.points += times * other.points
        if other.terms:
            self.terms.append(_Term(Constant(times), Formula(terms=other.terms)))


@dataclass(frozen=True, slots=True)
class _Term:
    times: Number
    below: Formula


@dataclass(frozen=True, slots=True)
class Constant:
    """A number that does not depend on variables."""

    number: int

    def __call__(self, _variables: Variables, _pages: PageLimits, _statistics: StatisticsSource) -> int:
        """The number."""
        return self.number


@dataclass(frozen=True, slots=True)
class ArgumentValue:
    """The value of an argument or of a part of it: a literal, or a variable and a path within its value."""

    literal: Any = None
    variable: str | None = None
    default: Any = None
    path: tuple[str, ...] = ()

    def value(self, variables: Variables) -> Any:
        """The value; None if there is none."""
        value = self.literal if self.variable is None else variables.get(self.variable, self.default)
        for name in self.path:
            value = value.get(name) if isinstance(value, dict) else None
        return value


@dataclass(frozen=True, slots=True)
class PageSize:
    """The size of a page. An invalid size counts as absent, and a size that is too large as the maximum."""

    given: tuple[ArgumentValue, ...]
    limits: PageLimits | None
    default: int | None

    def __call__(self, variables: Variables, pages: PageLimits, _statistics: StatisticsSource) -> int:
        """How many entries."""
        limits = self.limits or pages
        size = -1
        for given in self.given:
            value = given.value(variables)
            if type(value) is int or (type(value) is float and value.is_integer()):
                size = max(size, 0, min(int(value), limits.maximum))
        if size >= 0:
            return size
        return limits.default if self.default is None else min(self.default, limits.maximum)


@dataclass(frozen=True, slots=True)
class Length:
    """The length of a list in an argument."""

    given: ArgumentValue

    def __call__(self, variables: Variables, _pages: PageLimits, _statistics: StatisticsSource) -> int:
        """How many elements."""
        return length_of(self.given.value(variables))


@dataclass(frozen=True, slots=True)
class NumberOfRows:
    """The number of a small table's rows, or of those that belong to a parent."""

    table: Table
    within: Column | None

    def __call__(self, _variables: Variables, _pages: PageLimits, statistics: StatisticsSource) -> int:
        """How many rows."""
        known = statistics(self.table)
        share = 1.0 if self.within is None else known.spread(self.within).of_any
        return min(MAX_LIST_VALUES, math.ceil(known.rows * share)) if known.rows else _FEW_ROWS


@dataclass(frozen=True, slots=True)
class Elements:
    """The number of elements in all lists within a value, as far as its type has lists."""

    given: ArgumentValue
    type_: GraphQLInputType

    def __call__(self, variables: Variables, _pages: PageLimits, _statistics: StatisticsSource) -> int:
        """How many elements all lists have together."""
        return _elements(self.given.value(variables), self.type_)


@dataclass(frozen=True, slots=True)
class PriceByArgument:
    """A price that depends on an argument."""

    given: ArgumentValue
    price: ConditionalPrice

    def __call__(self, variables: Variables, _pages: PageLimits, _statistics: StatisticsSource) -> int:
        """The price."""
        return self.price.price if self.given.value(variables) == self.price.value else self.price.otherwise


def length_of(value: Any) -> int:
    """The length of a list. To GraphQL, a single value is a list of one."""
    return len(value) if isinstance(value, list) else value is not None


def _elements(value: Any, type_: GraphQLInputType) -> int:
    """Count as deep as the type goes, however deep the value is."""
    type_ = bare(type_)
    if isinstance(type_, GraphQLList):
        within = sum(_elements(element, type_.of_type) for element in value) if _holds_lists(type_, value) else 0
        return length_of(value) + within
    if isinstance(type_, GraphQLInputObjectType) and isinstance(value, dict):
        return sum(_elements(value[name], part.type) for name, part in type_.fields.items() if name in value)
    return 0


def bare(type_: GraphQLInputType) -> Any:
    """A type without its `!`."""
    return get_nullable_type(type_)


def _holds_lists(type_: GraphQLList[Any], value: Any) -> bool:
    return isinstance(value, list) and has_lists(type_.of_type)


def has_lists(type_: GraphQLInputType) -> bool:
    """Whether a value of the type may contain lists."""
    type_ = bare(type_)
    if isinstance(type_, GraphQLList):
        return True
    return isinstance(type_, GraphQLInputObjectType) and any(has_lists(part.type) for part in type_.fields.values())


# The formula of a scalar field.
ONE: Final = Formula(points=1)
