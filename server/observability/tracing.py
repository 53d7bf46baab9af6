"""Owns the decision to trace: where OTEL_EXPORTER_OTLP_ENDPOINT says to whom; else no OpenTelemetry is loaded."""

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
# What a receiver that does not answer may hold up a stop.
_FLUSH_SECONDS: Final = 2.0


class Tracing:
    """The tracing of a process, or none."""

    def __init__(self) -> None:
        self._spans: Spans | None = None

    def start(self, excluded: Sequence[str]) -> list[Middleware]:
        """Begin to trace where it is asked for; the middleware that makes a span of each request."""
        if not any(os.environ.get(name) for name in _ENDPOINTS):
            return []
        try:
            # Importing it takes half a second and 20 MB, and it is an extra.
            from server.observability.otel import Spans  # noqa: PLC0415
        except ImportError as error:
            _log.warning("no traces: OpenTelemetry is not installed", missing=error.name, file="requirements-otel.txt")
            return []
        self._spans = Spans()
        return [self._spans.middleware(excluded)]

    def operation(self) -> AbstractContextManager[object]:
        """A span of its own for an operation on a connection that carries many."""
        return self._spans.operation() if self._spans else contextlib.nullcontext()

    def note_operation(self, name: str | None, kind: str) -> None:
        """Put an operation's name and type on the span that it runs in."""
        if self._spans is not None:
            named = {"graphql.operation.name": name} if name else {}
            self._spans.note({"graphql.operation.type": kind, **named})

    async def close(self) -> None:
        """Send what is still to be sent, for two seconds at most, and stop."""
        if self._spans is None:
            return
        spans, self._spans = self._spans, None
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def close() -> None:
            spans.close()
            with contextlib.suppress(RuntimeError):
                # The loop may be closed by then.
                loop.call_soon_threadsafe(sent.set)

        # A thread that nobody waits for at the end of the process.
        threading.Thread(target=close, name="last spans", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_SECONDS):
                await sent.wait()


tracing: Final = Tracing()
