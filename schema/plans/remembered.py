"""Owns the plans of the documents that were asked for of late."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING

from graphql import OperationType, get_operation_ast
from strawberry.extensions import SchemaExtension

from schema.plans.arguments import UnplannedError
from schema.plans.operation import PlannedOperation

if TYPE_CHECKING:
    from collections.abc import Iterator

    import strawberry
    from graphql import DocumentNode

_log = logging.getLogger(__name__)
_Key = tuple[str, str | None]


class Plans:
    """The plans by a document's text and the name of the operation that is to be run; the latest, up to a bound.

    A text is planned when it is about to be executed the ordinary way for the first time: by then it has been parsed
    and validated, and has passed whatever else the schema's extensions hold a document to. So whatever has a plan has
    passed all that.

    Args:
        most: how many are remembered.
        characters: how many characters their texts may have together.
    """

    def __init__(self, most: int, *, characters: int) -> None:
        self._most = most
        self._characters = characters
        self._remembered_characters = 0
        self._planned: OrderedDict[_Key, PlannedOperation | None] = OrderedDict()

    def find(self, query: str | None, operation_name: str | None) -> PlannedOperation | None:
        """The plan of an operation; None where there is none (yet)."""
        key = (query or "", operation_name)
        if (planned := self._planned.get(key)) is not None:
            self._planned.move_to_end(key)
        return planned

    def learn(self, schema: strawberry.Schema, document: DocumentNode, query: str, operation_name: str | None) -> None:
        """Plan an operation of a valid document, if that can be done, unless it is known."""
        key = (query, operation_name)
        if key in self._planned:
            self._planned.move_to_end(key)
            return
        operation = get_operation_ast(document, operation_name)
        if operation is None or operation.operation is not OperationType.QUERY:
            return
        try:
            planned = PlannedOperation(schema, document, operation)
        except UnplannedError:
            planned = None
        except Exception:  # noqa: BLE001 # whatever it is, it is logged, and nobody has to suffer it
            # The ordinary way does without.
            _log.exception("a document could not be planned")
            planned = None
        self._planned[key] = planned
        self._remembered_characters += len(query)
        while len(self._planned) > self._most or self._remembered_characters > self._characters:
            (forgotten, _), _ = self._planned.popitem(last=False)
            self._remembered_characters -= len(forgotten)


class Planning(SchemaExtension):
    """Plans what is executed the ordinary way, for the next time."""

    def __init__(self, plans: Plans, *, longest: int) -> None:
        self._plans = plans
        self._longest = longest

    def on_execute(self) -> Iterator[None]:
        """After everything that may refuse a document."""
        context = self.execution_context
        document, query = context.graphql_document, context.query
        if document is not None and query is not None and len(query) <= self._longest:
            name = context._provided_operation_name  # noqa: SLF001 # operation_name answers with the first operation's name where none was given
            self._plans.learn(context.schema, document, query, name)
        yield
