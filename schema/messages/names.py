"""Hides the schema's names in error messages from readers who may not explore it: all but those that they sent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

# Where graphql-core's suggestions begin and end: "Did you mean 'orders' or 'order'?"
_SUGGESTION, _SUGGESTED = " Did you mean ", "?"
# What graphql-core quotes: 'Query.order(orderKey:)'. Each quotation mark is both an end and a beginning here, so that a
# client's text with quotation marks of its own cannot move a name of the schema out of the quotation.
_QUOTED: Final = re.compile(r"(?<=')[^'\s]++(?=')")
# Names in our own advice: `orderDate`, and values of enums.
_ADVISED: Final = re.compile(r"`[^`]++`|\b[A-Z]++_[A-Z_]++\b")
_NAME: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
# A document's comments, strings and names. An end that is missing is that of the text.
_TOKEN: Final = re.compile(
    r'#[^\n\r]*+|"""(?:[^"\\]++|\\"""|\\|"(?!""))*+(?:""")?|"(?:[^"\\\n\r]++|\\.)*+"?|([A-Za-z_]\w*)', re.ASCII
)
_ENUM_VALUE: Final = re.compile(r"[A-Z_][A-Z0-9_]*")
_HIDDEN: Final = "\u2026"
# Names that need not be hidden: how a value is written, and the types that every schema has.
PUBLIC: Final = frozenset(
    {"BigInt", "Boolean", "Date", "DateTime", "Decimal", "Float", "ID", "Int", "String", "UUID"}
    | {"Mutation", "Query", "Subscription"}
)
# Finding the names in this many characters takes some milliseconds. Names after them are hidden.
_READ_CHARACTERS: Final = 1 << 16


def known_names(query: str | None, variables: Mapping[str, Any] | None) -> Collection[str]:
    """The names that a client knows: the public ones, and those in what it has sent.

    A client could list its guesses in comments and strings, where no name means anything. In variables the names of
    fields and of values of enums do. schema/limits/variables.py has bounded the variables.
    """
    names = {*PUBLIC, *(_TOKEN.findall(query, 0, _READ_CHARACTERS) if query else [])}
    values: list[Any] = [variables]
    while values:
        value = values.pop()
        if isinstance(value, dict):
            names.update(value)
            values.extend(value.values())
        elif isinstance(value, list):
            values.extend(value)
        elif isinstance(value, str) and _ENUM_VALUE.fullmatch(value):
            names.add(value)
    return names


def without_names(message: str, known: Collection[str]) -> str:
    """A message of graphql-core without suggestions, and without the names that its reader does not know."""
    return _hide(_QUOTED, _without_suggestions(message), known)


def advice_without_names(message: str, known: Collection[str]) -> str:
    """A message of our own without the names that its reader does not know."""
    return _hide(_ADVISED, message, known)


def _hide(where: re.Pattern[str], message: str, known: Collection[str]) -> str:
    def hide(found: re.Match[str]) -> str:
        return _NAME.sub(lambda name: name[0] if name[0] in known else _HIDDEN, found[0])

    return where.sub(hide, message)


def _without_suggestions(message: str) -> str:
    """Remove suggestions from a message.

    Validation results are cached for all callers, so the same message is sent with its suggestions and without. If the
    client's own text in it looks like a suggestion, that goes too. A suggestion never stays: names have no question
    mark, so its end is found.
    """
    kept, *suggesting = message.split(_SUGGESTION)
    return kept + "".join(part.partition(_SUGGESTED)[2] for part in suggesting)
