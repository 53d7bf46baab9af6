"""Owns the formula of a cost: sums and products of numbers that a request's variables decide."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from graphql import GraphQLInputObjectType, GraphQLList, get_nullable_type

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from graphql import GraphQLInputType

    from schema.context import PageLimits
    from schema.limits.prices import Cheaper

Variables: TypeAlias = "Mapping[str, Any]"
# A number that a request's variables decide.
Number: TypeAlias = "Callable[[Variables, PageLimits], int]"


@dataclass(slots=True)
class Formula:
    """What a selection costs: so many points, and for each term so often what is below it.

    `introspection` is what of the points is the schema's own description, which has a bound of its own.
    """

    points: int = 0
    terms: list[_Term] = field(default_factory=list)
    introspection: int = 0

    def evaluate(self, variables: Variables, pages: PageLimits) -> int:
        """The cost with these variables, and these lengths of a page. What is wrong with them is for others to say."""
        total = self.points
        for term in self.terms:
            below = term.below
            total += term.often(variables, pages) * (below.evaluate(variables, pages) if below.terms else below.points)
        return total

    def add(self, other: Formula) -> None:
        """Add another."""
        self.points += other.points
        self.terms += other.terms
        self.introspection += other.introspection

    def add_often(self, often: int | Number, other: Formula) -> None:
        """Add another so many times."""
        if not isinstance(often, int):
            self.terms.append(_Term(often, other))
            return
        self.points += often * other.points
        if other.terms:
            self.terms.append(_Term(Always(often), Formula(terms=other.terms)))


@dataclass(frozen=True, slots=True)
class _Term:
    often: Number
    below: Formula


@dataclass(frozen=True, slots=True)
class Always:
    """A number that no variable decides."""

    number: int

    def __call__(self, _variables: Variables, _pages: PageLimits) -> int:
        """The number."""
        return self.number


@dataclass(frozen=True, slots=True)
class Given:
    """What an argument, or a part of it, is: as it stands there, or as a variable says."""

    literal: Any = None
    variable: str | None = None
    default: Any = None
    path: tuple[str, ...] = ()

    def of(self, variables: Variables) -> Any:
        """The value; None where there is none."""
        value = self.literal if self.variable is None else variables.get(self.variable, self.default)
        for name in self.path:
            value = value.get(name) if isinstance(value, dict) else None
        return value


@dataclass(frozen=True, slots=True)
class PageSize:
    """The size of a page. What is no size at all counts as none given, and one that is too large as the largest."""

    given: tuple[Given, ...]
    limits: PageLimits | None
    default: int | None

    def __call__(self, variables: Variables, pages: PageLimits) -> int:
        """How many entries."""
        limits = self.limits or pages
        size = -1
        for given in self.given:
            value = given.of(variables)
            if type(value) is int or (type(value) is float and value.is_integer()):
                size = max(size, 0, min(int(value), limits.maximum))
        if size >= 0:
            return size
        return limits.default if self.default is None else self.default


@dataclass(frozen=True, slots=True)
class Length:
    """The length of a list that is given."""

    given: Given

    def __call__(self, variables: Variables, _pages: PageLimits) -> int:
        """How many elements."""
        return length_of(self.given.of(variables))


@dataclass(frozen=True, slots=True)
class Elements:
    """How many elements the lists within a value have, by the type that it should be of."""

    given: Given
    type_: GraphQLInputType

    def __call__(self, variables: Variables, _pages: PageLimits) -> int:
        """How many elements, together."""
        return _elements(self.given.of(variables), self.type_)


@dataclass(frozen=True, slots=True)
class Priced:
    """One price or another, by an argument."""

    given: Given
    price: Cheaper

    def __call__(self, variables: Variables, _pages: PageLimits) -> int:
        """The price."""
        return self.price.price if self.given.of(variables) == self.price.value else self.price.otherwise


def length_of(value: Any) -> int:
    """The length of a list as GraphQL has it: a value alone is a list of one."""
    return len(value) if isinstance(value, list) else value is not None


def _elements(value: Any, type_: GraphQLInputType) -> int:
    """As deep as the type goes, whatever the value is."""
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
    """Whether a value of the type may have lists within."""
    type_ = bare(type_)
    if isinstance(type_, GraphQLList):
        return True
    return isinstance(type_, GraphQLInputObjectType) and any(has_lists(part.type) for part in type_.fields.values())


# The formula of a field that is a value.
ONE: Final = Formula(points=1)
