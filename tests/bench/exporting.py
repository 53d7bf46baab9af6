"""The measurement of exports: rows a second beside COPY and paging, memory, and pages beside two exports."""

from __future__ import annotations

import contextlib
import json
import socket
import statistics
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import asyncpg
import httpx
import uvloop

from tests.bench.answers import volley_of
from tests.bench.contenders import running_ours
from tests.bench.measuring import BenchError, Memory
from tests.bench.openloop import offer
from tests.bench.works import WORKS
from tests.servers.process import NO_TLS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.answers import Truth
    from tests.bench.contenders import Running, Setup
    from tests.bench.load import Plan
    from tests.bench.works import Points

_FIELDS: Final = "id orderKey customerKey status totalPrice orderDate orderPriority clerk shipPriority comment"
_ALL: Final = f"{{ orders {{ nodes {{ {_FIELDS} }} }} }}"
_PAGE: Final = f"query($after: String) {{ orders(first: 1000, after: $after) {{ nodes {{ {_FIELDS} }} pageInfo {{ endCursor }} }} }}"
# Paging is measured over so many pages, and the pages beside exports come at this rate.
_PAGES: Final = 100
_RATE: Final = 50.0
_BESIDE: Final = "page10"
_EXPORTS: Final = 2
_RECEIVED_BYTES: Final = 1 << 20
# The server closes connections of the generator on which nothing was sent for longer.
_SECONDS: Final = 4.0


@dataclass(slots=True)
class Exports:
    """The figures of all rounds: rows a second, and the p99 of pages in milliseconds, alone and beside two exports."""

    exported: list[float] = field(default_factory=list)
    copied: list[float] = field(default_factory=list)
    paged: list[float] = field(default_factory=list)
    pairs: list[tuple[float, float]] = field(default_factory=list)
    memory: tuple[Memory, Memory] | None = None


def measure_exports(setup: Setup, points: Points, truth: Truth, plan: Plan, not_run: list[str]) -> Exports:
    """Measure a server of its own, in which nothing else has been read before.

    Raises:
        BenchError: an export did not have all orders.
    """
    found, work = Exports(), next(work for work in WORKS if work.name == _BESIDE)
    with running_ours(setup) as ours:
        volley = uvloop.run(volley_of(ours, work.name, work.asks(points), truth))
        if volley is None:
            raise TypeError(ours)
        _export(ours)
        before = Memory.of(ours.process_id)
        for number in range(plan.rounds):
            sys.stderr.write(f"exports: round {number + 1} of {plan.rounds}\n")
            found.copied.append(uvloop.run(_copied(setup)))
            found.exported.append(_export(ours))
            found.paged.append(_paged(ours))
            try:
                alone = offer(volley, rate=_RATE, seconds=_SECONDS)
                with _exporting(ours):
                    beside = offer(volley, rate=_RATE, seconds=_SECONDS)
            except BenchError as error:
                not_run.append(f"pages beside exports: {error}")
            else:
                found.pairs.append((alone.latency.p99, beside.latency.p99))
        found.memory = before, Memory.of(ours.process_id)
    return found


def report_on(exports: Exports) -> str:
    """The figures in Markdown, with the ratios that they have to keep to."""
    rates = {
        "export": exports.exported,
        "`COPY (SELECT row_to_json ...)` through asyncpg": exports.copied,
        "pages of 1,000": exports.paged,
    }
    lines = [f"- {name}: {statistics.median(found):,.0f} rows/s" for name, found in rates.items()]
    for name, found, target in (("COPY", exports.copied, 0.5), ("pages", exports.paged, 2.0)):
        ratio = statistics.median(ours / other for ours, other in zip(exports.exported, found, strict=True))
        lines.append(f"- relative to {name}: {ratio:.2f} (at least {target:g})")
    if exports.pairs:
        alone, beside = (statistics.median(some) for some in zip(*exports.pairs, strict=True))
        ratio = statistics.median(other / one for one, other in exports.pairs)
        lines.append(
            f"- p99 of {_RATE:g} pages of 10 a second: {alone:.1f} ms alone, {beside:.1f} ms beside {_EXPORTS} exports, "
            f"{ratio:.2f} times as long (at most 1.5)"
        )
    if exports.memory:
        before, after = exports.memory
        lines.append(f"- resident: {before.resident:.0f} MB before, {after.resident:.0f} MB after (at most 20 more)")
    return "\n".join(lines)


async def _copied(setup: Setup) -> float:
    connection, rows = await asyncpg.connect(setup.database_url), 0

    async def count(data: bytes) -> None:
        nonlocal rows
        rows += data.count(b"\n")

    began = time.perf_counter()
    await connection.copy_from_query(f"SELECT row_to_json(o) FROM {setup.orders_table} AS o", output=count)
    seconds = time.perf_counter() - began
    await connection.close()
    return rows / seconds


def _export(ours: Running) -> float:
    """The rows a second of a whole export."""
    began, rows, last = time.perf_counter(), 0, b""
    with _asked(ours) as connection:
        while not last.endswith(b"\r\n0\r\n\r\n"):
            part = connection.recv(_RECEIVED_BYTES)
            if not part:
                raise BenchError("An export was cut off.")
            # A chunk's head and end have no brace before their line feed.
            rows += (last[-1:] + part).count(b"}\n")
            last = (last + part)[-200:]
    if b'{"pageInfo":{"hasNextPage":false' not in last:
        raise BenchError(f"An export did not come to its end: {last!r}")
    return (rows - 1) / (time.perf_counter() - began)


def _paged(ours: Running) -> float:
    """The rows a second of pages, one after another, for a client that parses them to find the cursor."""
    began, after, rows = time.perf_counter(), None, 0
    with httpx.Client(verify=NO_TLS) as client:
        for _ in range(_PAGES):
            body = {"query": _PAGE, "variables": {"after": after}}
            page = client.post(f"{ours.url}/api/graphql", json=body).json()["data"]["orders"]
            rows += len(page["nodes"])
            after = page["pageInfo"]["endCursor"]
    return rows / (time.perf_counter() - began)


@contextlib.contextmanager
def _exporting(ours: Running) -> Iterator[None]:
    """Two exports beside the body, one after another each."""
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            with _asked(ours) as connection:
                last = b""
                while not over.is_set() and not last.endswith(b"0\r\n\r\n"):
                    last = connection.recv(_RECEIVED_BYTES)

    threads = [threading.Thread(target=read, daemon=True) for _ in range(_EXPORTS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _asked(ours: Running) -> socket.socket:
    """A connection on which an export has been asked for."""
    parts, body = urlsplit(ours.url), json.dumps({"query": _ALL}).encode()
    connection = socket.create_connection((parts.hostname or "", parts.port or 0))
    head = (
        f"POST /api/graphql/export HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    return connection
