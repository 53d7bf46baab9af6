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

    from schema.plans.operation import PlannedOperation as Planned

_log = logging.getLogger(__name__)
_Key = tuple[str, str | None]


class Plans:
    """The plans by a document's text and the name of the operation that is to be run; of the latest so many.

    A text is planned when it is about to be executed the ordinary way for the first time: by then it has been parsed
    and validated, and has passed whatever else the schema's extensions hold a document to. So whatever has a plan has
    passed all that.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._planned: OrderedDict[_Key, Planned | None] = OrderedDict()

    def find(self, query: str | None, operation_name: str | None) -> Planned | None:
        """The plan of an operation; None where there is none (yet)."""
        key = (query or "", operation_name)
        if (planned := self._planned.get(key)) is not None:
            self._planned.move_to_end(key)
        return planned

    def learn(self, schema: strawberry.Schema, document: DocumentNode, query: str, operation_name: str | None) -> None:
        """Plan an operation of a valid document, if that can be done, unless it is known."""
        key = (query, operation_name)
        if key in self._planned:
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
        if len(self._planned) > self._most:
            self._planned.popitem(last=False)


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
