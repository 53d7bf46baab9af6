"""A RADIUS server (RFC 2865, over UDP), which PostgreSQL asks at each login."""

from __future__ import annotations

import asyncio
import hashlib
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_ACCESS_REQUEST, _ACCESS_ACCEPT, _ACCESS_REJECT = 1, 2, 3
_USER_NAME, _USER_PASSWORD, _NAS_IDENTIFIER = 1, 2, 32
_HEADER = struct.Struct("!BBH16s")
_BLOCK = 16


class RadiusServer(asyncio.DatagramProtocol):
    """Accepts or rejects each Access-Request by calling `check`.

    Args:
        secret: shared with PostgreSQL.
        check: takes the user name, the password and the NAS identifier, which is the endpoint's uid;
            returns whether the login is accepted.
    """

    def __init__(self, secret: str, check: Callable[[str, str, str], bool]) -> None:
        self._secret = secret.encode()
        self._check = check
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override] # asyncio hands datagram protocols this one
        """Keep the transport, to reply on."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer an Access-Request. Other packets are dropped silently, as RFC 2865 requires."""
        if len(data) < _HEADER.size or self._transport is None:
            return
        code, identifier, length, authenticator = _HEADER.unpack_from(data)
        if code != _ACCESS_REQUEST or length > len(data):
            return
        attributes = _attributes(data[_HEADER.size : length])
        password = self._revealed(attributes.get(_USER_PASSWORD, b""), authenticator)
        accepted = self._check(
            attributes.get(_USER_NAME, b"").decode(errors="replace"),
            password.decode(errors="replace"),
            attributes.get(_NAS_IDENTIFIER, b"").decode(errors="replace"),
        )
        answer = _ACCESS_ACCEPT if accepted else _ACCESS_REJECT
        signed = _HEADER.pack(answer, identifier, _HEADER.size, authenticator) + self._secret
        self._transport.sendto(_HEADER.pack(answer, identifier, _HEADER.size, _md5(signed)), addr)

    def _revealed(self, hidden: bytes, authenticator: bytes) -> bytes:
        revealed = b""
        previous = authenticator
        for start in range(0, len(hidden), _BLOCK):
            block = hidden[start : start + _BLOCK]
            revealed += bytes(a ^ b for a, b in zip(block, _md5(self._secret + previous), strict=False))
            previous = block
        return revealed.rstrip(b"\0")


def _attributes(data: bytes) -> dict[int, bytes]:
    attributes = {}
    while len(data) > 2 and 2 <= data[1] <= len(data):  # noqa: PLR2004 # an attribute begins with two bytes, its type and its length
        attributes[data[0]] = data[2 : data[1]]
        data = data[data[1] :]
    return attributes


def _md5(data: bytes) -> bytes:
    # RADIUS is defined with MD5. Here it never leaves the machine.
    return hashlib.md5(data, usedforsecurity=False).digest()
