"""Owns what surrounds every HTTP request: its id, its record, its timing, and the one line it leaves in the log."""

from __future__ import annotations

import logging
import random
import re
import time
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

from server.http.client import header
from server.http.paths import GRAPHQL_PATH, METRICS_PATH, STREAM_PATH, WATCHED
from server.http.security_headers import EVERY_ANSWER_RAW
from server.observability.access_log import request_log
from server.observability.log_processors import cut
from server.observability.metrics import CLIENT_GONE, note_request, outcome_label
from server.observability.request_record import RequestRecord, current_record

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# What a caller may name a request: bounded, and nothing that could pass for a second line of the log.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
# Those that are served have no more; each may be written in twelve, escaped.
_PATH_CHARACTERS = 100
# As nginx has it; no such answer is ever sent.
_CLIENT_GONE = 499
_BAD_REQUEST = 400


class CanonicalLog:
    """Gives a request its id and record, and logs one line when it ends."""

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
                message["headers"] = [*message["headers"], *EVERY_ANSWER_RAW, *ours]
            await send(message)

        token = current_record.set(record)
        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            # Nobody is there to be answered, and nothing of ours has failed.
            status = _CLIENT_GONE
            record.errors.append(CLIENT_GONE)
        except BaseException as error:
            record.errors.append(type(error).__name__)
            raise
        finally:
            current_record.reset(token)
            seconds = time.perf_counter() - started
            self._count(scope["path"], record, status, seconds)
            self._write(scope, record, status, seconds)

    @staticmethod
    def _count(path: str, record: RequestRecord, status: int, seconds: float) -> None:
        if not path.startswith(WATCHED):
            note_request(
                transport=record.transport,
                operation=record.operation,
                outcome=outcome_label(record.errors, status),
                seconds=None if record.subscription else seconds,
                graphql=path in {GRAPHQL_PATH, STREAM_PATH},
            )

    @staticmethod
    def _write(scope: Scope, record: RequestRecord, status: int, seconds: float) -> None:
        # Asked for every few seconds by whoever watches the process; at INFO they would drown the rest.
        quiet = scope["path"].startswith(WATCHED) and (scope["path"] != METRICS_PATH or status < _BAD_REQUEST)
        client = scope.get("client")
        request_log.write(
            logging.DEBUG if quiet else logging.INFO,
            {
                "method": scope["method"],
                "path": cut(scope["path"], _PATH_CHARACTERS),
                "status": status,
                "operation": record.operation,
                "outcome": record.outcome(status),
                "duration_ms": seconds * 1000,
                "database_ms": record.database_seconds * 1000,
                "statements": record.statements,
                "rows": record.rows,
                "fast": record.fast,
                "caller": client[0] if client else None,
                "request_id": record.request_id,
            },
        )


def _new_id() -> str:
    """A UUID of version 4. It names a request and guards nothing, so that the system is not asked for its bits."""
    digits = f"{random.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
