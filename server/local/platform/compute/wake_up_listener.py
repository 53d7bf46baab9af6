"""The stand-in for a suspended PostgreSQL: it answers "starting up", and a login attempt wakes the endpoint."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LENGTH_AND_CODE = struct.Struct("!II")
_CANCEL, _TLS, _GSS = 80_877_102, 80_877_103, 80_877_104
# PostgreSQL's own limit.
_MAX_STARTUP_BYTES = 10_000
# For a client to send its startup packet.
_STARTUP_SECONDS = 5
_FIELDS = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"
_STARTING_UP = b"E" + struct.pack("!I", len(_FIELDS) + 4) + _FIELDS


class WakeUpListener:
    """Listens on PostgreSQL's addresses, and answers each connection attempt with 57P03 (cannot_connect_now).

    Args:
        wake: called at each attempt to log in.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._servers: list[asyncio.Server] = []

    async def open(self, addresses: list[str], port: int) -> None:
        """Listen on the addresses."""
        for address in addresses:
            self._servers.append(await asyncio.start_server(self._answer, address, port))

    def close(self) -> None:
        """Stop listening, so that PostgreSQL can listen."""
        for server in self._servers:
            server.close()
        self._servers.clear()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            async with asyncio.timeout(_STARTUP_SECONDS):
                while (code := await _startup_code(reader)) in (_TLS, _GSS):
                    writer.write(b"N")
                if code != _CANCEL:
                    self._wake()
                    writer.write(_STARTING_UP)
                    await writer.drain()
        writer.close()


async def _startup_code(reader: asyncio.StreamReader) -> int:
    """The code in a client's first packet: a protocol version, or a request for encryption or cancellation."""
    length, code = _LENGTH_AND_CODE.unpack(await reader.readexactly(_LENGTH_AND_CODE.size))
    await reader.readexactly(min(max(length - _LENGTH_AND_CODE.size, 0), _MAX_STARTUP_BYTES))
    return int(code)
