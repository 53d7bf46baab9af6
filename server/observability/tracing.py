"""Tracing with OpenTelemetry, which is loaded only if OTEL_EXPORTER_OTLP_ENDPOINT says where spans go."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from starlette.middleware import Middleware

    from server.observability.otel import Spans

_log = structlog.get_logger(__name__)
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
# The longest that a receiver that does not answer may delay the stop of the process.
_FLUSH_SECONDS: Final = 2.0


class Tracing:
    """The spans of a process. Without an endpoint every method does nothing."""

    def __init__(self) -> None:
        self._spans: Spans | None = None

    def start(self, excluded: Sequence[str]) -> list[Middleware]:
        """Start tracing, if an endpoint is set. Return the middleware that makes a span of each request.

        Args:
            excluded: the paths that are not traced.
        """
        if not any(os.environ.get(name) for name in _ENDPOINTS):
            return []
        try:
            # OpenTelemetry is an optional dependency, and its import takes half a second and 20 MB.
            from server.observability.otel import Spans  # noqa: PLC0415
        except ImportError as error:
            _log.warning("no traces: OpenTelemetry is not installed", missing=error.name, file="requirements-otel.txt")
            return []
        self._spans = Spans()
        return [self._spans.middleware(excluded)]

    def operation(self) -> AbstractContextManager[object]:
        """A span for one operation on a connection that carries many."""
        return self._spans.operation() if self._spans else contextlib.nullcontext()

    def note_operation(self, name: str | None, kind: str) -> None:
        """Set an operation's name and type on the current span."""
        if self._spans is not None:
            named = {"graphql.operation.name": name} if name else {}
            self._spans.note({"graphql.operation.type": kind, **named})

    async def close(self) -> None:
        """Stop tracing. Spans that were not sent yet are sent, for two seconds at most."""
        if self._spans is None:
            return
        spans, self._spans = self._spans, None
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def close() -> None:
            spans.close()
            with contextlib.suppress(RuntimeError):
                # By then the loop may be closed.
                loop.call_soon_threadsafe(sent.set)

        # A daemon thread, so that the process does not wait for it at its end.
        threading.Thread(target=close, name="last spans", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_SECONDS):
                await sent.wait()


tracing: Final = Tracing()
