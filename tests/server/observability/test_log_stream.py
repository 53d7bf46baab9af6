"""Where the log goes: a reader that stops reading holds nobody up, and is told what it has missed."""

from __future__ import annotations

import os

import pytest

from server.observability.log_stream import LogStream

MEBIBYTE = 1 << 20


def read(descriptor: int) -> str:
    """What is in a pipe now."""
    os.set_blocking(descriptor, False)
    parts = []
    try:
        while part := os.read(descriptor, MEBIBYTE):
            parts.append(part)
    except BlockingIOError:
        pass
    return b"".join(parts).decode()


def test_a_pipe_that_nobody_reads_holds_nobody_up() -> None:
    """Lines wait up to a bound and are dropped beyond it; whoever reads again has whole lines, and the number missed."""
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
    """In pieces, in their order."""
    reads, writes = os.pipe()
    stream = LogStream(writes)
    line = "".join(chr(97 + number % 26) for number in range(30_000)) + "\n"
    stream.write(line)
    stream.write("next\n")
    assert read(reads) == f"{line}next\n"


def test_the_end_waits_for_a_moment_and_no_longer() -> None:
    """Who reads on gets everything; who does not is not waited for."""
    reads, writes = os.pipe()
    stream = LogStream(writes)
    stream.write("x" * 200_000)
    stream.drain()
    assert len(read(reads)) <= 65_536


def test_a_pipe_without_a_reader_says_so() -> None:
    """As any other stream does: it is logging's affair what becomes of that."""
    reads, writes = os.pipe()
    stream = LogStream(writes)
    os.close(reads)
    with pytest.raises(BrokenPipeError):
        stream.write("line\n")
