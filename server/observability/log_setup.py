"""The form of the log: one event a line on standard output, ours and the libraries' alike, bounded and escaped."""

from __future__ import annotations

import logging
import re
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any, Final, TextIO

import structlog

from server.observability.access_log import AccessLogHandler, access_log
from server.observability.redaction import secrets_known

if TYPE_CHECKING:
    import asyncio
    from collections.abc import MutableMapping

    from structlog.typing import ExcInfo, Processor

    from server.observability.log_stream import LogStream
    from server.settings import Settings

# What a person reads of one value.
_VALUE_CHARACTERS: Final = 500
# The innermost frames of an exception, and of each exception that it was raised from.
_FRAMES: Final = 16
_TRACEBACK_CHARACTERS: Final = 6_000
# A traceback ends with the exception. Its beginning says where the request came in.
_TRACEBACK_BEGINNING: Final = 1_000
# C0 and C1 controls (a terminal obeys them), Unicode's line ends, marks that turn the direction of writing, and halves
# of surrogate pairs, which cannot be encoded.
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# The least time between two lines with the same text from uvicorn.
_THROTTLE_SECONDS: Final = 1.0
# uvicorn logs every WebSocket with its whole URL, query included.
_WEBSOCKET: Final = '%s - "WebSocket'


def configure_logs(settings: Settings, *, stream: TextIO | LogStream | None = None) -> None:
    """Send structlog's events and the standard library's through one formatter.

    Args:
        settings: give the form, the level, and the secrets to hide.
        stream: where the lines go; by default standard output.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Not rich's tracebacks, even if it is installed: drawing one blocks the event loop for a second.
    renderers: list[Processor] = [structlog.processors.ExceptionRenderer(traceback_text), _bounded]
    if settings.log_format == "console":
        plain = structlog.dev.plain_traceback
        console = structlog.dev.ConsoleRenderer(
            colors=sys.stdout.isatty(), exception_formatter=plain, sort_keys=False, pad_event_to=0
        )
        renderers += [_known, _printable, console]
    else:
        # ASCII: every other character, and so all that could end a line, is written as \u and its number. The
        # separators are orjson's, which writes the access log.
        renderers.append(structlog.processors.JSONRenderer(separators=(",", ":")))
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
    handler = AccessLogHandler(stream or sys.stdout)
    handler.setFormatter(
        _Formatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    logging.basicConfig(handlers=[handler], level=settings.log_level, force=True)
    access_log.handler = handler if settings.log_format == "json" else None
    # This logger repeats every GraphQL error with its traceback, and clients can cause any number of errors.
    logging.getLogger("strawberry.execution").setLevel(logging.CRITICAL)
    # Alembic names each of its own parts when it is imported.
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_throttled)


def silence_failure(done: asyncio.Future[Any]) -> None:
    """Retrieve a failure that nobody may be waiting for any more, so that asyncio does not log it (a done callback)."""
    if not done.cancelled():
        done.exception()


def cut(text: str, most: int = _VALUE_CHARACTERS, *, beginning: int | None = None) -> str:
    """Shorten a text to `most` characters and a mark: by default its beginning is kept.

    Args:
        text: the text.
        most: how many of its characters are kept.
        beginning: how many of these from its beginning; the others are from its end.
    """
    if len(text) <= most:
        return text
    beginning = most if beginning is None else beginning
    end = text[len(text) - (most - beginning) :]
    return f"{text[:beginning]}[{len(text) - most} characters cut]{end}"


def traceback_text(exc_info: ExcInfo) -> str:
    """A traceback as it is logged: a few kilobytes at most, however deep it is."""
    lines = traceback.format_exception(*exc_info, limit=-_FRAMES)
    text = "".join(lines).rstrip()
    if len(text) > _TRACEBACK_CHARACTERS:
        text = "\n".join(cut(line) for line in secrets_known.scrub(text).split("\n"))
        text = cut(text, _TRACEBACK_CHARACTERS, beginning=_TRACEBACK_BEGINNING)
    return text


class ThrottledLogs(logging.Filter):
    """Lets each of uvicorn's warnings through once a second, with how often it was withheld before.

    Otherwise a peer that does not speak HTTP would write a line with every connection.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, float] = {}
        self._withheld: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written. If a peer caused it, it is written without its traceback."""
        message = str(record.msg)
        if message.startswith(_WEBSOCKET):
            return False
        if message.startswith("Invalid "):
            record.exc_info, record.levelno, record.levelname = None, logging.WARNING, "WARNING"
        if record.levelno < logging.WARNING or record.exc_info:
            return True
        # These dictionaries stay small: the messages are literals in uvicorn.
        now = time.monotonic()
        if now - self._last.get(message, -_THROTTLE_SECONDS) < _THROTTLE_SECONDS:
            self._withheld[message] = self._withheld.get(message, 0) + 1
            return False
        self._last[message] = now
        if times := self._withheld.pop(message, 0):
            record.msg, record.args = f"{record.getMessage()} ({times} more before it)", ()
        return True


_throttled: Final = ThrottledLogs()


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Hides secrets in the finished line, whichever part of it they are in."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return secrets_known.scrub(super().format(record))


def _bounded(_logger: object, _method: str, values: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: cuts long values. Secrets are hidden first, or a cut could leave half of one."""
    for name, value in values.items():
        if isinstance(value, int | float | None) or name == "exception":
            continue
        text = value if isinstance(value, str) else repr(value)
        if len(text) > _VALUE_CHARACTERS:
            values[name] = cut(secrets_known.scrub(text))
    return values


def _known(_logger: object, _method: str, values: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor for the console: a person needs no list of what is unknown."""
    return {name: value for name, value in values.items() if value is not None}


def _printable(_logger: object, _method: str, values: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor for the console: no value can pass for another line or move a cursor.

    Secrets are hidden first: once characters are escaped, a secret would not be found.
    """
    for name, value in values.items():
        if not isinstance(value, int | float | None):
            text = secrets_known.scrub(value if isinstance(value, str) else repr(value))
            if name == "exception":
                # A traceback has several lines. Indented, none of them can pass for an event.
                values[name] = "\n".join(f"    {_UNPRINTABLE.sub(_escaped, line)}" for line in text.split("\n"))
            else:
                values[name] = _UNPRINTABLE.sub(_escaped, text)
    return values


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape", "surrogatepass").decode("ascii")
