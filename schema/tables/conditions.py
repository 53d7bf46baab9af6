"""The conditions of a filter: its input becomes values of the ports."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from strawberry import UNSET
from strawberry.utils.str_converters import to_camel_case

from schema.errors import InputError, Reason
from schema.ports.values import AnyOf, Condition, Not, OfRelated, Operator
from schema.tables.arguments import check_list_length
from schema.tables.registry import REGISTERED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schema.ports.columns import Column, Relation, Table
    from schema.ports.values import Conditions, Term

MAX_PATTERN_CHARACTERS: Final = 1_000
# Objects within one another in a filter, and the comparisons and objects in all of it.
MAX_DEPTH: Final = 8
MAX_CONDITIONS: Final = 100
# Conditions on related rows within one another, and in all of a filter: each joins another table.
MAX_RELATIONS: Final = 3
MAX_RELATED: Final = 10
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
# Which of many related rows have to match.
SOME: Final = "some"
NONE: Final = "none"
_NOTHING: Final[Conditions] = (AnyOf(()),)


def conditions_of(table: Table, given: Any) -> Conditions:
    """The conditions of a filter; none if it is absent or empty.

    Args:
        table: the table.
        given: an input made by `schema.tables.filters.filter_of`.

    Raises:
        InputError: TOO_MANY_VALUES, VALUE_INVALID. The message names the place in the filter.
    """
    return _Filter().conditions(table, given, "filter", 1) if given else ()


def related(table: Table, relation: Relation, conditions: Conditions) -> OfRelated:
    """The condition that a row of the table leads to a row by the relation that the conditions match."""
    target = REGISTERED[relation.target].table
    return OfRelated(target, table[relation.here], target[relation.there], conditions)


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

    __slots__ = ("_left", "_left_related")

    def __init__(self) -> None:
        self._left = MAX_CONDITIONS
        self._left_related = MAX_RELATED

    def conditions(self, table: Table, given: Any, place: str, depth: int, relations: int = 0) -> Conditions:
        """The conditions on a table of an object at a place in the filter."""
        if depth > MAX_DEPTH:
            raise InputError(
                Reason.TOO_MANY_VALUES,
                f"`{place}` is nested {depth} deep; at most {MAX_DEPTH} objects within one another are allowed.",
            )
        found: list[Term] = []
        for column in table.filters:
            if part := getattr(given, column.name, None):
                found += self._comparisons(column, part, f"{place}.{to_camel_case(column.name)}")
        for name, relation in table.relations.items():
            if part := getattr(given, name, None):
                found += self._related(table, relation, part, f"{place}.{to_camel_case(name)}", depth, relations + 1)
        if parts := getattr(given, "and_", None):
            for conditions in self._listed(table, parts, f"{place}.and", depth, relations):
                found += conditions
        if (parts := getattr(given, "or_", UNSET)) is not UNSET and parts is not None:
            found += any_of([*self._listed(table, parts, f"{place}.or", depth, relations)])
        if part := getattr(given, "not_", None):
            self._count(place)
            found += none_of(self.conditions(table, part, f"{place}.not", depth + 1, relations))
        return tuple(found)

    def _listed(self, table: Table, given: list[Any], place: str, depth: int, relations: int) -> Iterator[Conditions]:
        for index, part in enumerate(given):
            self._count(place)
            yield self.conditions(table, part, f"{place}[{index}]", depth + 1, relations)

    def _related(
        self, table: Table, relation: Relation, given: Any, place: str, depth: int, relations: int
    ) -> Iterator[Term]:
        """The conditions on related rows at a place in the filter: on the one, or on some and none of the many."""
        if relations > MAX_RELATIONS:
            raise InputError(
                Reason.TOO_MANY_VALUES,
                f"`{place}` is about rows related to related rows, {relations} deep; at most {MAX_RELATIONS} relations "
                "within one another are allowed.",
            )
        target = REGISTERED[relation.target].table
        parts = {name: getattr(given, name, None) for name in (SOME, NONE)} if relation.many else {"": given}
        for name, part in parts.items():
            if part:
                self._count(place)
                self._count_related(place)
                within = f"{place}.{name}" if name else place
                term = related(table, relation, self.conditions(target, part, within, depth + 1, relations))
                yield Not((term,)) if name == NONE else term

    def _comparisons(self, column: Column, given: Any, place: str) -> Iterator[Condition]:
        for name, operator in OPERATORS.items():
            value = getattr(given, name, None)
            if value is not None and value is not UNSET:
                self._count(place)
                named = f"{place}.{to_camel_case(name.rstrip('_'))}"
                yield _comparison(column, operator, value, named, any_case=not getattr(given, "case_sensitive", None))

    def _count_related(self, place: str) -> None:
        self._left_related -= 1
        if self._left_related < 0:
            raise InputError(
                Reason.TOO_MANY_VALUES,
                f"The filter has more than {MAX_RELATED} conditions on related rows; `{place}` is one too many.",
            )

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
