"""Who may explore: introspection, the GraphiQL page, and the suggestions in error messages."""

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
# GraphQL names have no escapes, so a text without a match has no introspection. `__typename` does not count as one.
_NAMED: Final = re.compile(r"__(?:schema|type)(?![A-Za-z0-9_])", re.ASCII)
_REFUSED: Final = "Introspection is disabled on this server or for your role: `__schema` and `__type` are not answered."
_NO_PAGE: Final = (
    "GraphiQL is disabled on this server or for your role: see the setting `EXPLORING`. If callers authenticate with "
    "tokens, only `EXPLORING=on` shows it, because a browser that opens a page has no token to send."
)


def may_explore(principal: Principal, explored_by: ExploredBy) -> bool:
    """Whether a principal may explore the schema."""
    return explored_by == "on" or (explored_by == "admin" and principal.holds(Role.ADMIN))


def no_page() -> RequestError:
    """The refusal of the GraphiQL page: NOT_ACCEPTABLE, because the endpoint then has only JSON to offer."""
    return RequestError(Reason.NOT_ACCEPTABLE, _NO_PAGE)


class IntrospectionPolicy(SchemaExtension):
    """Refuses `__schema` and `__type` to callers who may not explore."""

    def on_validate(self) -> Iterator[None]:
        """Refuse the document before it is validated, and so before any plan or resolver sees it."""
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
    """Finds introspection fields anywhere in a document, under any alias."""

    found = False

    def enter_field(self, node: FieldNode, *_: object) -> None:
        self.found = self.found or node.name.value in _INTROSPECTION
