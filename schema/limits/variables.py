"""Owns the limits of variables: how much of them is looked at, before they are held against their types.

What does not fit its type is quoted, and compared with what would, for each mistake anew: an object of 150,000 unknown
fields would be more than a second of work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from schema.errors import LimitError, Reason
from schema.orders.arguments import MAX_LIST_VALUES

if TYPE_CHECKING:
    from collections.abc import Mapping

# In all lists and objects. The longest list of changes, with all that there is to say about each, has 8,000; holding a
# value against its type takes two to four microseconds.
MOST_VALUES: Final = 10 * MAX_LIST_VALUES
# No input of the schema has as many fields, and no document of a thousand tokens as many variables.
MOST_NAMES: Final = 300
# Of all long texts together: no argument has a use for one. As many as a document may have, in which they could stand.
MOST_CHARACTERS: Final = 65_536
_LONG_CHARACTERS: Final = 1_000
_LONGEST_NAME: Final = 1_000
_FEW: Final = 20
_WORDS: Final = {
    "variableValues": "There are {requested:,} values in `variables`, and at most {allowed:,} are read.",
    "variableNames": "An object in `variables` has {requested:,} fields, and at most {allowed:,} are read.",
    "variableNameCharacters": "A name in `variables` has {requested:,} characters, and at most {allowed:,} are read.",
    "variableCharacters": (
        "Long texts in `variables` have {requested:,} characters together, and at most {allowed:,} are read."
    ),
}


def check_variables(variables: Mapping[str, Any] | None) -> None:
    """Go on only with variables that are within the limits, whatever they are for.

    Raises:
        LimitError: LIMIT_EXCEEDED.
    """
    if not variables or _are_plain(variables):
        return
    values = characters = 0
    level: list[Any] = [variables]
    while level:
        # What all of them hold is counted before any of it is looked at, which takes longer.
        for holder in level:
            if type(holder) is not list and holder:
                _hold("variableNames", len(holder), MOST_NAMES)
                _hold("variableNameCharacters", max(map(len, holder)), _LONGEST_NAME)
        values += sum(map(len, level))
        _hold("variableValues", values, MOST_VALUES)
        deeper: list[Any] = []
        for holder in level:
            for value in holder if type(holder) is list else holder.values():
                kind = type(value)
                if kind is dict or kind is list:
                    deeper.append(value)
                elif kind is str and len(value) > _LONG_CHARACTERS:
                    characters += len(value)
                    _hold("variableCharacters", characters, MOST_CHARACTERS)
        level = deeper


def _are_plain(variables: Mapping[str, Any]) -> bool:
    """Whether they are a few short values, as nearly always, which takes less to see than to count."""
    if len(variables) > _FEW:
        return False
    for name, value in variables.items():
        kind = type(value)
        if len(name) > _LONGEST_NAME or kind is dict or kind is list or (kind is str and len(value) > _LONG_CHARACTERS):
            return False
    return True


def _hold(limit: str, requested: int, allowed: int) -> None:
    if requested > allowed:
        message = _WORDS[limit].format(requested=requested, allowed=allowed)
        raise LimitError(Reason.LIMIT_EXCEEDED, message, limit=limit, requested=requested, allowed=allowed)
