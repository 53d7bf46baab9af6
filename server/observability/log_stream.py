"""The stream that the log is written to: standard output, without ever waiting for its reader."""

from __future__ import annotations

import contextlib
import io
import os
import select
import stat
import time
from collections import deque
from typing import Final

STANDARD_OUTPUT: Final = 1
# PIPE_BUF: a pipe with room takes a write of this size as a whole, never mixed with another worker's lines.
_CHUNK_BYTES: Final = 4096
# Some thousands of lines may wait for a reader that has stopped reading.
_BUFFER_BYTES: Final = 1 << 20
# A small part of the time in which the process has to stop.
_DRAIN_SECONDS: Final = 0.15
_DROPPED: Final = '{{"event":"log lines dropped","count":{count},"level":"warning","logger":"{name}"}}\n'


class LogStream(io.TextIOBase):
    """Writes as many lines to a file descriptor as it takes without blocking.

    The others are buffered and written with the next line. When the buffer is full, lines are dropped, and their number
    is logged as soon as the descriptor takes anything again. So a log that nobody reads stops no request.

    Args:
        descriptor: of a file, a pipe or a terminal.
    """

    def __init__(self, descriptor: int) -> None:
        # A file never blocks.
        self._may_block = not stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._descriptor = _reopened(descriptor)
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLOUT)
        self._chunks: deque[bytes] = deque()
        self._bytes = 0
        self._dropped = 0

    def write(self, text: str, /) -> int:
        """Write or buffer whole lines.

        Raises:
            OSError: the descriptor is closed, or its disk is full.
        """
        self._buffer(text.encode(errors="backslashreplace"))
        self._write()
        return len(text)

    def flush(self) -> None:
        """Write as much of the buffer as the descriptor takes now."""
        self._write()

    def drain(self) -> None:
        """Write the whole buffer, waiting for the reader for a moment. Nothing is written after it.

        Raises:
            OSError: as `write` does.
        """
        until = time.monotonic() + _DRAIN_SECONDS
        while self._chunks and (left := until - time.monotonic()) > 0:
            self._poll.poll(1000 * left)
            self._write()

    def _buffer(self, lines: bytes) -> None:
        if self._bytes + len(lines) > _BUFFER_BYTES:
            self._dropped += lines.count(b"\n")
            return
        self._bytes += len(lines)
        at = 0
        while len(lines) - at > _CHUNK_BYTES:
            # As many whole lines as fit, or a part of a line that is longer.
            end = lines.rfind(b"\n", at, at + _CHUNK_BYTES) + 1 or at + _CHUNK_BYTES
            self._chunks.append(lines[at:end])
            at = end
        self._chunks.append(lines[at:] if at else lines)

    def _write(self) -> None:
        while self._chunks and (not self._may_block or self._poll.poll(0)):
            chunk = self._chunks.popleft()
            self._bytes -= len(chunk)
            written = 0
            # Since the poll, another worker may have filled the pipe.
            with contextlib.suppress(BlockingIOError):
                written = os.write(self._descriptor, chunk)
            if written < len(chunk):
                self._chunks.appendleft(chunk[written:])
                self._bytes += len(chunk) - written
            elif self._dropped and not self._chunks:
                line, self._dropped = _DROPPED.format(count=self._dropped, name=__name__), 0
                self._buffer(line.encode())


def _reopened(descriptor: int) -> int:
    """Open a pipe once more, as non-blocking. Other processes that hold it are not affected."""
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        with contextlib.suppress(OSError):
            return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    return descriptor
