"""Owns the form of the log: one event a line on standard output, ours and the libraries' alike."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Final, TextIO

import structlog

from server.observability.access_log import RequestLogHandler, request_log
from server.observability.log_processors import ThrottledLogs, bounded, printable, traceback_text
from server.observability.redaction import secrets_known

if TYPE_CHECKING:
    from structlog.typing import Processor

    from server.observability.log_stream import LogStream
    from server.settings import Settings


_seldom: Final = ThrottledLogs()


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Its last step hides secrets, in whatever part of the line they stand."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return secrets_known.scrub(super().format(record))


def configure_logs(settings: Settings, *, stream: TextIO | LogStream | None = None) -> None:
    """Send structlog's events and the standard library's through one formatter, to standard output or elsewhere."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Not rich's tracebacks, where it is installed: drawing one takes a second of the event loop.
    renderers: list[Processor] = [structlog.processors.ExceptionRenderer(traceback_text), bounded]
    if settings.log_format == "console":
        plain = structlog.dev.plain_traceback
        console = structlog.dev.ConsoleRenderer(
            colors=sys.stdout.isatty(), exception_formatter=plain, sort_keys=False, pad_event_to=0
        )
        renderers += [printable, console]
    else:
        # It writes what is not ASCII, and all that could end a line, as \u and its number.
        renderers.append(structlog.processors.JSONRenderer())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    secrets_known.of(settings)
    handler = RequestLogHandler(stream or sys.stdout)
    handler.setFormatter(
        _Formatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    logging.basicConfig(handlers=[handler], level=settings.log_level, force=True)
    request_log.handler = handler if settings.log_format == "json" else None
    # It repeats each GraphQL error with its traceback, in whatever number a caller cares to send.
    logging.getLogger("strawberry.execution").setLevel(logging.CRITICAL)
    logging.getLogger("uvicorn.error").addFilter(_seldom)
