"""The answers of operations: how results, events and failures are presented, on every transport."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from graphql import GraphQLError
from strawberry.exceptions import MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types.execution import ExecutionResult, PreExecutionError
from strawberry.types.graphql import OperationType

from schema.errors import Reason, RequestError
from schema.permissions import Role
from server.http.error_response import note_errors, present
from server.http.request_middleware import GRAPHQL_PATH, STREAM_PATH
from server.traffic.events import EventAnswer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphql import ExecutionResult as GraphQLExecutionResult

    from schema.context import Context
    from server.observability.request_record import RequestRecord


def presented(
    result: ExecutionResult, context: Context, query: str | None, variables: Mapping[str, Any] | None
) -> tuple[dict[str, Any], int]:
    """The answer of a result for its caller, and its HTTP status."""
    return present(
        result,
        explores=context.explores,
        is_admin=context.principal.holds(Role.ADMIN),
        query=query,
        variables=variables,
    )


def answer_of_event(result: GraphQLExecutionResult, context: Context) -> EventAnswer:
    """Present the result of an event, for all subscribers that share it."""
    answer, _ = presented(ExecutionResult(result.data, result.errors), context, None, None)
    size = len(orjson.dumps(answer.get("errors")))
    if "data" in answer:
        data = orjson.dumps(answer["data"])
        size += len(data)
        answer["data"] = orjson.Fragment(data)
    lasts = not any(error["extensions"]["retryable"] for error in answer.get("errors", ()))
    return EventAnswer(answer, size, lasts)


def answer_of(result: ExecutionResult, context: Context, record: RequestRecord) -> dict[str, Any]:
    """The answer of an operation that may have several. That of an event has been presented already."""
    event: object = result.data
    if not isinstance(event, EventAnswer):
        return presented(_reworded(result), context, *record.asked)[0]
    note_errors(event.answer)
    return {**event.answer, "extensions": result.extensions} if result.extensions else event.answer


def refusal_of(error: Exception | None) -> RequestError | None:
    """What Strawberry rejects before execution, as one of our errors; None for any other error."""
    if isinstance(error, MissingQueryError):
        return RequestError(Reason.PARAMETER_INVALID, "`query`, or else `documentId`, is missing.")
    if isinstance(error, CannotGetOperationTypeError):
        return RequestError(
            Reason.OPERATION_UNDETERMINED, "The document has no operation, or no operation with that name."
        )
    if not isinstance(error, InvalidOperationTypeError):
        return None
    if error.operation_type is OperationType.SUBSCRIPTION:
        where = f"A subscription needs a WebSocket at {GRAPHQL_PATH}, or server-sent events at {STREAM_PATH}."
        return RequestError(Reason.METHOD_NOT_ALLOWED, where)
    # Every transport but GET runs queries and mutations.
    return RequestError(Reason.METHOD_NOT_ALLOWED, f"A {error.operation_type.value} cannot be run over GET. Use POST.")


def _reworded(result: ExecutionResult) -> ExecutionResult:
    if isinstance(result, PreExecutionError) and result.errors:
        refused = refusal_of(result.errors[0].original_error)
        return result if refused is None else failure(refused)
    return result


def failure(error: Exception) -> PreExecutionError:
    """The result of an operation that ends with an error."""
    raised = error if isinstance(error, GraphQLError) else GraphQLError(str(error), original_error=error)
    return PreExecutionError(data=None, errors=[raised])
