"""The cache of documents: one entry holds everything that is known about a text."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from graphql import OperationDefinitionNode, OperationType, get_operation_ast

from schema.limits.cost import formula_of
from schema.limits.formulas import Formula
from schema.limits.prices import REMEMBERED_CHARACTERS
from schema.plans.arguments import UnplannedError
from schema.plans.events import EventSelection
from schema.plans.operation import PlannedOperation

if TYPE_CHECKING:
    import strawberry
    from graphql import DocumentNode, GraphQLSchema

_log = logging.getLogger(__name__)
# Together these bound the memory of a cache. In a full cache a document has 2,000 characters on average, which may be
# 1,000 tokens. A syntax tree takes 300 to 500 bytes a token: 0.35 MB. A plan takes up to a hundred times its text.
# Measured: the worst documents fill a cache with 0.46 GB, a thousand ordinary ones with 28 MB.
_DOCUMENTS: Final = 1_000
_CHARACTERS: Final = 2 << 20


class Document:
    """A valid document within the limits, and everything that is derived from it.

    `plans` holds the plan of each planned operation, by the `operationName` of a request; None marks an operation that
    cannot be planned. `digest` is the hash under which a client offered the document.

    Args:
        text: its text.
        ast: its syntax tree.
    """

    __slots__ = ("_events", "_formulas", "ast", "digest", "plans", "text")

    def __init__(self, text: str, ast: DocumentNode) -> None:
        self.text = text
        self.ast = ast
        self.plans: dict[str | None, PlannedOperation | None] = {}
        self.digest: str | None = None
        self._formulas: dict[str | None, Formula] = {}
        self._events: dict[str | None, EventSelection] = {}

    def formula(self, schema: GraphQLSchema, operation_name: str | None) -> Formula:
        """The cost formula of an operation. An unknown operation costs 0.

        Raises:
            LimitError: COST_EXCEEDED if the operation repeats introspection too often.
        """
        operation = get_operation_ast(self.ast, operation_name)
        if operation is None:
            return Formula()
        name = _name(operation)
        if name not in self._formulas:
            self._formulas[name] = formula_of(schema, self.ast, operation)
        return self._formulas[name]

    def events(self, schema: GraphQLSchema, operation_name: str | None) -> EventSelection | None:
        """What a subscription selects of each event; None for another operation, and for an unknown one."""
        operation = get_operation_ast(self.ast, operation_name)
        if operation is None or operation.operation is not OperationType.SUBSCRIPTION:
            return None
        name = _name(operation)
        if name not in self._events:
            self._events[name] = EventSelection(schema, self.text, self.ast, operation)
        return self._events[name]

    def plan(self, schema: strawberry.Schema, operation_name: str | None) -> None:
        """Plan a query, unless it has been planned."""
        if operation_name in self.plans:
            return
        operation = get_operation_ast(self.ast, operation_name)
        if operation is None or operation.operation is not OperationType.QUERY:
            return
        # A document's only query may be named in a request or not. Both share one plan.
        name = _name(operation)
        if name not in self.plans:
            self.plans[name] = self._planned(schema, operation)
        self.plans[operation_name] = self.plans[name]

    def _planned(self, schema: strawberry.Schema, operation: OperationDefinitionNode) -> PlannedOperation | None:
        try:
            formula = self.formula(schema._schema, _name(operation))  # noqa: SLF001 # Strawberry has no public way to it
            return PlannedOperation(schema, self.ast, operation, formula)
        except UnplannedError:
            return None
        except Exception:  # noqa: BLE001 # a bug in planning must not fail the request: the ordinary path answers
            _log.exception("a document could not be planned")
            return None


class DocumentCache:
    """The most recently used documents, up to a bound. Each process has its own cache.

    A document is added once it has proved valid, so invalid documents cannot push out valid ones. Error messages, which
    may be a hundred times as long as a document, are not kept. A query is planned when the ordinary path is about to
    execute it for the first time. By then the document has passed the checks of all the schema's extensions.

    Args:
        most: how many documents it holds.
        characters: how many characters their texts may have together. A text counts once for each of its operations,
            since each may have a plan.
    """

    def __init__(self, most: int = _DOCUMENTS, *, characters: int = _CHARACTERS) -> None:
        self._most = most
        self._most_characters = characters
        self._characters = 0
        self._documents: OrderedDict[str, Document] = OrderedDict()
        self._by_digest: OrderedDict[str, Document] = OrderedDict()

    def get(self, text: str) -> Document | None:
        """The document with this text."""
        if (document := self._documents.get(text)) is not None:
            self._documents.move_to_end(text)
        return document

    def find(self, digest: str) -> Document | None:
        """The document that a client offered under this hash."""
        if (document := self._by_digest.get(digest)) is not None:
            self._by_digest.move_to_end(digest)
            self._documents.move_to_end(document.text)
        return document

    def add(self, text: str, ast: DocumentNode) -> None:
        """Add a document that has proved valid, unless it is very long."""
        if text in self._documents or len(text) > REMEMBERED_CHARACTERS:
            return
        self._documents[text] = Document(text, ast)
        self._characters += _weight(ast, text)
        while len(self._documents) > self._most or self._characters > self._most_characters:
            _, forgotten = self._documents.popitem(last=False)
            self._characters -= _weight(forgotten.ast, forgotten.text)
            if forgotten.digest is not None:
                del self._by_digest[forgotten.digest]

    def clear(self) -> None:
        """Forget all documents. Operations that are running keep theirs."""
        self._documents.clear()
        self._by_digest.clear()
        self._characters = 0

    def offer(self, digest: str, text: str, *, most: int) -> None:
        """Make a document findable by its hash, if it is in the cache.

        Args:
            digest: the hash. The caller has checked that it is the text's.
            text: the text.
            most: how many documents may be found by their hash.
        """
        document = self._documents.get(text)
        if document is None or document.digest is not None:
            return
        document.digest = digest
        self._by_digest[digest] = document
        if len(self._by_digest) > most:
            _, oldest = self._by_digest.popitem(last=False)
            oldest.digest = None


def _name(operation: OperationDefinitionNode) -> str | None:
    return operation.name.value if operation.name else None


def _weight(ast: DocumentNode, text: str) -> int:
    return len(text) * max(1, sum(isinstance(node, OperationDefinitionNode) for node in ast.definitions))
