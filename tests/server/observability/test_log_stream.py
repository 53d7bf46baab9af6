"""The log's stream: a reader that stops reading delays nothing, and is told how many lines it missed."""

from __future__ import annotations

import os

import pytest

from server.observability.log_stream import LogStream

MEBIBYTE = 1 << 20


def read(descriptor: int) -> str:
    """Read what is in a pipe now."""
    os.set_blocking(descriptor, False)
    parts = []
    try:
        while part := os.read(descriptor, MEBIBYTE):
            parts.append(part)
    except BlockingIOError:
        pass
    return b"".join(parts).decode()


def test_a_pipe_that_nobody_reads_holds_nobody_up() -> None:
    """Lines are buffered up to a bound, then dropped. A reader that reads again gets whole lines and the number missed."""
    reads, writes = os.pipe()
    stream = LogStream(writes)
    lines = [f"line {number} {'x' * 100}\n" for number in range(20_000)]
    for line in lines:
        assert stream.write(line) == len(line)
    said = read(reads)
    while True:
        stream.flush()
        if not (more := read(reads)):
            break
        said += more
    *kept, last = said.splitlines(keepends=True)
    assert kept == lines[: len(kept)]
    assert MEBIBYTE < len(said) < MEBIBYTE + 200_000
    assert f'"event":"log lines dropped","count":{len(lines) - len(kept)}' in last
    assert os.get_blocking(writes), "whoever has the same pipe would notice"


def test_a_line_longer_than_a_pipe_takes_at_once_comes_whole() -> None:
    """It is written in pieces, in order."""
    reads, writes = os.pipe()
    stream = LogStream(writes)
    line = "".join(chr(97 + number % 26) for number in range(30_000)) + "\n"
    stream.write(line)
    stream.write("next\n")
    assert read(reads) == f"{line}next\n"


def test_the_end_waits_for_a_moment_and_no_longer() -> None:
    """A reader that reads on gets everything. The server does not wait for any other."""
    reads, writes = os.pipe()
    stream = LogStream(writes)
    stream.write("x" * 200_000)
    stream.drain()
    assert len(read(reads)) <= 65_536


def test_a_pipe_without_a_reader_says_so() -> None:
    """It raises, as any other stream does, and logging handles that."""
    reads, writes = os.pipe()
    stream = LogStream(writes)
    os.close(reads)
    with pytest.raises(BrokenPipeError):
        stream.write("line\n")
