"""Owns the running of one operation on every transport: what Strawberry raises or yields, as answers that go out."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from graphql import GraphQLError
from strawberry.exceptions import MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types.execution import ExecutionResult, PreExecutionError
from strawberry.types.graphql import OperationType

from schema.errors import Reason, RequestError
from server.http.error_response import present
from server.traffic.subscription_limits import lasting

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection

    from strawberry.http import GraphQLRequestData

    from schema.context import Context
    from server.graphql.gateway import Gateway


async def answers(
    gateway: Gateway,
    data: GraphQLRequestData,
    context: Context,
    allowed: Collection[OperationType],
    *,
    lasting_seconds: float,
) -> AsyncGenerator[dict[str, Any], None]:
    """The answers of an operation one by one, whatever kind it is. One without `data` is the last: nothing was run.

    A subscription is ended so after `lasting_seconds`.

    Strawberry yields some errors and raises others, syntax errors among them.
    """
    try:
        results = await gateway.schema.stream(
            data.query,
            variable_values=data.variables,
            context_value=context,
            operation_name=data.operation_name,
            operation_extensions=data.extensions,
            allowed_operation_types=allowed,
        )
        async with aclosing(results), aclosing(lasting(results, lasting_seconds)) as lasting_results:
            async for result in lasting_results:
                # Frames of incremental delivery there are none: @defer is not in the schema.
                answer, _ = present(_explained(cast("ExecutionResult", result)), explores=context.explores)
                yield gateway.consistency.with_extension(answer)
    except Exception as error:  # noqa: BLE001 # it is presented: masked, where it is not one of ours
        yield present(_failure(error), explores=context.explores)[0]


def refusal_of(error: Exception | None, *, over: str = "this transport") -> RequestError | None:
    """What Strawberry finds wrong with a request before it is run, in our words; None for everything else."""
    if isinstance(error, MissingQueryError):
        return RequestError(Reason.PARAMETER_INVALID, "`query`, or else `documentId`, is missing.")
    if isinstance(error, CannotGetOperationTypeError):
        return RequestError(Reason.OPERATION_UNDETERMINED, "The document has no operation, or none of that name.")
    if not isinstance(error, InvalidOperationTypeError):
        return None
    if error.operation_type is OperationType.SUBSCRIPTION:
        where = "A subscription is served over a WebSocket here, or as server-sent events on /api/graphql/stream."
        return RequestError(Reason.METHOD_NOT_ALLOWED, where)
    return RequestError(Reason.METHOD_NOT_ALLOWED, f"A {error.operation_type.value} is not run over {over}.")


def _explained(result: ExecutionResult) -> ExecutionResult:
    if isinstance(result, PreExecutionError) and result.errors:
        refused = refusal_of(result.errors[0].original_error)
        return result if refused is None else _failure(refused)
    return result


def _failure(error: Exception) -> PreExecutionError:
    told = error if isinstance(error, GraphQLError) else GraphQLError(str(error), original_error=error)
    return PreExecutionError(data=None, errors=[told])
