"""Faults F14 to F18: a network that is slow, resets, falls silent, comes in pieces, or loses the word that is waited for."""

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

# What is said where a connection is found out to be silent.
SILENT = AWAY | {"STATEMENT_TIMEOUT", "REQUEST_TIMEOUT", "ORDER_BUSY"}


@pytest.fixture(scope="module")
def proxy(durable: Cluster) -> Iterator[Proxy]:
    """The network."""
    with running_proxy("127.0.0.1", durable.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def rig(durable: Cluster, proxy: Proxy) -> Iterator[Rig]:
    """The server with the settings that it has by default, behind it."""
    with rigged(durable.url, through=proxy.port, schema="network") as rig:
        yield rig


async def lasting(proxy: Proxy, mode: Mode, seconds: float) -> None:
    """Let the network be so, for so many seconds."""
    await asyncio.to_thread(proxy.set, mode)
    try:
        await hold(seconds)
    finally:
        await asyncio.to_thread(proxy.set, Mode())


async def test_f14_a_network_that_is_slow(proxy: Proxy, rig: Rig, tmp_path: Path) -> None:
    """Every round trip takes 200 ms, more or less: all is answered, and slower.

    A pool of ten then has room for 50 reads in a second, and one of five for four changes of six round trips.
    """

    async def inject(_: Traffic) -> None:
        await lasting(proxy, Mode("latency", seconds=0.2, jitter_seconds=0.1), 10)

    report = await Scenario("F14", "200 ms more a round trip, 100 more or less", inject, rate=8).run(rig, tmp_path)
    report.hold_reads()
    if failed := [reply for reply in report.replies if not reply.good]:
        report.miss(f"{len(failed)} failed: {failed[:3]}")
    report.check(recovery_seconds=1)


async def test_f15_connections_that_are_reset(proxy: Proxy, rig: Rig, tmp_path: Path) -> None:
    """All of them at once, again and again: reads are done again, and only a COMMIT under way is told as unknown."""

    async def inject(_: Traffic) -> None:
        for _each in range(10):
            await asyncio.to_thread(proxy.reset)
            await hold(0.5)

    title = "all connections reset, again and again"
    report = await Scenario("F15", title, inject, frozenset({"OUTCOME_UNKNOWN"})).run(rig, tmp_path)
    report.hold_reads()
    report.check(recovery_seconds=1)


async def test_f16_a_peer_that_falls_silent(proxy: Proxy, rig: Rig, tmp_path: Path) -> None:
    """Nothing comes through, and nothing is reset: no request takes more than 5 s, and the pool is filled again."""

    async def inject(_: Traffic) -> None:
        await lasting(proxy, Mode("silent"), 10)

    report = await Scenario("F16", "a silent peer", inject, SILENT).run(rig, tmp_path)
    report.hold_to("the slowest request", max(reply.seconds for reply in report.replies), promised_seconds=5)
    report.check(recovery_seconds=3)


async def test_f17_the_reply_to_a_commit_is_lost(proxy: Proxy, rig: Rig, tmp_path: Path) -> None:
    """OUTCOME_UNKNOWN is told, nothing else; repeated with its key each change is there once."""

    async def inject(_: Traffic) -> None:
        await lasting(proxy, Mode("cut_after_commit"), 5)

    before = proxy.cut
    # Each change costs its connection, and the next one has to wait for another.
    allowed = CROWDED | {"OUTCOME_UNKNOWN"}
    report = await Scenario("F17", "cut between COMMIT and its reply", inject, allowed).run(rig, tmp_path)
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
    """A reply is whole, or it is an error: no order is ever given that is not there."""
    before = proxy.cut

    async def inject(_: Traffic) -> None:
        await lasting(proxy, mode, 5)

    # Each connection lasts for a few replies: whoever meets two that are cut is told so.
    allowed = AWAY | {"ORDERS_UNAVAILABLE"} if mode.kind == "limit" else CROWDED
    report = await Scenario("F18", title, inject, allowed, rate=20).run(rig, tmp_path)
    assert proxy.cut > before or mode.kind == "slice"
    if mode.kind == "slice":
        report.hold_reads()
    report.check(recovery_seconds=1)
