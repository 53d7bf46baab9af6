"""Owns what a line of the log may hold: so many characters of each value, none that would begin another line."""

from __future__ import annotations

import logging
import re
import time
import traceback
from typing import TYPE_CHECKING, Any, Final

from server.observability.redaction import secrets_known

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from structlog.typing import ExcInfo

VALUE_CHARACTERS: Final = 500
# The innermost frames of an exception, and of each that it was raised from.
_FRAMES: Final = 16
_TRACEBACK_CHARACTERS: Final = 6_000
# A traceback ends with what was raised; its beginning says where the request came in.
_TRACEBACK_BEGINNING: Final = 1_000
# C0 and C1, what a terminal obeys, what Unicode ends a line with, what turns the direction of writing, and halves of
# characters, which cannot be written out at all.
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SELDOM_SECONDS: Final = 1.0
# What uvicorn says of every WebSocket, with the whole of its address.
_WEBSOCKET: Final = '%s - "WebSocket'


def cut(text: str, most: int = VALUE_CHARACTERS, *, beginning: int | None = None) -> str:
    """The text, or what is left of it: so many characters of its beginning and the rest from its end, with a mark."""
    if len(text) <= most:
        return text
    beginning = most if beginning is None else beginning
    end = text[len(text) - (most - beginning) :]
    return f"{text[:beginning]}[{len(text) - most} characters cut]{end}"


def bounded(_logger: object, _method: str, values: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A step of structlog: no value is longer than a person reads. Secrets go first, or a half of one would stay."""
    for name, value in values.items():
        if isinstance(value, int | float | None) or name == "exception":
            continue
        text = value if isinstance(value, str) else repr(value)
        if len(text) > VALUE_CHARACTERS:
            values[name] = cut(secrets_known.scrub(text))
    return values


def printable(_logger: object, _method: str, values: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A step of structlog for what is written as it is: nothing in a value can pass for a line or move a cursor.

    Secrets are looked for before characters are written in another way.
    """
    for name, value in values.items():
        if not isinstance(value, int | float | None):
            text = secrets_known.scrub(value if isinstance(value, str) else repr(value))
            if name == "exception":
                # A traceback has lines of its own. Indented, none can pass for an event.
                values[name] = "\n".join(f"    {_UNPRINTABLE.sub(_escaped, line)}" for line in text.split("\n"))
            else:
                values[name] = _UNPRINTABLE.sub(_escaped, text)
    return values


def traceback_text(exc_info: ExcInfo) -> str:
    """A traceback as it is logged, of some kilobytes at most however deep it is."""
    lines = traceback.format_exception(*exc_info, limit=-_FRAMES)
    text = "".join(lines).rstrip()
    if len(text) > _TRACEBACK_CHARACTERS:
        text = "\n".join(cut(line) for line in secrets_known.scrub(text).split("\n"))
        text = cut(text, _TRACEBACK_CHARACTERS, beginning=_TRACEBACK_BEGINNING)
    return text


class ThrottledLogs(logging.Filter):
    """Lets what uvicorn has to say about a peer through once a second, and says how often it was said since.

    Whoever sends what is not HTTP would else write a line with each connection.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, float] = {}
        self._withheld: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written. Its traceback never is, where it is a peer's doing."""
        said = str(record.msg)
        if said.startswith(_WEBSOCKET):
            return False
        if said.startswith("Invalid "):
            record.exc_info, record.levelno, record.levelname = None, logging.WARNING, "WARNING"
        if record.levelno < logging.WARNING or record.exc_info:
            return True
        # Its texts are few: they are literals in uvicorn.
        now = time.monotonic()
        if now - self._last.get(said, -_SELDOM_SECONDS) < _SELDOM_SECONDS:
            self._withheld[said] = self._withheld.get(said, 0) + 1
            return False
        self._last[said] = now
        if times := self._withheld.pop(said, 0):
            record.msg, record.args = f"{record.getMessage()} ({times} more before it)", ()
        return True


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape", "surrogatepass").decode("ascii")
