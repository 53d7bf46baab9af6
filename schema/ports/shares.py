"""About the share of a table's rows that match conditions, by the database's own statistics."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Final

from schema.ports.statistics import place_of
from schema.ports.unchanged import matches_unchanged
from schema.ports.values import AnyOf, Condition, Not, OfRelated, Operator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from schema.ports.statistics import Spread, TableStatistics
    from schema.ports.values import Conditions

# If conditions leave out all but this share of the rows, there may be none.
_FEW: Final = 0.1
_EQUALITIES: Final = frozenset({Operator.EQ, Operator.IN})
_INEQUALITIES: Final = frozenset({Operator.NE, Operator.NOT_IN})
# Whether a text matches another one, by the operator.
_TEXTS: Final[Mapping[Operator, Callable[[str, str], bool]]] = {
    Operator.STARTS_WITH: str.startswith,
    Operator.STARTS_WITH_IN_ANY_CASE: lambda text, part: text.lower().startswith(part.lower()),
    Operator.CONTAINS: str.__contains__,
    Operator.CONTAINS_IN_ANY_CASE: lambda text, part: part.lower() in text.lower(),
}
# The value that a parent has. Nobody knows it before the parent is read.
OF_PARENT: Final = object()


def related_to_one(term: OfRelated, known: TableStatistics) -> float:
    """About how many rows of the other table belong to one row."""
    return known.others(term.table).rows / max(1, known.rows) if term.many else 1.0


def share_among_changed(conditions: Conditions, known: TableStatistics) -> float:
    """About the share of the changed rows whose changes match."""
    return _share_of_compared(_of_changes(conditions), known)


def _of_changes(conditions: Conditions) -> list[Condition]:
    """The comparisons of columns that only changes give a value."""
    return [term for term in conditions if isinstance(term, Condition) and term.column.unchanged is not None]


def share_of(conditions: Conditions, known: TableStatistics) -> float:
    """About the share of the rows that match, if their columns do not depend on one another."""
    of_changes = _of_changes(conditions)
    others = [term for term in conditions if isinstance(term, Condition) and term.column.unchanged is None]
    share = _share_of_compared(others, known)
    if of_changes:
        changed = min(1.0, known.changed / known.rows) if known.rows else 0.0
        among = changed * _share_of_compared(of_changes, known)
        share *= among + (1.0 - changed if all(map(matches_unchanged, of_changes)) else 0.0)
    return share * math.prod(_share_of_term(term, known) for term in conditions if not isinstance(term, Condition))


def _share_of_compared(compared: Sequence[Condition], known: TableStatistics) -> float:
    columns = {condition.column for condition in compared}
    return math.prod(
        _share_of_column([one for one in compared if one.column is column], known.spread(column)) for column in columns
    )


def _share_of_term(term: AnyOf | Not | OfRelated, known: TableStatistics) -> float:
    if isinstance(term, Not):
        return 1.0 - share_of(term.conditions, known)
    if isinstance(term, OfRelated):
        return min(1.0, share_of(term.conditions, known.others(term.table)) * related_to_one(term, known))
    return min(1.0, sum(share_of(alternative, known) for alternative in term.alternatives))


def _share_of_column(conditions: Sequence[Condition], spread: Spread) -> float:
    share, low, high = 1.0, -math.inf, math.inf
    for condition in conditions:
        operator, value = condition.operator, condition.value
        if value is OF_PARENT:
            share = min(share, spread.of_any)
        elif operator in _EQUALITIES:
            share = min(share, spread.share_of(_values(condition)))
        elif operator in _INEQUALITIES:
            # If nothing is known of the values, all may be others.
            share = min(share, max(0.0, 1.0 - spread.share_of(_values(condition))) if spread.common else 1.0)
        elif operator is Operator.IS_NULL:
            share = 0.0
        elif (matches := _TEXTS.get(operator)) is not None:
            share = min(share, spread.of_texts(partial(_matches, matches, str(value))))
        elif (place := place_of(condition.column, value)) is None:
            continue
        elif operator in {Operator.GT, Operator.GTE}:
            low = max(low, place)
        else:
            high = min(high, place)
    if low > high:
        return 0.0
    return share if low == -math.inf and high == math.inf else min(share, spread.between(low, high))


def _matches(compared: Callable[[str, str], bool], part: str, text: str) -> bool:
    return compared(text, part)


def may_match_none(conditions: Conditions, known: TableStatistics) -> bool:
    """Whether the statistics cannot tell that any row matches: no value is common, or a range is within one part."""
    compared = [term for term in conditions if isinstance(term, Condition)]
    for column in {condition.column for condition in compared}:
        spread, parts = known.spread(column), [one for one in compared if one.column is column]
        if column.unchanged is not None:
            if not all(map(matches_unchanged, parts)):
                return True
            continue
        values = [_values(one) for one in parts if one.operator in _EQUALITIES]
        if not all(spread.knows(some) for some in values):
            return True
        least = _FEW if all(one.operator in _INEQUALITIES for one in parts) else spread.part
        if not values and _share_of_column(parts, spread) <= least:
            return True
    return any(_term_may_match_none(term, known) for term in conditions if not isinstance(term, Condition))


def _term_may_match_none(term: AnyOf | Not | OfRelated, known: TableStatistics) -> bool:
    if isinstance(term, OfRelated):
        return may_match_none(term.conditions, known.others(term.table))
    if isinstance(term, Not):
        # Nothing is known of the rows that are left, unless there are many.
        return 1.0 - share_of(term.conditions, known) <= _FEW
    return all(may_match_none(alternative, known) for alternative in term.alternatives)


def _values(condition: Condition) -> Sequence[object]:
    return condition.value if isinstance(condition.value, tuple) else (condition.value,)
