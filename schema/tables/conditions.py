"""The conditions of a filter: its input becomes values of the ports."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from strawberry import UNSET
from strawberry.utils.str_converters import to_camel_case

from schema.errors import InputError, Reason
from schema.ports.values import AnyOf, Condition, Not, Operator
from schema.tables.arguments import check_list_length

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schema.ports.columns import Column, Table
    from schema.ports.values import Conditions, Term

MAX_PATTERN_CHARACTERS: Final = 1_000
# Objects within one another in a filter, and the comparisons and objects in all of it.
MAX_DEPTH: Final = 8
MAX_CONDITIONS: Final = 100
# The attribute of an input by which an operator compares.
OPERATORS: Final[Mapping[str, Operator]] = {
    "eq": Operator.EQ,
    "ne": Operator.NE,
    "in_": Operator.IN,
    "not_in": Operator.NOT_IN,
    "gt": Operator.GT,
    "gte": Operator.GTE,
    "lt": Operator.LT,
    "lte": Operator.LTE,
    "contains": Operator.CONTAINS,
    "starts_with": Operator.STARTS_WITH,
    "is_null": Operator.IS_NULL,
}
# What an operator on a text is unless `caseSensitive`.
IN_ANY_CASE: Final[Mapping[Operator, Operator]] = {
    Operator.CONTAINS: Operator.CONTAINS_IN_ANY_CASE,
    Operator.STARTS_WITH: Operator.STARTS_WITH_IN_ANY_CASE,
}
_LISTS: Final = frozenset({Operator.IN, Operator.NOT_IN})
_NOTHING: Final[Conditions] = (AnyOf(()),)


def conditions_of(table: Table, given: Any) -> Conditions:
    """The conditions of a filter; none if it is absent or empty.

    Args:
        table: the table.
        given: an input made by `schema.tables.filters.filter_of`.

    Raises:
        InputError: TOO_MANY_VALUES, VALUE_INVALID. The message names the place in the filter.
    """
    return _Filter(table).conditions(given, "filter", 1) if given else ()


def any_of(alternatives: list[Conditions]) -> Conditions:
    """The conditions that hold if those of one of the alternatives do."""
    if () in alternatives:
        return ()
    return alternatives[0] if len(alternatives) == 1 else (AnyOf(tuple(alternatives)),)


def none_of(conditions: Conditions) -> Conditions:
    """The conditions that hold if these do not."""
    if not conditions:
        return _NOTHING
    if len(conditions) == 1 and isinstance(conditions[0], Not):
        return conditions[0].conditions
    return (Not(conditions),)


class _Filter:
    """One filter, whose conditions are counted while they are read."""

    __slots__ = ("_left", "_table")

    def __init__(self, table: Table) -> None:
        self._table = table
        self._left = MAX_CONDITIONS

    def conditions(self, given: Any, place: str, depth: int) -> Conditions:
        """The conditions of an object at a place in the filter."""
        if depth > MAX_DEPTH:
            raise InputError(
                Reason.TOO_MANY_VALUES,
                f"`{place}` is nested {depth} deep; at most {MAX_DEPTH} objects within one another are allowed.",
            )
        found: list[Term] = []
        for column in self._table.filters:
            if part := getattr(given, column.name, None):
                found += self._comparisons(column, part, f"{place}.{to_camel_case(column.name)}")
        if parts := getattr(given, "and_", None):
            for conditions in self._listed(parts, f"{place}.and", depth):
                found += conditions
        if (parts := getattr(given, "or_", UNSET)) is not UNSET and parts is not None:
            found += any_of([*self._listed(parts, f"{place}.or", depth)])
        if part := getattr(given, "not_", None):
            self._count(place)
            found += none_of(self.conditions(part, f"{place}.not", depth + 1))
        return tuple(found)

    def _listed(self, given: list[Any], place: str, depth: int) -> Iterator[Conditions]:
        for index, part in enumerate(given):
            self._count(place)
            yield self.conditions(part, f"{place}[{index}]", depth + 1)

    def _comparisons(self, column: Column, given: Any, place: str) -> Iterator[Condition]:
        for name, operator in OPERATORS.items():
            value = getattr(given, name, None)
            if value is not None and value is not UNSET:
                self._count(place)
                named = f"{place}.{to_camel_case(name.rstrip('_'))}"
                yield _comparison(column, operator, value, named, any_case=not getattr(given, "case_sensitive", None))

    def _count(self, place: str) -> None:
        self._left -= 1
        if self._left < 0:
            raise InputError(
                Reason.TOO_MANY_VALUES,
                f"The filter has more than {MAX_CONDITIONS} conditions; `{place}` has one too many.",
            )


def _comparison(column: Column, operator: Operator, value: Any, place: str, *, any_case: bool) -> Condition:
    if operator is Operator.IS_NULL:
        return Condition(column, operator if value else Operator.IS_NOT_NULL)
    if operator in _LISTS:
        check_list_length(value, argument=place)
        return Condition(column, operator, tuple(dict.fromkeys(_stored(item, place) for item in value)))
    if operator in IN_ANY_CASE:
        if len(value) > MAX_PATTERN_CHARACTERS:
            raise InputError(
                Reason.VALUE_INVALID,
                f"`{place}` has {len(value):,} characters; at most {MAX_PATTERN_CHARACTERS:,} are allowed.",
            )
        operator = IN_ANY_CASE[operator] if any_case else operator
    return Condition(column, operator, _stored(value, place))


def _stored(value: object, place: str) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str) and "\0" in value:
        raise InputError(Reason.VALUE_INVALID, f"`{place}` contains a NUL byte, which no stored text can contain.")
    return value
