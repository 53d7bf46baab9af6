"""Whether a client reads what the server writes to it, and the end of a connection whose client does not."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import termios
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

# A client that reads nothing for this long is cut off.
SEND_SECONDS: Final = 30.0
# A client that has been reading one response for this long makes room for others.
_SLOW_SECONDS: Final = 10.0
# The value of SO_LINGER: on, for 0 seconds.
_AT_ONCE: Final = struct.pack("ii", 1, 0)


class SendProgress:
    """Whether a client reads what the server writes to it."""

    def __init__(self) -> None:
        self._left = 0
        self._since = 0.0
        self._response: object = None
        self._begun = 0.0
        # For how many seconds the client has been reading one response without coming to its end.
        self.seconds = 0.0

    def is_stuck(self, transport: asyncio.Transport, now: float, response: object = None) -> bool:
        """Whether the client has read nothing of this response for too long, as far as calls of this could see."""
        left = transport.get_write_buffer_size()
        if left == 0:
            self._left, self.seconds = 0, 0.0
            return False
        # The kernel takes more only after it has sent a lot, which a slow client may delay beyond the deadline.
        left += _unsent(transport)
        if self._left == 0 or response is not self._response:
            self._response, self._begun = response, now
        if self._left == 0 or left < self._left:
            self._since = now
        self._left, self.seconds = left, now - self._begun
        return now - self._since > SEND_SECONDS

    @property
    def is_slow(self) -> bool:
        """Whether the server waits for the client."""
        return self.seconds > _SLOW_SECONDS


def cut_dead_peers(listening: socket.socket) -> None:
    """Let the kernel cut connections whose peer takes nothing, on Linux: `SendProgress` does not see its whole buffer.

    A client that has vanished would otherwise keep its event stream for a quarter of an hour, and one that reads
    nothing would keep it until its subscription ends. The kernel does not tell the client, so it comes second.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        milliseconds = int(2 * SEND_SECONDS * 1000)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)


def reset(transport: asyncio.Transport) -> None:
    """Close the connection now, and let the kernel drop what the client does not read."""
    with contextlib.suppress(OSError):
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    transport.abort()


def _unsent(transport: asyncio.Transport) -> int:
    """Bytes that the kernel has not sent yet; 0 if it does not say."""
    with contextlib.suppress(OSError):
        answer = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, b"\0" * 4)
        return int(struct.unpack("i", answer)[0])
    return 0
