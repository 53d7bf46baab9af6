"""The GraphQL endpoint over HTTP: GET and POST, and the GraphiQL page."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from strawberry.types.graphql import OperationType

from schema.errors import (
    ApiError,
    OutcomeUnknownError,
    Reason,
    RequestError,
    UnavailableError,
)
from server.graphql.request import names_operation
from server.http.caching import NO_STORE
from server.http.client import CLIENT_PRESENCE
from server.http.error_response import present_fault, present_refusal, refusal_headers, retry_headers
from server.http.negotiation import GRAPHQL_RESPONSE, JSON, accepted_by, media_type, wants_page, wants_stream
from server.http.read_requirement import current_reads
from server.http.request_middleware import STREAM_PATH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Receive, Scope, Send

    from schema.context import Context
    from server.graphql.fast_path import FastPath
    from server.graphql.gateway import Gateway
    from server.graphql.graphiql.page import GraphiQL
    from server.graphql.request import RequestData
    from server.http.caching import Caching
    from server.http.client import ClientPresence
    from server.http.compression import Compression, Encoding
    from server.traffic.admission import Admission

_OK = 200
_CONTENT_TYPES = {media: f"{media}; charset=utf-8".encode() for media in (JSON, GRAPHQL_RESPONSE)}
_VARY = b"accept, accept-encoding"
_METHODS = "GET, POST"
_OPERATIONS = {"GET": (OperationType.QUERY,), "POST": (OperationType.QUERY, OperationType.MUTATION)}
# Clients that only know application/json expect a 200 for these (the audits of graphql-http check it).
_OK_AS_PLAIN_JSON = frozenset(
    {
        Reason.SYNTAX,
        Reason.DOCUMENT_INVALID,
        Reason.VARIABLES_INVALID,
        Reason.LIMIT_EXCEEDED,
        Reason.COST_EXCEEDED,
        Reason.INTROSPECTION_DISABLED,
    }
)


class GraphQLEndpoint:
    """An ASGI endpoint that follows the GraphQL-over-HTTP specification.

    Args:
        gateway: checks the requests.
        graphiql: the page for a browser that opens the endpoint.
        fast: answers planned operations; None if the fast path is off.
        admission: admits planned operations. Others are admitted once their document has proved valid
            (server/graphql/extensions.py).
        compression: compresses the answers.
        caching: lets clients cache the answers to GET.
    """

    def __init__(
        self,
        gateway: Gateway,
        graphiql: GraphiQL,
        *,
        fast: FastPath | None,
        admission: Admission,
        compression: Compression,
        caching: Caching,
    ) -> None:
        self._gateway = gateway
        self._graphiql = graphiql
        self._fast = fast
        self._admission = admission
        self._compression = compression
        self._caching = caching

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
        except asyncio.CancelledError:
            if not request.app.state.draining.begun:
                raise
            # uvicorn cancels slow requests when it stops, and would send an answer that is not ours.
            response = _cancelled(request)
        except ApiError as error:
            answer, status = present_refusal(error)
            accepted = media_type(accepted_by(request)) or JSON
            response = _response(answer, status, accepted, headers=_refusal_headers(error, request))
        except ClientDisconnect:
            # There is no client to answer.
            raise
        except Exception as error:  # noqa: BLE001 # any exception is masked
            answer, status = present_fault(error)
            response = _response(answer, status, media_type(accepted_by(request)) or JSON)
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        method = request.method
        is_get = method == "GET"
        if is_get and _asks_for_page(request):
            return await self._graphiql.page(request)
        # A page of any origin can send a GET, without a preflight. It changes nothing, and the page cannot read the
        # answer.
        context, data, (accepted, encoding) = await self._gateway.prepare(request, self._negotiate, any_origin=is_get)
        work = self._execute(data, context, method=method)
        presence: ClientPresence | None = request.scope.get(CLIENT_PRESENCE)
        answer, status = await (work if presence is None else presence.while_there(work))
        response: Response = (
            _JsonResponse(answer, accepted) if isinstance(answer, bytes) else _response(answer, status, accepted)
        )
        self._gateway.consistency.add_headers(response)
        encoded = self._compression.encodes(encoding, len(response.body))
        if is_get and (isinstance(answer, bytes) or "errors" not in answer):
            if context.tells_cost:
                # The answer has the cost for clients that ask by a header, which is not part of a cache's key.
                response.headers["cache-control"] = NO_STORE
            else:
                response = self._caching.apply(request.scope, response, encoded=encoded)
            encoded = encoded and response.status_code == _OK
        if encoded:
            await self._compression.apply(response)
        return response

    def _negotiate(self, request: Request) -> tuple[str, Encoding]:
        """The media type and the encoding of the answer."""
        if request.method not in _OPERATIONS:
            raise RequestError(Reason.METHOD_NOT_ALLOWED, f"Use {_METHODS}.")
        accepted = media_type(accepted_by(request))
        if accepted is None:
            streams = f" Event streams, also of subscriptions, are at {STREAM_PATH}."
            hint = streams if wants_stream(accepted_by(request)) else ""
            raise RequestError(Reason.NOT_ACCEPTABLE, f"Accept {GRAPHQL_RESPONSE} or {JSON}.{hint}")
        return accepted, self._compression.accepted(request.scope)

    async def _execute(self, data: RequestData, context: Context, *, method: str) -> tuple[dict[str, Any] | bytes, int]:
        allowed = _OPERATIONS[method]
        # The turn comes before the admission slot, which others can use meanwhile.
        await self._gateway.take_turn(data, context)
        planned = self._fast.find(data) if self._fast and not data.offered else None
        if self._fast is None or planned is None:
            return await self._gateway.execute(data, context, allowed=allowed)
        # The slot is given back before the answer is sent, so that a slow client does not hold one.
        slot = await self._admission.enter()
        try:
            async with self._fast.deadline():
                written, context = await self._fast.answer(planned, data, context)
                if written is not None:
                    return written, _OK
                return await self._gateway.execute(data, context, allowed=allowed)
        finally:
            slot.leave()


def _cancelled(request: Request) -> Response:
    """The answer to a request that was not finished before the server had to stop."""
    error: ApiError = UnavailableError(
        Reason.SERVER_STOPPING, "The server is stopping, and the request took too long. Try again."
    )
    if (reads := current_reads.get(None)) and reads.primary_only:
        # It was a mutation, whose change may have been committed.
        error = OutcomeUnknownError(with_key=False)
    answer, status = present_refusal(error)
    return _response(answer, status, media_type(accepted_by(request)) or JSON)


def _asks_for_page(request: Request) -> bool:
    return not names_operation(request) and wants_page(accepted_by(request))


def _refusal_headers(error: ApiError, request: Request) -> dict[str, str]:
    if error.reason is not Reason.METHOD_NOT_ALLOWED:
        return refusal_headers(error)
    # A GET is only refused for this reason if it asks for a mutation or a subscription.
    return {"allow": "POST" if request.method == "GET" else _METHODS}


class _JsonResponse(Response):
    """The response of an answer that is JSON already."""

    def __init__(self, content: bytes, media: str) -> None:
        self.status_code = _OK
        self.background = None
        self.body = content
        self.raw_headers = [
            (b"content-length", str(len(content)).encode()),
            (b"content-type", _CONTENT_TYPES[media]),
            (b"vary", _VARY),
        ]


def _response(answer: dict[str, Any], status: int, media: str, *, headers: Mapping[str, str] | None = None) -> Response:
    if media == JSON and "errors" in answer and "data" not in answer:
        reasons = {Reason[error["extensions"]["reason"]] for error in answer["errors"]}
        status = _OK if reasons <= _OK_AS_PLAIN_JSON else status
    headers = {**(headers or {}), **retry_headers(answer, status)}
    response = Response(orjson.dumps(answer), status, headers, media_type=f"{media}; charset=utf-8")
    response.headers["vary"] = _VARY.decode()
    if "errors" in answer:
        # A cache may keep the answer to a GET by its own rules if the server does not forbid it.
        response.headers["cache-control"] = NO_STORE
    return response
