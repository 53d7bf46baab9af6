"""Owns the GraphQL-over-HTTP endpoint: one request in, one operation run, one answer out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response
from strawberry.asgi import GraphQL
from strawberry.exceptions import MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types.graphql import OperationType

from schema.context import Context
from schema.errors import (
    ApiError,
    OutcomeUnknownError,
    Reason,
    RequestError,
    UnauthenticatedError,
    UnavailableError,
)
from server import graphiql
from server.negotiation import GRAPHQL_RESPONSE, JSON, media_type, wants_page
from server.operations import refusal_of
from server.parameters import accepted_by, request_data
from server.presentation import RETRY_AFTER_SECONDS, UNAVAILABLE, present, present_refusal, refusal_headers
from server.record import current_record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    import strawberry
    from starlette.types import Receive, Scope, Send
    from strawberry.http import GraphQLRequestData

    from server.consistency import Consistency

_T = TypeVar("_T")
_METHODS = "GET, POST"
_OPERATIONS = {"GET": (OperationType.QUERY,), "POST": (OperationType.QUERY, OperationType.MUTATION)}
# What clients that know only application/json have always been answered with a 200 (and graphql-http audits).
_OK_AS_PLAIN_JSON = frozenset({Reason.SYNTAX, Reason.DOCUMENT_INVALID, Reason.VARIABLES_INVALID})


class GraphQLEndpoint(GraphQL[Context, None]):
    """Strawberry's endpoint, held to the GraphQL-over-HTTP rules."""

    def __init__(
        self,
        schema: strawberry.Schema,
        new_context: Callable[[HTTPConnection], Awaitable[Context]],
        *,
        consistency: Consistency,
    ) -> None:
        super().__init__(schema, graphql_ide=None, subscription_protocols=())
        self._new_context = new_context
        self._consistency = consistency

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        request = Request(scope, receive)
        try:
            response = await self._respond(request, receive)
        except asyncio.CancelledError:
            if not request.app.state.draining.begun:
                raise
            # uvicorn ends what takes too long when it stops, and would answer with words of its own.
            response = _cut(request)
        except ApiError as error:
            if isinstance(error, UnauthenticatedError) and _asks_for_page(request):
                # There is nobody's data in it, and it is where a person puts their token in.
                await graphiql.page()(scope, receive, send)
                return
            answer, status = present_refusal(error)
            accepted = media_type(accepted_by(request)) or JSON
            response = _response(answer, status, accepted, headers=_refusal_headers(error, request))
        await response(scope, receive, send)

    async def _respond(self, request: Request, receive: Receive) -> Response:
        context = await self._new_context(request)
        if request.method not in {"GET", "POST"}:
            raise RequestError(Reason.METHOD_NOT_ALLOWED, f"Use {_METHODS}.")
        if _asks_for_page(request):
            return graphiql.page()
        accepted = media_type(accepted_by(request))
        if accepted is None:
            raise RequestError(Reason.NOT_ACCEPTABLE, f"Accept {GRAPHQL_RESPONSE} or {JSON}.")
        data = await request_data(request)
        self._consistency.demand(request)
        answer, status = await _while_connected(self._execute(request, data, context), receive)
        response = _response(answer, status, accepted)
        self._consistency.tell(response)
        return response

    async def _execute(
        self, request: Request, data: GraphQLRequestData, context: Context
    ) -> tuple[dict[str, Any], int]:
        try:
            result = await self.schema.execute(
                data.query,
                variable_values=data.variables,
                context_value=context,
                operation_name=data.operation_name,
                operation_extensions=data.extensions,
                allowed_operation_types=_OPERATIONS[request.method],
            )
        except (MissingQueryError, CannotGetOperationTypeError, InvalidOperationTypeError) as error:
            raise refusal_of(error, over=request.method) or error from None
        return present(result)


async def _while_connected(work: Coroutine[Any, Any, _T], receive: Receive) -> _T:
    """What the work gives. A query ends with its statements when its caller goes away; a change is made all the same.

    Raises:
        ClientDisconnect: the caller has gone away.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        record = current_record.get()
        if not task.done() and not (record and record.primary_only):
            raise ClientDisconnect
        return await task
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _cut(request: Request) -> Response:
    """The answer to what could not be finished before the server had to stop."""
    record = current_record.get()
    error: ApiError = UnavailableError(
        Reason.SERVER_STOPPING, "The server is being stopped or replaced, and this took too long. Try again."
    )
    if record is not None and record.primary_only:
        error = OutcomeUnknownError(with_key=False)
    answer, status = present_refusal(error)
    return _response(answer, status, media_type(accepted_by(request)) or JSON)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _asks_for_page(request: Request) -> bool:
    return request.method == "GET" and "query" not in request.query_params and wants_page(accepted_by(request))


def _refusal_headers(error: ApiError, request: Request) -> dict[str, str]:
    if error.reason is not Reason.METHOD_NOT_ALLOWED:
        return refusal_headers(error)
    # A GET that is refused here was one of a mutation.
    return {"allow": "POST" if request.method == "GET" else _METHODS}


def _response(answer: dict[str, Any], status: int, media: str, *, headers: Mapping[str, str] | None = None) -> Response:
    if media == JSON and "errors" in answer and "data" not in answer:
        reasons = {Reason[error["extensions"]["reason"]] for error in answer["errors"]}
        status = 200 if reasons <= _OK_AS_PLAIN_JSON else status
    response = Response(orjson.dumps(answer), status, headers, media_type=f"{media}; charset=utf-8")
    response.headers["vary"] = "accept"
    if status == UNAVAILABLE:
        response.headers["retry-after"] = RETRY_AFTER_SECONDS
    return response
