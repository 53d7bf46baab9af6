"""Faults F14 to F18: the network is slow, resets, falls silent, fragments replies, or loses the reply to a change."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.faults.proxy import Mode, Proxy, running_proxy
from tests.faults.rig import Rig, rigged
from tests.faults.scenario import Scenario
from tests.faults.test_database import AWAY, CROWDED, hold

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from server.local.cluster import Cluster
    from tests.faults.traffic import Traffic

pytestmark = pytest.mark.long

# The reasons that a request may get when its connection turns out to be silent.
SILENT = AWAY | {"STATEMENT_TIMEOUT", "REQUEST_TIMEOUT", "ORDER_BUSY"}


@pytest.fixture(scope="module")
def proxy(durable: Cluster) -> Iterator[Proxy]:
    """The network between the server and PostgreSQL."""
    with running_proxy("127.0.0.1", durable.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def rig(durable: Cluster, proxy: Proxy) -> Iterator[Rig]:
    """The server with its default settings, behind the proxy."""
    with rigged(durable.url, through=proxy.port, schema="network") as rig:
        yield rig


async def lasting(proxy: Proxy, mode: Mode, seconds: float) -> None:
    """Put the proxy into this mode for some seconds."""
    await asyncio.to_thread(proxy.set, mode)
    try:
        await hold(seconds)
    finally:
        await asyncio.to_thread(proxy.set, Mode())


async def test_f14_a_network_that_is_slow(proxy: Proxy, rig: Rig, tmp_path: Path) -> None:
    """With about 200 ms added to every round trip, every request is answered, only later.

    A pool of ten connections then serves 50 reads per second; one of five, four changes of six round trips each.
    """

    async def inject(_: Traffic) -> None:
        await lasting(proxy, Mode("latency", seconds=0.2, jitter_seconds=0.1), 10)

    report = await Scenario("F14", "200 ms added to each round trip, give or take 100 ms", inject, rate=8).run(
        rig, tmp_path
    )
    report.hold_reads()
    if failed := [reply for reply in report.replies if not reply.good]:
        report.miss(f"{len(failed)} failed: {failed[:3]}")
    report.check(recovery_seconds=1)


async def test_f15_connections_that_are_reset(proxy: Proxy, rig: Rig, tmp_path: Path) -> None:
    """All connections are reset repeatedly: reads are repeated, and only a change in flight has an unknown outcome."""

    async def inject(_: Traffic) -> None:
        for _each in range(10):
            await asyncio.to_thread(proxy.reset)
            await hold(0.5)

    title = "all connections reset repeatedly"
    report = await Scenario("F15", title, inject, frozenset({"OUTCOME_UNKNOWN"})).run(rig, tmp_path)
    report.hold_reads()
    report.check(recovery_seconds=1)


async def test_f16_a_peer_that_falls_silent(proxy: Proxy, rig: Rig, tmp_path: Path) -> None:
    """Nothing arrives and nothing is reset: no request takes more than 5 s, and the pool recovers."""

    async def inject(_: Traffic) -> None:
        await lasting(proxy, Mode("silent"), 10)

    report = await Scenario("F16", "a silent peer", inject, SILENT).run(rig, tmp_path)
    report.hold_to("the slowest request", max(reply.seconds for reply in report.replies), promised_seconds=5)
    report.check(recovery_seconds=3)


async def test_f17_the_reply_to_a_change_is_lost(proxy: Proxy, rig: Rig, tmp_path: Path) -> None:
    """The server answers OUTCOME_UNKNOWN and nothing else. Repeated with its key, each change is made once."""

    async def inject(_: Traffic) -> None:
        await lasting(proxy, Mode("cut_after_change"), 5)

    before = proxy.cut
    # Each change costs its connection, so the next one may have to wait for another.
    allowed = CROWDED | {"OUTCOME_UNKNOWN"}
    report = await Scenario("F17", "cut between a commit and its reply", inject, allowed).run(rig, tmp_path)
    assert proxy.cut > before
    assert report.indeterminate == proxy.cut - before
    report.hold_reads()
    report.check(recovery_seconds=1)


@pytest.mark.parametrize(
    ("mode", "title"),
    [
        (Mode("slice"), "replies byte by byte"),
        (Mode("limit", limit_bytes=6000), "connections cut in the middle of a row"),
    ],
    ids=["slice", "limit"],
)
async def test_f18_replies_in_pieces(proxy: Proxy, rig: Rig, tmp_path: Path, mode: Mode, title: str) -> None:
    """A response is complete or an error: the server never returns an order that does not exist."""
    before = proxy.cut

    async def inject(_: Traffic) -> None:
        await lasting(proxy, mode, 5)

    # Each connection lasts for a few replies. A request that meets two cuts gets an error.
    allowed = AWAY | {"ORDERS_UNAVAILABLE"} if mode.kind == "limit" else CROWDED
    report = await Scenario("F18", title, inject, allowed, rate=20).run(rig, tmp_path)
    assert proxy.cut > before or mode.kind == "slice"
    if mode.kind == "slice":
        report.hold_reads()
    report.check(recovery_seconds=1)
