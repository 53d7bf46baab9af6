"""Owns the form of the log: one event a line on standard output, ours and the libraries' alike."""

from __future__ import annotations

import contextlib
import logging
import sys
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Any, Final, TextIO

import structlog

from server.running import running_loop
from server.scrubbing import secrets_known
from server.slow import slow_statements

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from structlog.typing import Processor

    from server.settings import Settings

_REQUEST: Final = "request"


class RequestLog:
    """The line that every request leaves, in the form of all others.

    In JSON it goes to the handler's stream at once: through structlog and logging it would cost as much as finding an
    order does.
    """

    def __init__(self) -> None:
        self.handler: logging.StreamHandler[TextIO] | None = None
        self._log = structlog.get_logger(_REQUEST)
        self._logger = logging.getLogger(_REQUEST)
        self._lines: list[str] = []

    def write(self, level: int, fields: Mapping[str, str | float | bool | None]) -> None:
        """Write one, if its level is logged."""
        if not self._logger.isEnabledFor(level):
            return
        if self.handler is None:
            self._log.log(level, _REQUEST, **fields)
            return
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        name = logging.getLevelName(level).lower()
        line = json_object({**fields, "event": _REQUEST, "level": name, "logger": _REQUEST, "timestamp": now})
        if not self._lines:
            running_loop().call_soon(self.flush)
        self._lines.append(f"{secrets_known.scrub(line)}\n")

    def flush(self) -> None:
        """Write what has come up in one turn of the event loop, which is one call of the system."""
        handler, lines = self.handler, self._lines
        self._lines = []
        if handler is None or not lines:
            return
        try:
            with handler.lock or contextlib.nullcontext():
                handler.stream.write("".join(lines))
                handler.flush()
        except Exception:  # noqa: BLE001 # as logging itself has it: a log that is full or gone is no request's affair
            handler.handleError(logging.makeLogRecord({"name": _REQUEST, "levelno": logging.INFO, "msg": _REQUEST}))


def json_object(fields: Mapping[str, str | float | bool | None]) -> str:
    """As `json.dumps` writes it, whose encoder is made anew for every call."""
    return f"{{{', '.join([f'{quoted(name)}: {_VALUES[type(value)](value)}' for name, value in fields.items()])}}}"


_VALUES: Final[Mapping[type, Callable[[Any], str]]] = {
    str: quoted,
    int: int.__repr__,
    float: float.__repr__,
    bool: lambda value: "true" if value else "false",
    type(None): lambda _none: "null",
}


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Its last step hides secrets, in whatever part of the line they stand."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return secrets_known.scrub(super().format(record))


request_log: Final = RequestLog()


def configure_logs(settings: Settings, *, stream: TextIO | None = None) -> None:
    """Send structlog's events and the standard library's through one formatter, to standard output or elsewhere."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderers: list[Processor] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    if settings.log_format == "console":
        # Not rich's tracebacks, where it is installed: drawing one takes a second of the event loop.
        plain = structlog.dev.plain_traceback
        renderers = [
            structlog.dev.ConsoleRenderer(
                colors=sys.stdout.isatty(), exception_formatter=plain, sort_keys=False, pad_event_to=0
            )
        ]
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
    slow_statements.from_seconds = settings.slow_statement
    handler = logging.StreamHandler(stream or sys.stdout)
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
