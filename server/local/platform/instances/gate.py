"""Owns the address of a suspended instance: whoever knocks is told to come again, and wakes it."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LENGTH_AND_CODE = struct.Struct("!II")
_CANCEL, _TLS, _GSS = 80_877_102, 80_877_103, 80_877_104
_MAX_STARTUP_BYTES = 10_000
_PATIENCE_SECONDS = 5
_FIELDS = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"
_STARTING_UP = b"E" + struct.pack("!I", len(_FIELDS) + 4) + _FIELDS


class Gate:
    """Listens where PostgreSQL would, and answers each connection attempt with 57P03.

    Args:
        knocked: called at each attempt to log in.
    """

    def __init__(self, knocked: Callable[[], None]) -> None:
        self._knocked = knocked
        self._servers: list[asyncio.Server] = []

    async def open(self, addresses: list[str], port: int) -> None:
        """Listen on the addresses."""
        for address in addresses:
            self._servers.append(await asyncio.start_server(self._answer, address, port))

    def close(self) -> None:
        """Listen no more, so that PostgreSQL can."""
        for server in self._servers:
            server.close()
        self._servers.clear()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while (code := await _startup_code(reader)) in (_TLS, _GSS):
                    writer.write(b"N")
                if code != _CANCEL:
                    self._knocked()
                    writer.write(_STARTING_UP)
                    await writer.drain()
        writer.close()


async def _startup_code(reader: asyncio.StreamReader) -> int:
    """What a client begins with: the protocol's version, or a request for encryption or cancellation."""
    length, code = _LENGTH_AND_CODE.unpack(await reader.readexactly(_LENGTH_AND_CODE.size))
    await reader.readexactly(min(max(length - _LENGTH_AND_CODE.size, 0), _MAX_STARTUP_BYTES))
    return int(code)
