"""Owns what surrounds every HTTP request: its id, its record, its timing, and the one line it leaves in the log."""

from __future__ import annotations

import re
import time
import uuid
from typing import TYPE_CHECKING

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect

from server.metrics import CLIENT_GONE, note_request, outcome_label
from server.paths import GRAPHQL_PATH, METRICS_PATH, STREAM_PATH, WATCHED
from server.record import RequestRecord, current_record

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = structlog.get_logger("request")
# What a caller may name a request: bounded, and nothing that could pass for a second line of the log.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
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
        given = Headers(scope=scope).get("x-request-id", "")
        record = RequestRecord(given if _REQUEST_ID.fullmatch(given) else str(uuid.uuid4()))
        record.transport = "sse" if scope["path"] == STREAM_PATH else "http"
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = record.request_id
                headers["server-timing"] = (
                    f"db;dur={_milliseconds(record.database_seconds)}, "
                    f"total;dur={_milliseconds(time.perf_counter() - started)}"
                )
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
        (_log.debug if quiet else _log.info)(
            "request",
            method=scope["method"],
            path=scope["path"],
            status=status,
            operation=record.operation,
            outcome=record.outcome(status),
            duration_ms=_milliseconds(seconds),
            database_ms=_milliseconds(record.database_seconds),
            statements=record.statements,
            rows=record.rows,
            fast=record.fast,
            caller=client[0] if client else None,
            request_id=record.request_id,
        )


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 2)
