"""The messages of graphql-transport-ws: their form, and the codes with which a WebSocket is closed."""

from __future__ import annotations

from typing import Any, Final

import orjson

from schema.errors import LimitError
from schema.limits.structure import check_structure
from server.observability.request_record import running_loop
from server.wire.websocket_frames import SHORT_BYTES

PROTOCOL: Final = "graphql-transport-ws"
INVALID_MESSAGE: Final = 4400
UNAUTHORIZED: Final = 4401
FORBIDDEN: Final = 4403
SUBPROTOCOL_NOT_ACCEPTABLE: Final = 4406
INIT_TIMEOUT: Final = 4408
SUBSCRIBER_EXISTS: Final = 4409
TOO_MANY_INITS: Final = 4429
# The codes of IANA for "going away", "internal error", "service restart" and "try again later". The protocol's clients
# reconnect after all of them but the second: at once, or when they have an operation to send.
GOING_AWAY: Final = 1001
INTERNAL: Final = 1011
RESTART: Final = 1012
TRY_AGAIN_LATER: Final = 1013
# The longest reason that a close frame can hold.
_REASON_BYTES: Final = 123
# Every event of a subscription repeats its id. Clients' ids are UUIDs or numbers.
_ID_CHARACTERS: Final = 256
# Messages count by the kilobytes that they have, and each as one more.
_KILOBYTE: Final = 1_024
_FREE_KILOBYTES: Final = 1_000.0
_FREE_KILOBYTES_PER_SECOND: Final = 10.0


class ClosedError(Exception):
    """The connection has to be closed with this code and reason. A reason that is too long for the frame is cut."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason.encode()[:_REASON_BYTES].decode(errors="ignore")
        super().__init__(self.reason)


class FreeMessages:
    """What one connection may send that nobody pays for. A client that sends more is closed.

    Clients ping every ten seconds or so, and send a `complete` for each operation that they end.
    """

    def __init__(self) -> None:
        self._left = _FREE_KILOBYTES
        self._since = running_loop().time()

    def take(self, size: int) -> None:
        """Count a message of so many bytes.

        Raises:
            ClosedError: TRY_AGAIN_LATER.
        """
        now = running_loop().time()
        gained = (now - self._since) * _FREE_KILOBYTES_PER_SECOND
        self._left = min(_FREE_KILOBYTES, self._left + gained) - 1 - size // _KILOBYTE
        self._since = now
        if self._left < 0:
            raise ClosedError(TRY_AGAIN_LATER, "Too many messages: ping, pong and complete less often")


def text_of(event: Any) -> bytes:
    """The text in an ASGI event.

    Raises:
        ClosedError: INVALID_MESSAGE.
    """
    if event.get("text") is None:
        raise ClosedError(INVALID_MESSAGE, "Send messages as JSON in text frames")
    text: str = event["text"]
    return text.encode()


def message_of(text: bytes) -> dict[str, Any]:
    """The message in a text.

    Raises:
        ClosedError: INVALID_MESSAGE.
    """
    try:
        check_structure(text, "The message")
        message = orjson.loads(text)
    except LimitError as error:
        raise ClosedError(INVALID_MESSAGE, error.message) from None
    except orjson.JSONDecodeError:
        raise ClosedError(INVALID_MESSAGE, "The message is not JSON") from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise ClosedError(INVALID_MESSAGE, "The message must be an object with a `type`")
    if len(text) > SHORT_BYTES and message["type"] != "subscribe":
        raise ClosedError(INVALID_MESSAGE, f"Only `subscribe` may have more than {SHORT_BYTES:,} bytes")
    return message


def check_payload(message: dict[str, Any]) -> None:
    """Check that a message has an object as its payload, or no payload.

    Raises:
        ClosedError: INVALID_MESSAGE.
    """
    if not isinstance(message.get("payload"), dict | None):
        raise ClosedError(INVALID_MESSAGE, "`payload` must be an object")


def id_of(message: dict[str, Any]) -> str:
    """The id of the operation that a message is about.

    Raises:
        ClosedError: INVALID_MESSAGE.
    """
    id_ = message.get("id")
    if not isinstance(id_, str) or not 0 < len(id_) <= _ID_CHARACTERS:
        raise ClosedError(INVALID_MESSAGE, f"`id` must be a string of 1 to {_ID_CHARACTERS} characters")
    return id_
