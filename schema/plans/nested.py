"""The pages below rows: the arguments of each, checked before anything is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from schema.ports.templates import NestedRequest
from schema.relay.cursors import parent_of
from schema.relay.pagination import given
from schema.tables.fields import all_rows, nested_request

if TYPE_CHECKING:
    from schema.context import PageLimits
    from schema.plans.arguments import Arguments, Values
    from schema.ports.columns import Relation
    from schema.tables.registry import Declared


@dataclass(slots=True)
class NestedArguments:
    """The arguments of a relation to many.

    Attributes:
        relation: the relation.
        declared: where the type of its target is declared.
        arguments: its arguments.
    """

    relation: Relation
    declared: Declared
    arguments: Arguments
    _known: tuple[PageLimits, NestedRequest] | None = None

    def request(self, values: Values, limits: PageLimits) -> NestedRequest:
        """The page that a request asks for, below each row.

        Raises:
            InputError: an argument is invalid.
            UnplannedError: graphql-core would refuse it.
        """
        if self._known is not None and self._known[0] is limits:
            return self._known[1]
        request = self._request(values, limits)
        if not self.arguments.changing:
            self._known = limits, request
        return request

    def _request(self, values: Values, limits: PageLimits) -> NestedRequest:
        there = self.relation.there
        if self.relation.listed:
            return NestedRequest(all_rows(self.declared.table, there))
        arguments = self.arguments.coerce(values)
        after, before = given(arguments.get("after")), given(arguments.get("before"))
        cursor = before if after is None else after
        parent = None if cursor is None else parent_of(cursor)
        return NestedRequest(nested_request(limits, self.declared, there, parent, arguments), parent)
