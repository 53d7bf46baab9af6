"""Owns where the log goes: to standard output, whose reader is never waited for."""

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
# What is poured at once: a pipe that takes anything takes this much, and does not mix it with another worker's.
_POURED_BYTES: Final = 4096
# What waits for a reader that has stopped reading; some thousands of lines.
_MOST_BYTES: Final = 1 << 20
_PATIENCE_SECONDS: Final = 0.15
_DROPPED: Final = '{{"event":"log lines dropped","count":{count},"level":"warning","logger":"{name}"}}\n'


class LogStream(io.TextIOBase):
    """Writes lines to a file descriptor, as far as it takes them now.

    What it does not take waits for the next line, up to a bound. Beyond that lines are dropped, and how many is said as
    soon as the descriptor takes anything again: a log that nobody reads stops no request.

    Args:
        descriptor: of a file, a pipe or a terminal.
    """

    def __init__(self, descriptor: int) -> None:
        # A file takes everything.
        self._waits = not stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._descriptor = _own(descriptor)
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLOUT)
        self._chunks: deque[bytes] = deque()
        self._bytes = 0
        self._dropped = 0

    def write(self, text: str, /) -> int:
        """Take lines, each of them whole.

        Raises:
            OSError: the descriptor is closed, or its disk is full.
        """
        self._take(text.encode(errors="backslashreplace"))
        self._pour()
        return len(text)

    def flush(self) -> None:
        """Pour out what is taken now."""
        self._pour()

    def drain(self) -> None:
        """Pour out everything, for as long as a moment; the last thing that is done with it.

        Raises:
            OSError: as `write` does.
        """
        until = time.monotonic() + _PATIENCE_SECONDS
        while self._chunks and (left := until - time.monotonic()) > 0:
            self._poll.poll(1000 * left)
            self._pour()

    def _take(self, lines: bytes) -> None:
        if self._bytes + len(lines) > _MOST_BYTES:
            self._dropped += lines.count(b"\n")
            return
        self._bytes += len(lines)
        at = 0
        while len(lines) - at > _POURED_BYTES:
            # Whole lines, as many as fit; of one that is longer a part.
            end = lines.rfind(b"\n", at, at + _POURED_BYTES) + 1 or at + _POURED_BYTES
            self._chunks.append(lines[at:end])
            at = end
        self._chunks.append(lines[at:] if at else lines)

    def _pour(self) -> None:
        while self._chunks and (not self._waits or self._poll.poll(0)):
            chunk = self._chunks.popleft()
            self._bytes -= len(chunk)
            written = 0
            # Another worker may have been quicker.
            with contextlib.suppress(BlockingIOError):
                written = os.write(self._descriptor, chunk)
            if written < len(chunk):
                self._chunks.appendleft(chunk[written:])
                self._bytes += len(chunk) - written
            elif self._dropped and not self._chunks:
                line, self._dropped = _DROPPED.format(count=self._dropped, name=__name__), 0
                self._take(line.encode())


def _own(descriptor: int) -> int:
    """The same pipe, opened once more so that writing to it never blocks: the others who have it do not notice."""
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        with contextlib.suppress(OSError):
            return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    return descriptor
