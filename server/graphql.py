"""Owns the GraphQL-over-HTTP endpoint: one request in, one operation run, one answer out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from strawberry.asgi import GraphQL
from strawberry.exceptions import MissingQueryError
from strawberry.extensions import SchemaExtension
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types.graphql import OperationType

from schema.context import Context
from schema.errors import ApiError, ForbiddenError, Reason, RequestError
from server import graphiql
from server.metrics import note_subscription
from server.negotiation import GRAPHQL_RESPONSE, JSON, media_type, wants_page
from server.operations import refusal_of
from server.parameters import accepted_by, request_data
from server.presentation import present, present_refusal
from server.record import current_record
from server.tracing import tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import strawberry
    from starlette.types import Receive, Scope, Send
    from strawberry.http import GraphQLRequestData

_METHODS = "GET, POST"
_OPERATIONS = {"GET": (OperationType.QUERY,), "POST": (OperationType.QUERY, OperationType.MUTATION)}
_RETRY_AFTER_SECONDS = "1"
_UNAVAILABLE = 503
_NAME_CHARACTERS = 100
# What clients that know only application/json have always been answered with a 200 (and graphql-http audits).
_OK_AS_PLAIN_JSON = frozenset({Reason.SYNTAX, Reason.DOCUMENT_INVALID, Reason.VARIABLES_INVALID})


class NoteOperation(SchemaExtension):
    """Notes on the request's record which operation it is."""

    def on_operation(self) -> Iterator[None]:
        """A subscription lasts until here, also where it is ended from outside."""
        record = current_record.get()
        try:
            yield
        finally:
            if record is not None and record.subscription:
                note_subscription(record.transport, -1)

    def on_parse(self) -> Iterator[None]:
        """The name is known once the document has been read."""
        try:
            yield
        finally:
            if (record := current_record.get()) and (name := self.execution_context.operation_name):
                record.operation = name[:_NAME_CHARACTERS]

    def on_execute(self) -> Iterator[None]:
        """The type is by then one that is served here. Of a subscription this is the beginning alone."""
        kind = self.execution_context.operation_type
        record = current_record.get()
        tracing.note_operation(record.operation if record else None, kind.value)
        if record is not None and kind is OperationType.SUBSCRIPTION:
            record.subscription = True
            note_subscription(record.transport, 1)
        yield


class GraphQLEndpoint(GraphQL[Context, None]):
    """Strawberry's endpoint, held to the GraphQL-over-HTTP rules."""

    def __init__(self, schema: strawberry.Schema, new_context: Callable[[HTTPConnection], Context]) -> None:
        super().__init__(schema, graphql_ide=None, subscription_protocols=())
        self._new_context = new_context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
        except (RequestError, ForbiddenError) as error:
            answer, status = present_refusal(error)
            accepted = media_type(accepted_by(request)) or JSON
            response = _response(answer, status, accepted, headers=_refusal_headers(error, request))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        context = self._new_context(request)
        if request.method not in {"GET", "POST"}:
            raise RequestError(Reason.METHOD_NOT_ALLOWED, f"Use {_METHODS}.")
        accept = accepted_by(request)
        if request.method == "GET" and "query" not in request.query_params and wants_page(accept):
            return graphiql.page()
        accepted = media_type(accept)
        if accepted is None:
            raise RequestError(Reason.NOT_ACCEPTABLE, f"Accept {GRAPHQL_RESPONSE} or {JSON}.")
        answer, status = await self._execute(request, await request_data(request), context)
        return _response(answer, status, accepted)

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


def _refusal_headers(error: ApiError, request: Request) -> dict[str, str]:
    if error.reason is not Reason.METHOD_NOT_ALLOWED:
        return {}
    # A GET that is refused here was one of a mutation.
    return {"allow": "POST" if request.method == "GET" else _METHODS}


def _response(answer: dict[str, Any], status: int, media: str, *, headers: Mapping[str, str] | None = None) -> Response:
    if media == JSON and "errors" in answer and "data" not in answer:
        reasons = {Reason[error["extensions"]["reason"]] for error in answer["errors"]}
        status = 200 if reasons <= _OK_AS_PLAIN_JSON else status
    response = Response(orjson.dumps(answer), status, headers, media_type=f"{media}; charset=utf-8")
    response.headers["vary"] = "accept"
    if status == _UNAVAILABLE:
        response.headers["retry-after"] = _RETRY_AFTER_SECONDS
    return response
