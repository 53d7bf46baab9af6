"""The limits of variables, checked before the variables are coerced to their types.

For each mistake, graphql-core quotes the value and looks for similar names: an object of 150,000 unknown fields would
take more than a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from schema.errors import LimitError, Reason
from schema.tables.arguments import MAX_LIST_VALUES

if TYPE_CHECKING:
    from collections.abc import Mapping

# Values in all lists and objects. The longest list of changes, with every field of each change, has 8,000. Coercing a
# value takes two to four microseconds.
MOST_VALUES: Final = 10 * MAX_LIST_VALUES
# Fields of an object. No input of the schema has as many, and no document of 1,000 tokens has as many variables.
MOST_NAMES: Final = 300
# Lists and objects within one another. A filter needs three for each of its levels.
MOST_DEPTH: Final = 100
# Characters of all long strings together. No argument needs a long string. The limit is that of a document, whose
# literals could hold the same strings.
MOST_CHARACTERS: Final = 65_536
_LONG_CHARACTERS: Final = 1_000
_LONGEST_NAME: Final = 1_000
_FEW: Final = 20
_MESSAGES: Final = {
    "variableValues": "There are {requested:,} values in `variables`, and at most {allowed:,} are read.",
    "variableNames": "An object in `variables` has {requested:,} fields, and at most {allowed:,} are read.",
    "variableDepth": (
        "Lists and objects in `variables` are nested {requested:,} deep or deeper, and at most {allowed:,} are read."
    ),
    "variableNameCharacters": "A name in `variables` has {requested:,} characters, and at most {allowed:,} are read.",
    "variableCharacters": (
        "Long texts in `variables` have {requested:,} characters together, and at most {allowed:,} are read."
    ),
}


def check_variables(variables: Mapping[str, Any] | None) -> int:
    """Refuse variables that exceed the limits, whatever their types.

    Returns:
        How many values they have; 0 if they are few.

    Raises:
        LimitError: LIMIT_EXCEEDED.
    """
    if not variables or _are_few_and_short(variables):
        return 0
    values = characters = depth = 0
    level: list[Any] = [variables]
    while level:
        depth += 1
        _check("variableDepth", depth, MOST_DEPTH)
        # Counting is quick, so the values of a level are counted before the first of them is looked at.
        for container in level:
            if type(container) is not list and container:
                _check("variableNames", len(container), MOST_NAMES)
                _check("variableNameCharacters", max(map(len, container)), _LONGEST_NAME)
        values += sum(map(len, level))
        _check("variableValues", values, MOST_VALUES)
        deeper: list[Any] = []
        for container in level:
            for value in container if type(container) is list else container.values():
                kind = type(value)
                if kind is dict or kind is list:
                    deeper.append(value)
                elif kind is str and len(value) > _LONG_CHARACTERS:
                    characters += len(value)
                    _check("variableCharacters", characters, MOST_CHARACTERS)
        level = deeper
    return values


def _are_few_and_short(variables: Mapping[str, Any]) -> bool:
    """Whether there are only a few short values, which is nearly always so and quicker to see than to count."""
    if len(variables) > _FEW:
        return False
    for name, value in variables.items():
        kind = type(value)
        if len(name) > _LONGEST_NAME or kind is dict or kind is list or (kind is str and len(value) > _LONG_CHARACTERS):
            return False
    return True


def _check(limit: str, requested: int, allowed: int) -> None:
    if requested > allowed:
        message = _MESSAGES[limit].format(requested=requested, allowed=allowed)
        raise LimitError(Reason.LIMIT_EXCEEDED, message, limit=limit, requested=requested, allowed=allowed)
