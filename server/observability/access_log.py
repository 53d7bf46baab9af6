"""Owns the line that every request leaves in the log, in the form of all others, at a fraction of their cost.

Through structlog and logging it would cost as much as finding an order does. So in JSON it is written out here, and the
lines of a moment together, which is one call of the system.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections import deque
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Any, Final

import structlog

from server.observability.event_loop import running_loop
from server.observability.redaction import secrets_known

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

_EVENT: Final = "request"
# How long a line may wait for others.
_TOGETHER_SECONDS: Final = 0.05
_LEVELS: Final = {logging.DEBUG: "debug", logging.INFO: "info"}
_VALUES: Final[Mapping[type, Callable[[Any], str]]] = {
    str: quoted,
    int: int.__repr__,
    float: lambda value: repr(round(value, 2)),
    bool: lambda value: "true" if value else "false",
    type(None): lambda _none: "null",
}


class RequestLog:
    """The lines. `handler` is whose stream they go to; without one they go structlog's way."""

    def __init__(self) -> None:
        self.handler: RequestLogHandler | None = None
        self._log = structlog.get_logger(_EVENT)
        self._logger = logging.getLogger(_EVENT)
        self._waiting: deque[tuple[float, int, Mapping[str, Any]]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None

    def write(self, level: int, fields: Mapping[str, str | float | bool | None]) -> None:
        """Write a line, if its level is logged. Numbers are rounded to two decimals."""
        if not self._logger.isEnabledFor(level):
            return
        if self.handler is None:
            told = {name: round(value, 2) if isinstance(value, float) else value for name, value in fields.items()}
            self._log.log(level, _EVENT, **told)
            return
        self._waiting.append((time.time(), level, fields))
        loop = running_loop()
        if self._loop is not loop:
            # The first line of a moment, or of another loop: one that has ended writes nothing any more.
            self._loop = loop
            loop.call_later(_TOGETHER_SECONDS, self._write)

    def taken(self) -> str:
        """The lines that wait, which from now on is the caller's affair."""
        lines = []
        while self._waiting:
            lines.append(secrets_known.scrub(_line(*self._waiting.popleft())))
        return "".join(lines)

    def _write(self) -> None:
        self._loop = None
        if self.handler is not None:
            try:
                self.handler.flush()
            except Exception:  # noqa: BLE001 # as logging has it: a log that is full or gone is no request's affair
                self.handler.handleError(logging.makeLogRecord({"name": _EVENT, "msg": _EVENT}))


class RequestLogHandler(logging.StreamHandler[Any]):
    """Writes the lines that wait whenever it writes out others, the last time when logging is shut down."""

    def flush(self) -> None:
        """Write out everything."""
        self.acquire()
        try:
            if text := request_log.taken():
                self.stream.write(text)
            super().flush()
        finally:
            self.release()

    def close(self) -> None:
        """Let it go, with everything written out that a reader takes in a moment."""
        drain = getattr(self.stream, "drain", None)
        if drain is not None:
            with contextlib.suppress(OSError):
                drain()
        super().close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 # logging's name
        """Say that a line could not be written, and not with what in it: nothing has been hidden in that yet."""
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"A line of {record.name} was not logged: {type(sys.exception()).__name__}\n")


request_log: Final = RequestLog()


def _line(moment: float, level: int, fields: Mapping[str, Any]) -> str:
    seconds, fraction = divmod(moment, 1)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    known = ", ".join([f"{quoted(name)}: {_VALUES[type(value)](value)}" for name, value in fields.items()])
    return (
        f'{{{known}, "event": "{_EVENT}", "level": "{_LEVELS[level]}", "logger": "{_EVENT}", '
        f'"timestamp": "{stamp}.{int(fraction * 1_000_000):06d}Z"}}\n'
    )
