"""The access log: one line for every request, in the form of all other lines, at a fraction of their cost.

A line that goes through structlog and logging costs as much as finding an order does. So this module writes these lines
itself if the format is JSON, all lines of 50 ms with one system call.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import time
from collections import deque
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any, Final

import orjson
import structlog

from server.observability.redaction import secrets_known
from server.observability.request_record import running_loop

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    Value = str | float | bool | None

_EVENT: Final = "request"
# How long a line may wait for others to be written with it.
_BATCH_SECONDS: Final = 0.05
_LEVELS: Final = {logging.DEBUG: "debug", logging.INFO: "info"}
# orjson escapes what JSON demands. A line separator or a terminal's control characters would get through.
_NOT_PRINTABLE_ASCII: Final = re.compile("[^ -~]")


class AccessLog:
    """The lines of all requests. `handler` writes them; without one they go through structlog."""

    def __init__(self) -> None:
        self.handler: AccessLogHandler | None = None
        self._log = structlog.get_logger(_EVENT)
        self._logger = logging.getLogger(_EVENT)
        self._waiting: deque[tuple[float, int, Mapping[str, Value]]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None

    def write(self, level: int, fields: Mapping[str, Value]) -> None:
        """Write a line, if its level is logged."""
        if not self._logger.isEnabledFor(level):
            return
        if self.handler is None:
            self._log.log(level, _EVENT, **fields)
            return
        self._waiting.append((time.time(), level, fields))
        loop = running_loop()
        if self._loop is not loop:
            # No flush is scheduled in this loop. A flush scheduled in a loop that has ended never runs.
            self._loop = loop
            loop.call_later(_BATCH_SECONDS, self._flush)

    def take(self) -> str:
        """Remove and return the lines that wait."""
        lines = []
        while self._waiting:
            lines.append(secrets_known.scrub(_line(*self._waiting.popleft())))
        return "".join(lines)

    def _flush(self) -> None:
        self._loop = None
        if self.handler is not None:
            try:
                self.handler.flush()
            except Exception:  # noqa: BLE001 # as in logging: a log that is full or gone does not disturb requests
                self.handler.handleError(logging.makeLogRecord({"name": _EVENT, "msg": _EVENT}))


class AccessLogHandler(logging.StreamHandler[Any]):
    """The log's handler. When it writes another line or is shut down, it also writes the access log's waiting lines."""

    def flush(self) -> None:
        """Write out everything."""
        self.acquire()
        try:
            if text := access_log.take():
                self.stream.write(text)
            super().flush()
        finally:
            self.release()

    def close(self) -> None:
        """Close the handler, after a moment in which the log's reader may take the rest."""
        drain = getattr(self.stream, "drain", None)
        if drain is not None:
            with contextlib.suppress(OSError):
                drain()
        super().close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 # logging's name
        """Report a line that could not be written, but not its text: no secret has been hidden in it yet."""
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"A line of {record.name} was not logged: {type(sys.exception()).__name__}\n")


access_log: Final = AccessLog()


def _line(moment: float, level: int, fields: Mapping[str, Value]) -> str:
    second = int(moment)
    values = {
        **fields,
        "event": _EVENT,
        "level": _LEVELS[level],
        "logger": _EVENT,
        "timestamp": f"{_timestamp(second)}.{int((moment - second) * 1_000_000):06d}Z",
    }
    try:
        line = orjson.dumps(values).decode()
    except TypeError:
        # Half of a surrogate pair is no character, and orjson refuses it.
        whole = {k: v.encode(errors="replace").decode() if isinstance(v, str) else v for k, v in values.items()}
        line = orjson.dumps(whole).decode()
    if not line.isascii() or "\x7f" in line:
        line = _NOT_PRINTABLE_ASCII.sub(_escaped, line)
    return f"{line}\n"


# The lines of a second share it.
@lru_cache(maxsize=1)
def _timestamp(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def _escaped(match: re.Match[str]) -> str:
    return encode_basestring_ascii(match[0])[1:-1]
