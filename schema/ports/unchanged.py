"""Whether conditions can match a row that was never changed through this API."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Final

from schema.ports.values import Condition, Not, OfRelated, Operator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from schema.ports.values import Conditions, Term

_COMPARE: Final[Mapping[Operator, Callable[[Any, Any], bool]]] = {
    Operator.EQ: operator.eq,
    Operator.NE: operator.ne,
    Operator.GT: operator.gt,
    Operator.GTE: operator.ge,
    Operator.LT: operator.lt,
    Operator.LTE: operator.le,
    Operator.IN: lambda value, values: value in values,
    Operator.NOT_IN: lambda value, values: value not in values,
    Operator.IS_NOT_NULL: lambda _value, _none: True,
}


def match_only_changed(conditions: Conditions) -> bool:
    """Whether only rows that were changed can match, so that no other need be read."""
    return _all(conditions) is False


def matches_unchanged(condition: Condition) -> bool | None:
    """Whether a comparison matches a row that was never changed; None if that depends on the row."""
    if condition.column.unchanged is None:
        return None
    (value,) = condition.column.unchanged
    if value is None or condition.operator is Operator.IS_NULL:
        return value is None and condition.operator is Operator.IS_NULL
    compare = _COMPARE.get(condition.operator)
    try:
        return None if compare is None else bool(compare(value, condition.value))
    except TypeError:
        # The price of an operation is asked before its values are checked.
        return None


def _all(conditions: Conditions) -> bool | None:
    found = {_term(term) for term in conditions}
    return False if False in found else None if None in found else True


def _term(term: Term) -> bool | None:
    if isinstance(term, Condition):
        return matches_unchanged(term)
    if isinstance(term, OfRelated):
        return None
    if isinstance(term, Not):
        found = _all(term.conditions)
        return None if found is None else not found
    alternatives = {_all(alternative) for alternative in term.alternatives}
    return True if True in alternatives else None if None in alternatives else False
