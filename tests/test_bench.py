"""Tests of the bench: its generator's latencies, its verdicts, and what it refuses to measure."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
from typing import TYPE_CHECKING

import pytest

from tests.bench import node, ratios
from tests.bench.answers import Truth, volley_of
from tests.bench.asks import Single
from tests.bench.contenders import FLOOR, OURS, Running
from tests.bench.dialects import Relay, plain_cursor
from tests.bench.measuring import BenchError, Load
from tests.bench.openloop import offer
from tests.bench.options import options
from tests.bench.rounds import driver, interleave
from tests.bench.wrk import Volley
from tests.support.calibration import hold

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_STALL_SECONDS = 0.1
_RATE, _SECONDS = 100, 1.0
_REQUEST = b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n"


@contextlib.contextmanager
def _answering(body: bytes, *, status: int = 200, stall_at: int = 0) -> Iterator[str]:
    """A server that gives one response to everything. At the request numbered `stall_at` all connections stall."""
    answer = b"HTTP/1.1 %d Any\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)
    count = 0
    blocked_until = 0.0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count, blocked_until
        loop = asyncio.get_running_loop()
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                count += 1
                if count == stall_at:
                    blocked_until = loop.time() + _STALL_SECONDS
                await asyncio.sleep(blocked_until - loop.time())  # the stall that is measured
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def start() -> asyncio.Server:
        return await asyncio.start_server(serve, "127.0.0.1", 0)

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(start(), loop).result()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        asyncio.run_coroutine_threadsafe(_stopped(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _stopped(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _volley(url: str, answer_bytes: float = 40) -> Volley:
    return Volley("any", url, os.getpid(), [_REQUEST], answer_bytes)


def _load(rate: float) -> Load:
    return Load(rate, p50_ms=1, p99_ms=2, own_ms=1, database_ms=1, generator=0.1)


def test_a_stall_counts_for_every_request_that_it_delays() -> None:
    """Latency counts from the scheduled moment: a request that is due during a stall waits until its end."""
    with _answering(b"{}", stall_at=20) as url:
        offered = offer(_volley(url), rate=_RATE, seconds=0.4 * _SECONDS)
    # No response comes before the end of the stall, which began after the first request was due.
    assert offered.latency.p99 > 1000 * _STALL_SECONDS * 0.8


@pytest.mark.long
def test_a_stall_counts_for_no_other_request() -> None:
    """A tenth of the requests are due during the stall. The others are not slow, and the generator is on time."""
    with _answering(b"{}", stall_at=50) as url:
        tries = [offer(_volley(url), rate=_RATE, seconds=_SECONDS) for _ in range(3)]
    best = min(tries, key=lambda offered: offered.latency.p50)
    for what, median in (("latency", best.latency.p50), ("lateness", best.lateness.p50)):
        hold(
            f"the median {what} of an open loop, a tenth of which waits for {_STALL_SECONDS} s",
            median / 1000,
            computing_seconds=_STALL_SECONDS / 2,
        )


def test_an_error_makes_an_open_loop_invalid() -> None:
    """A response with an error status, or with GraphQL's errors, makes the measurement invalid."""
    for body, status in ((b"{}", 500), (b'{"errors":[]}', 200)):
        with _answering(body, status=status) as url, pytest.raises(BenchError, match="answers were errors"):
            offer(_volley(url), rate=_RATE, seconds=_SECONDS / 10)


@pytest.mark.parametrize("with_wrk", [True, False])
def test_a_contender_whose_answers_turn_bad_is_left_out(
    with_wrk: bool,  # noqa: FBT001 # a parameter of pytest
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The report gives the reason, and the others are measured, with wrk and without it."""
    if not with_wrk:
        monkeypatch.setenv("PATH", "")
    with _answering(b'{"data":1}') as good, _answering(b"{}", status=500) as bad:
        drives = {
            name: driver(_volley(url, 49), 2, os.getpid(), tmp_path / name)
            for name, url in (("good", good), ("bad", bad))
        }
        not_run: list[str] = []
        # One second is the shortest run of wrk.
        found = interleave("a work", drives, 1, 0.2, not_run)
    assert list(found) == ["good"]
    assert found["good"][0].rate > 0
    assert [reason for reason in not_run if reason.startswith("a work: ")] == not_run
    assert len(not_run) == 1


async def test_an_answer_without_all_values_is_not_measured() -> None:
    """Before measuring, the bench compares the responses with PostgreSQL's keys and the number of values."""
    order = {"orderKey": "7", "clerk": "somebody"}
    with _answering(json.dumps({"data": {"order": order}}).encode()) as url:
        running = Running("peer", url, os.getpid(), Relay("/", plain_cursor))
        for keys, reason in (("[7]", "without all its values"), ("[8]", "instead of")):
            with pytest.raises(BenchError, match=reason):
                await volley_of(running, "order", [Single(7)], Truth("orders", lambda _, keys=keys: keys))  # type: ignore[misc]


def test_a_ratio_is_formed_within_each_round_and_held_to_its_target() -> None:
    """A slow round of both servers does not change a ratio. The verdict is about the median."""
    loads = {"page100": {OURS: [_load(100), _load(10), _load(100)], FLOOR: [_load(100), _load(10), _load(200)]}}
    text = ratios.to_others(loads)
    assert "1.00 (0.50..1.00) >= 0.9 met" in text
    assert "not run" in text
    loads["page100"][OURS][0] = _load(50)
    assert "0.50 (0.50..1.00) >= 0.9 MISSED" in ratios.to_others(loads)


def test_an_unknown_work_cannot_be_selected(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt work, contender or number is refused with a list of the known ones."""
    for arguments, reason in ((["--only", "pagse"], "unknown pagse"), (["--contenders", "x"], "unknown x")):
        with pytest.raises(BenchError, match=reason):
            options(arguments)
    monkeypatch.setenv("SCALES", "0.1 ten")
    with pytest.raises(BenchError, match="'ten' is not a number"):
        options([])


def test_the_peers_are_pinned_and_their_lock_file_names_no_registry() -> None:
    """Packages come from the machine's configured registry, and are checked against their hashes."""
    packages = json.loads(node.LOCK_FILE.read_text())["packages"].items()
    assert [name for name, package in packages if name and ("resolved" in package or "integrity" not in package)] == []
    dependencies = json.loads((node.HERE / "package.json").read_text())["dependencies"]
    assert [name for name, version in dependencies.items() if not version.replace(".", "").isdigit()] == []


def test_without_npm_the_peers_on_node_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report says what is missing and how to get it."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(node.NotRunError, match="npm is not on the PATH"):
        node.node()
