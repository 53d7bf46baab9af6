"""The documents of exports: found in the cache, or read and checked as every other document is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphql import GraphQLError
from strawberry.types.execution import ExecutionContext
from strawberry.types.graphql import OperationType

from schema.errors import Reason, RequestError
from schema.extensions import DocumentPreparation
from schema.stages import Stage
from server.graphql.export.operation import RefusedError

if TYPE_CHECKING:
    import strawberry
    from graphql import DocumentNode

    from schema import DocumentCache, DocumentLimits
    from schema.context import Context


async def read_valid(
    text: str | None, context: Context, schema: strawberry.Schema, cache: DocumentCache, limits: DocumentLimits
) -> DocumentNode:
    """A document that is within the limits and matches the schema. The caller pays for reading it.

    Raises:
        RefusedError: it does not match the schema, or is no document.
        RequestError: PARAMETER_INVALID, there is no text.
        LimitError: LIMIT_EXCEEDED.
        RateLimitedError: the caller cannot pay for reading it.
    """
    if not text:
        raise RequestError(Reason.PARAMETER_INVALID, "`query`, or else `documentId`, is missing.")
    preparation = DocumentPreparation(cache, limits)
    preparation.execution_context = execution = ExecutionContext(
        query=text, schema=schema, allowed_operations=(OperationType.QUERY,), context=context
    )
    try:
        for name in ("on_parse", "on_validate"):
            async with Stage([preparation], name):
                pass
    except GraphQLError as error:
        raise RefusedError([error]) from None
    except RecursionError as error:
        raise RefusedError([GraphQLError(str(error), original_error=error)]) from None
    if execution.pre_execution_errors:
        raise RefusedError(execution.pre_execution_errors)
    if execution.graphql_document is None:
        raise RuntimeError("a document without mistakes was not read")
    return execution.graphql_document
