"""The error boundary: the last place that catches an exception over HTTP. Its JSON reveals nothing about the cause."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from schema.errors import ApiError, Reason, RequestError, UnavailableError
from server.http.caching import NO_STORE
from server.http.error_response import present_fault, present_refusal, refusal_headers
from server.http.negotiation import JSON, accepted_by, media_type
from server.http.request_middleware import GRAPHQL_PATH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.exceptions import HTTPException
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_NOT_ALLOWED = 405


class ErrorBoundary:
    """Answers a request whose handler raises, with an error id that is also in the log. Other scopes pass through.

    If the response has begun, it is left incomplete and uvicorn closes the connection, so the client notices.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def send_noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        except ClientDisconnect:
            # No client is there to receive a response, and nothing in the server has failed.
            raise
        except asyncio.CancelledError:
            if not scope["app"].state.draining.begun:
                raise
            # When uvicorn stops, it cancels requests that take too long, and would send a response of its own.
            stopping = UnavailableError(Reason.SERVER_STOPPING, "The server is being stopped or replaced. Try again.")
            if not begun:
                await refusal(Request(scope), stopping)(scope, receive, send)
        except Exception as error:  # noqa: BLE001 # any exception is masked
            answer, status = present_fault(error)
            if not begun:
                headers = refusal_headers(error) if isinstance(error, ApiError) else {}
                await _response(Request(scope), answer, status, headers)(scope, receive, send)


async def http_exception(request: Request, error: Exception) -> Response:
    """Answer with our errors where Starlette finds no route, method or file."""
    raised: HTTPException = error  # type: ignore[assignment] # it is registered for this type alone
    if raised.status_code == _NOT_ALLOWED:
        allowed = dict(raised.headers or {})
        refused = RequestError(Reason.METHOD_NOT_ALLOWED, f"Use {', '.join(allowed.values())}.")
        return refusal(request, refused, headers=allowed)
    # To the client, a file that must not be read does not exist.
    nothing = f"Nothing is served at this path. GraphQL is at {GRAPHQL_PATH}."
    return refusal(request, RequestError(Reason.PATH_UNKNOWN, nothing))


async def fault(_request: Request, error: Exception) -> Response:
    """Pass the exception on to `ErrorBoundary`: Starlette would send a response of its own."""
    raise error


def refusal(request: Request, error: ApiError, *, headers: Mapping[str, str] | None = None) -> Response:
    """The response to a request that is refused with this error."""
    answer, status = present_refusal(error)
    return _response(request, answer, status, {**refusal_headers(error), **(headers or {})})


def _response(request: Request, answer: dict[str, Any], status: int, headers: Mapping[str, str]) -> Response:
    accepted = media_type(accepted_by(request)) or JSON
    headers = {"cache-control": NO_STORE, "vary": "accept", **headers}
    return Response(orjson.dumps(answer), status, headers, media_type=f"{accepted}; charset=utf-8")
