"""Introspection: which callers may explore the schema, and the remembered answers.

To explore is to introspect, to open the GraphiQL page, and to get suggestions in error messages.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson
from graphql import ExecutionResult, FieldNode, FragmentDefinitionNode, Visitor, get_operation_ast, visit
from strawberry.extensions import SchemaExtension

from schema.errors import Reason, RequestError
from schema.limits.document import INTROSPECTION_FIELDS, merged_fields
from schema.permissions import Role

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from graphql import DocumentNode
    from strawberry.types.execution import ExecutionContext

    from schema.context import Context
    from schema.permissions import Principal

    # A document, the name of its operation, and the variables in JSON.
    _Key = tuple[str, str | None, bytes]

ExploredBy = Literal["on", "admin", "off"]
# GraphQL names have no escapes, so a text without a match has no introspection. `__typename` does not count as one.
_NAMED: Final = re.compile(r"__(?:schema|type)(?![A-Za-z0-9_])", re.ASCII)
# The answer to the standard query has 160,000 bytes, and takes as long to compute as eighty pages.
_REMEMBERED_BYTES: Final = 2 << 20
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


class IntrospectionAnswers:
    """The most recently used answers, in JSON, up to a bound. The schema of a process does not change.

    Args:
        most: how many bytes the answers may have, together with their documents and variables.
    """

    def __init__(self, most: int = _REMEMBERED_BYTES) -> None:
        self._most = most
        self._bytes = 0
        self._answers: OrderedDict[_Key, bytes] = OrderedDict()

    def get(self, key: _Key) -> bytes | None:
        """The remembered answer."""
        if (answer := self._answers.get(key)) is not None:
            self._answers.move_to_end(key)
        return answer

    def add(self, key: _Key, answer: bytes) -> None:
        """Remember an answer, and forget those used longest ago if there are too many bytes."""
        self._answers[key] = answer
        self._bytes += _weight(key, answer)
        while self._bytes > self._most:
            self._bytes -= _weight(*self._answers.popitem(last=False))

    def clear(self) -> None:
        """Forget all answers."""
        self._answers.clear()
        self._bytes = 0


class IntrospectionTurns(SchemaExtension):
    """Lets one introspection run at a time, and answers it from memory if it can.

    It runs after IntrospectionPolicy, so the caller may explore. All such callers see the same schema and share the
    answers.

    Args:
        answers: the remembered answers.
    """

    def __init__(self, answers: IntrospectionAnswers) -> None:
        self._answers = answers

    async def on_execute(self) -> AsyncIterator[None]:
        """Wait before the operation takes an admission slot, which others can use meanwhile."""
        execution = self.execution_context
        names = _root_fields(execution)
        if INTROSPECTION_FIELDS.isdisjoint(names):
            yield
            return
        text = execution.query or ""
        await execution.context.turns.take(len(text), execution.context.principal.user)
        if not names <= {*INTROSPECTION_FIELDS, "__typename"}:
            yield
            return
        key = text, execution.operation_name, orjson.dumps(execution.variables)
        answer = self._answers.get(key)
        if answer is not None:
            execution.result = ExecutionResult(orjson.Fragment(answer), None)  # type: ignore[arg-type] # JSON of a dict
        yield
        result: Any = execution.result
        if answer is None and isinstance(result, ExecutionResult) and not result.errors:
            self._answers.add(key, orjson.dumps(result.data))


def _root_fields(execution: ExecutionContext) -> set[str]:
    """The names of the operation's root fields, if there may be introspection among them."""
    document = execution.graphql_document
    if document is None or not _NAMED.search(execution.query or ""):
        return set()
    operation = get_operation_ast(document, execution.operation_name)
    if operation is None:
        return set()
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    return {node.name.value for node in merged_fields([operation.selection_set], fragments, visited=set())}


def _weight(key: _Key, answer: bytes) -> int:
    text, _, variables = key
    return len(text) + len(variables) + len(answer)


def _introspects(document: DocumentNode) -> bool:
    search = _Search()
    visit(document, search)
    return search.found


class _Search(Visitor):
    """Finds introspection fields anywhere in a document, under any alias."""

    found = False

    def enter_field(self, node: FieldNode, *_: object) -> None:
        self.found = self.found or node.name.value in INTROSPECTION_FIELDS
