"""The price of `node` and `nodes` for objects of administration, each of which is looked up by itself."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from graphql import ListValueNode

from schema.limits.prices import COMPOSED, PLATFORM

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphql import FieldNode

    from schema.context import PageLimits
    from schema.limits.arguments import GivenArguments
    from schema.limits.formulas import ArgumentValue, StatisticsSource, Variables

# By the name of the type. Orders and their changes are read in one statement each, however many there are.
LOOKUP_PRICES: Final[Mapping[str, int]] = {
    "DatabaseInstance": PLATFORM,
    "DatabaseBranch": PLATFORM,
    "DatabaseEndpoint": PLATFORM,
    "DatabaseCatalog": PLATFORM,
    "SyncedTable": PLATFORM,
    "Operation": COMPOSED,
    "AdminAuditEntry": COMPOSED,
}
# The arguments with global ids, by root field.
_IDS: Final = {"node": "id", "nodes": "ids"}


def _start_of(type_name: str) -> str:
    """The start of every global id of a type. The last character depends on the key too, and is left out."""
    named = f"{type_name}:".encode()
    return base64.b64encode(named).decode()[: len(named) * 8 // 6]


_STARTS: Final = {_start_of(name): price for name, price in LOOKUP_PRICES.items()}
_ANY_START: Final = tuple(_STARTS)


@dataclass(frozen=True, slots=True)
class Lookups:
    """The points for objects that are looked up by themselves.

    `given` are the values of the argument, each of which is an id or a list of ids.
    """

    given: tuple[ArgumentValue, ...]

    def __call__(self, variables: Variables, _pages: PageLimits, _statistics: StatisticsSource) -> int:
        """The points. An id that is repeated counts once."""
        ids: set[str] = set()
        for given in self.given:
            value = given.value(variables)
            for one in value if isinstance(value, list) else (value,):
                if isinstance(one, str) and one.startswith(_ANY_START):
                    ids.add(one)
        return sum(price for one in ids for start, price in _STARTS.items() if one.startswith(start))


def lookups_of(node: FieldNode, arguments: GivenArguments) -> Lookups | None:
    """The lookups of a root field; None if it is neither `node` nor `nodes`."""
    name = _IDS.get(node.name.value)
    value = next((given.value for given in node.arguments or () if given.name.value == name), None)
    if value is None:
        return None
    elements = value.values if isinstance(value, ListValueNode) else (value,)
    return Lookups(tuple(arguments.value(element) for element in elements))
