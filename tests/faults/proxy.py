"""The fault proxy: a process between the server and PostgreSQL that delays, resets, silences, slices or cuts.

`python -m tests.faults.proxy HOST PORT` stands in front of that address. It reads commands as lines of JSON from
standard input. It answers each with a line: the number of open connections, and the number that it has cut so far.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import struct
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from tests.servers.process import ROOT, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind = Literal["pass", "latency", "silent", "slice", "limit", "cut_after_change"]
_CHUNK_BYTES: Final = 1 << 16
# Closing with a linger time of zero sends a reset.
_RESET: Final = struct.pack("ii", 1, 0)
# Of all the messages to PostgreSQL, only a change has the quoted name of the synced table among its values.
_CHANGE: Final = b'"public"."orders_synced"'
# The end of its reply, which PostgreSQL sends after the commit.
_CHANGED: Final = b"C\x00\x00\x00\x0dSELECT 1\x00Z\x00\x00\x00\x05I"
# This covers the head of a message and the first rows. Sending a megabyte byte by byte would take too long.
_SLICED_BYTES: Final = 512
_STOP_SECONDS: Final = 10


@dataclass(frozen=True, slots=True)
class Mode:
    """What the proxy does to the traffic.

    Args:
        kind: `latency` delays each reply. `silent` accepts everything and passes nothing on, on old and new
            connections. `slice` sends the first bytes of each reply one by one. `limit` cuts a connection after a
            number of bytes of replies. `cut_after_change` cuts it after PostgreSQL has committed and before the
            confirmation is passed on.
        seconds: the latency added to a round trip.
        jitter_seconds: the latency varies by up to this much in either direction.
        limit_bytes: the bytes of replies after which a connection is cut. Each connection gets a random limit of up to
            twice as many.
    """

    kind: Kind = "pass"
    seconds: float = 0
    jitter_seconds: float = 0
    limit_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running proxy on a port of its own."""

    port: int
    process: subprocess.Popen[bytes]

    def set(self, mode: Mode) -> None:
        """Switch to this mode. When `silent` ends, the bytes held back are passed on."""
        self._tell({"mode": asdict(mode)})

    def reset(self) -> int:
        """Reset every open connection at both ends, and return how many there were."""
        return int(self._tell({"reset": True})["connections"])

    @property
    def cut(self) -> int:
        """How many connections the proxy has cut because of its mode."""
        return int(self._tell({})["cut"])

    def _tell(self, what: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(what).encode() + b"\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


@contextlib.contextmanager
def running_proxy(host: str, port: int) -> Iterator[Proxy]:
    """Run a proxy in front of a local address. It starts in the mode `pass`."""
    command = [sys.executable, "-m", "tests.faults.proxy", host, str(port)]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        try:
            yield Proxy(json.loads(process.stdout.readline())["port"], process)
        finally:
            process.terminate()
            process.wait(_STOP_SECONDS)


class _Link:
    """A client's connection and the matching connection to PostgreSQL."""

    def __init__(self, faults: _Faults, near: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self._faults = faults
        self._near, self._near_writer = near
        self._writers = [self._near_writer]
        self._replied_bytes = 0
        self._changing = False
        self._limit_factor = random.uniform(1, 2)  # noqa: S311 # not for cryptography

    async def run(self) -> None:
        """Pass bytes on until either end closes, or the proxy cuts the connection."""
        await self._faults.audible()
        far, far_writer = await asyncio.open_connection(*self._faults.target)
        self._writers.append(far_writer)
        for writer in self._writers:
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ways = [
            asyncio.create_task(self._ask(self._near, far_writer)),
            asyncio.create_task(self._reply(far, self._near_writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for writer in self._writers:
                writer.close()

    def reset(self) -> None:
        """Reset both connections."""
        for writer in self._writers:
            with contextlib.suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            await self._faults.audible()
            # A change of one order is too short to arrive in two pieces.
            self._changing = _CHANGE in data
            writer.write(data)
            await writer.drain()

    async def _reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            await self._faults.audible()
            mode = self._faults.mode
            if mode.kind == "latency":
                jitter = random.uniform(-mode.jitter_seconds, mode.jitter_seconds)  # noqa: S311 # not for cryptography
                await asyncio.sleep(mode.seconds + jitter)  # the latency that the mode adds
            if mode.kind == "cut_after_change" and self._changing and _CHANGED in data:
                self._faults.cut += 1
                return self.reset()
            if mode.kind == "limit":
                left = int(mode.limit_bytes * self._limit_factor) - self._replied_bytes
                if len(data) > left:
                    writer.write(data[: max(0, left)])
                    await writer.drain()
                    self._faults.cut += 1
                    return None
            self._replied_bytes += len(data)
            if mode.kind == "slice":
                data = await self._slice(data, writer)
            writer.write(data)
            await writer.drain()
        return None

    @staticmethod
    async def _slice(data: bytes, writer: asyncio.StreamWriter) -> bytes:
        for place in range(min(_SLICED_BYTES, len(data))):
            writer.write(data[place : place + 1])
            # Flush this byte before the next one is written.
            await asyncio.sleep(0)  # let other tasks run
        return data[_SLICED_BYTES:]


class _Faults:
    """The proxy's current mode and its connections."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.mode = Mode()
        self.cut = 0
        self._links: set[_Link] = set()
        self._audible = asyncio.Event()
        self._audible.set()

    async def audible(self) -> None:
        """Wait while the mode is `silent`."""
        await self._audible.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        link = _Link(self, (reader, writer))
        self._links.add(link)
        try:
            await link.run()
        except OSError:
            # PostgreSQL refused the connection, or the connection was reset.
            link.reset()
        finally:
            self._links.discard(link)

    def respond_to(self, what: dict[str, Any]) -> dict[str, int]:
        """Carry out a command, and return the current counts."""
        count = len(self._links)
        if "mode" in what:
            self.mode = Mode(**what["mode"])
            if self.mode.kind == "silent":
                self._audible.clear()
            else:
                self._audible.set()
        if "reset" in what:
            for link in list(self._links):
                link.reset()
        return {"connections": count, "cut": self.cut}


async def _main(host: str, port: int) -> None:
    faults = _Faults(host, port)
    server = await asyncio.start_server(faults.serve, "127.0.0.1", 0, backlog=512)
    _reply_line({"port": server.sockets[0].getsockname()[1]})
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    async with server:
        # Until the parent process is gone.
        while line := await commands.readline():
            _reply_line(faults.respond_to(json.loads(line)))


def _reply_line(what: dict[str, int]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2])))
