"""The endpoint that Prometheus scrapes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from schema.errors import ApiError, Reason, RequestError
from server.http.error_response import present_refusal
from server.http.negotiation import JSON, accepted_by
from server.observability.exposition import exposition

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import Receive, Scope, Send

    from server.http.compression import Compression

_METHODS: Final = "GET, HEAD"
_OK: Final = 200
_UNAUTHENTICATED: Final = 401
_FORBIDDEN: Final = 403


class MetricsEndpoint:
    """The ASGI endpoint of /api/metrics.

    Args:
        check: raises an ApiError if the caller may not read the metrics.
        compression: compresses them.
    """

    def __init__(self, check: Callable[[Request], Awaitable[None]], compression: Compression) -> None:
        self._check = check
        self._compression = compression

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        request = Request(scope, receive)
        try:
            if request.method not in {"GET", "HEAD"}:
                raise RequestError(Reason.METHOD_NOT_ALLOWED, f"Use {_METHODS}.")
            await self._check(request)
            encoding = self._compression.accepted(scope)
            sampler = request.state["sampler"]
            sampler.scraped()
            sampler.sample()
            # Reading hundreds of series of every worker takes some ten milliseconds, so a thread does it.
            text, media_type = await asyncio.to_thread(exposition, accepted_by(request) or "")
            response = Response(text, headers={"content-type": media_type})
            if self._compression.encodes(encoding, len(text)):
                await self._compression.apply(response)
        except ApiError as error:
            answer, status = present_refusal(error)
            # A GraphQL response without data may be a 200. This is not GraphQL.
            status = _FORBIDDEN if status == _OK else status
            response = Response(orjson.dumps(answer), status, media_type=f"{JSON}; charset=utf-8")
            if status == _UNAUTHENTICATED:
                response.headers["www-authenticate"] = "Bearer"
            if error.reason is Reason.METHOD_NOT_ALLOWED:
                response.headers["allow"] = _METHODS
        response.headers["cache-control"] = "no-store"
        await response(scope, receive, send)
