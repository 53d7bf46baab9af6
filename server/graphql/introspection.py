"""Owns who may look around: at the schema, at GraphiQL, at what an error suggests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal

from graphql import FieldNode, Visitor, visit
from strawberry.extensions import SchemaExtension

from schema.errors import Reason, RequestError
from schema.permissions import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from graphql import DocumentNode

    from schema.context import Context
    from schema.permissions import Principal

ExploredBy = Literal["on", "admin", "off"]
_INTROSPECTION: Final = frozenset({"__schema", "__type"})
# A name cannot be written in any other way, so that a text without them asks for none; not `__typename`.
_NAMED: Final = re.compile(r"__(?:schema|type)(?![A-Za-z0-9_])", re.ASCII)
_REFUSED: Final = "The schema is not shown here, or not to you: `__schema` and `__type` are not answered."
_NO_PAGE: Final = (
    "GraphiQL is not shown here, or not to you: `EXPLORING` says to whom. Where callers send tokens a browser has none "
    "to send when it asks for a page, so that only `EXPLORING=on` shows it."
)


def may_explore(principal: Principal, explored_by: ExploredBy) -> bool:
    """Whether a principal may look around."""
    return explored_by == "on" or (explored_by == "admin" and principal.holds(Role.ADMIN))


def no_page() -> RequestError:
    """The refusal of GraphiQL, where it is not shown: there is nothing here then but JSON."""
    return RequestError(Reason.NOT_ACCEPTABLE, _NO_PAGE)


class IntrospectionPolicy(SchemaExtension):
    """Refuses `__schema` and `__type` to callers who may not explore."""

    def on_validate(self) -> Iterator[None]:
        """Before the document is validated, and so before any resolver or plan has anything of it."""
        document, query = self.execution_context.graphql_document, self.execution_context.query
        context: Context = self.execution_context.context
        if not context.explores and document is not None and _NAMED.search(query or "") and _introspects(document):
            raise RequestError(Reason.INTROSPECTION_DISABLED, _REFUSED)
        yield


def _introspects(document: DocumentNode) -> bool:
    search = _Search()
    visit(document, search)
    return search.found


class _Search(Visitor):
    """Finds the fields that show the schema, wherever they stand, whatever alias they have."""

    found = False

    def enter_field(self, node: FieldNode, *_: object) -> None:
        self.found = self.found or node.name.value in _INTROSPECTION
