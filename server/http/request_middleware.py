"""The middleware of every HTTP request: it assigns an id and a record, adds headers, and observes the request's end."""

from __future__ import annotations

import random
import re
import time
from typing import TYPE_CHECKING, Final

from starlette.requests import ClientDisconnect

from server.http.client import header
from server.observability.observations import RequestServed
from server.observability.request_record import CLIENT_GONE, RequestRecord, current_record
from server.observability.sinks import observe

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from server.observability.observations import Purpose

GRAPHQL_PATH: Final = "/api/graphql"
STREAM_PATH: Final = f"{GRAPHQL_PATH}/stream"
EXPORT_PATH: Final = f"{GRAPHQL_PATH}/export"
METRICS_PATH: Final = "/api/metrics"
# Paths of health checks and scrapes, and of the files that pages load: neither counted nor traced.
WATCHED: Final = ("/livez", "/readyz", "/static/", METRICS_PATH)

# On every response: a browser must not guess its type, and no page of another origin may embed it. The proxy that
# terminates TLS sets `strict-transport-security`, because that holds for everything under the host name.
EVERY_ANSWER: Final = {"x-content-type-options": "nosniff", "cross-origin-resource-policy": "same-origin"}
_EVERY_ANSWER_RAW: Final = tuple((name.encode(), value.encode()) for name, value in EVERY_ANSWER.items())
# The ids that a client may give its requests: of bounded length, without characters that could forge a line of the log.
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
# nginx's status for a client that has gone away. It is only logged: no client is there to receive it.
_CLIENT_GONE: Final = 499


class RequestMiddleware:
    """Gives a request its id and record, and observes it when it ends: that writes its one line of the log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; other scopes pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        given = header(scope, b"x-request-id") or ""
        record = RequestRecord(given if _REQUEST_ID.fullmatch(given) else _new_id())
        record.transport = "sse" if scope["path"] == STREAM_PATH else "http"
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                total = time.perf_counter() - started
                timing = f"db;dur={record.database_seconds * 1000:.2f}, total;dur={total * 1000:.2f}"
                ours = (b"x-request-id", record.request_id.encode()), (b"server-timing", timing.encode())
                message["headers"] = [*message["headers"], *_EVERY_ANSWER_RAW, *ours]
            await send(message)

        token = current_record.set(record)
        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            # No client is there to receive a response, and nothing in the server has failed.
            status = _CLIENT_GONE
            record.errors.append(CLIENT_GONE)
        except BaseException as error:
            record.errors.append(type(error).__name__)
            raise
        finally:
            current_record.reset(token)
            if record.settle is not None:
                record.settle(record)
            path, client = scope["path"], scope.get("client")
            seconds = time.perf_counter() - started
            observe(
                RequestServed(
                    record, scope["method"], path, status, seconds, _purpose(path), client[0] if client else None
                )
            )


def _purpose(path: str) -> Purpose:
    if path in {GRAPHQL_PATH, STREAM_PATH, EXPORT_PATH}:
        return "graphql"
    if path == METRICS_PATH:
        return "scrape"
    return "watch" if path.startswith(WATCHED) else "other"


def _new_id() -> str:
    """A UUID of version 4. It names a request and guards nothing, so it need not come from the system's generator."""
    digits = f"{random.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
