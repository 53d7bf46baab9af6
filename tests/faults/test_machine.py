"""Faults F25 and F26: the clock is wrong or jumps, the disk is full, or the log is not read."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from server.local.cluster import Cluster
from tests.faults.rig import DURABLE, rigged
from tests.faults.scenario import Scenario
from tests.faults.test_database import AWAY, hold, make_slow_orders
from tests.servers.issuer import running_issuer
from tests.servers.process import NO_TLS, running_server
from tests.servers.tpch import load_orders

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.traffic import Traffic

pytestmark = pytest.mark.long

SKEW_SECONDS: Final = 300
MOUNT, UMOUNT = (shutil.which(name) or name for name in ("mount", "umount"))
_ORDER: Final = {"query": "{ order(orderKey: 1) { orderKey } }"}


def faked(clock: Path) -> dict[str, str]:
    """The environment of a process whose wall clock follows the file, and whose monotonic clock is right."""
    found = importlib.util.find_spec("libfaketime")
    if found is None or found.origin is None:
        # It has a library only for Linux on x86-64, where setup installs it. `make test` does not run these tests;
        # `make faults` does.
        pytest.skip("libfaketime is not installed: it does not exist for this machine")
    library = Path(found.origin).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


async def test_f25_a_clock_that_jumps(durable: Cluster, tmp_path: Path) -> None:
    """The clock jumps by five minutes and back: nothing fails, and a statement timeout of two seconds stays one."""
    clock = tmp_path / "clock"
    clock.write_text("+0")
    spent: list[float] = []
    make_slow_orders(durable)
    settings = {"ORDERS_TABLE": "slow_orders", **faked(clock)}
    with rigged(durable.url, schema="clock", settings=settings) as rig:

        async def inject(_: Traffic) -> None:
            for skew in (SKEW_SECONDS, -SKEW_SECONDS, 0):
                clock.write_text(f"{skew:+}")
                async with httpx.AsyncClient(base_url=rig.server.url, verify=NO_TLS, timeout=10) as client:
                    asked_at = time.monotonic()
                    slow = {"query": '{ orders(filter: {clerk: {eq: "x"}}) { nodes { orderKey } } }'}
                    assert (await client.post("/api/graphql", json=slow)).status_code == 504
                    spent.append(time.monotonic() - asked_at)
                await hold(2)

        report = await Scenario("F25", "the clock 5 min ahead, behind, and right", inject).run(rig, tmp_path)
        assert f"{time.gmtime(time.time() + SKEW_SECONDS).tm_hour:02}:" in rig.server.log()
    report.hold_reads()
    report.hold_to("a statement of 2 s", max(spent), promised_seconds=2.5)
    assert min(spent) >= 1.9
    report.check(recovery_seconds=1)


@pytest.mark.parametrize("skew", [SKEW_SECONDS, -SKEW_SECONDS])
def test_f25_tokens_by_a_clock_that_is_wrong(durable: Cluster, tmp_path: Path, skew: int) -> None:
    """A token is checked against the server's own clock, with 30 s of leeway at both ends of its life."""
    clock = tmp_path / "clock"
    clock.write_text(f"{skew:+}")
    now = int(time.time()) + skew
    cases: dict[str, tuple[dict[str, Any], int]] = {
        "ended 20 s ago": ({"iat": now - 100, "exp": now - 20}, 200),
        "ended 45 s ago": ({"iat": now - 100, "exp": now - 45}, 401),
        "begins in 20 s": ({"iat": now, "nbf": now + 20, "exp": now + 100}, 200),
        "begins in 45 s": ({"iat": now, "nbf": now + 45, "exp": now + 100}, 401),
    }
    with running_issuer() as issuer:
        given = {**issuer.settings(), **faked(clock)}
        with running_server(
            durable.url, port=None, ready=True, module="server", APP_SCHEMA="skewed", **given
        ) as server:
            for claims, status in cases.values():
                headers = {"authorization": f"Bearer {issuer.token(**claims)}"}
                answer = httpx.post(server.graphql, json=_ORDER, headers=headers, verify=NO_TLS)
                assert answer.status_code == status, (claims, answer.text)


@pytest.fixture
def disk() -> Iterator[Path]:
    """A separate file system of 160 MB in memory."""
    directory = Path(tempfile.mkdtemp(prefix="disk-"))
    directory.chmod(0o755)
    mounted = subprocess.run([MOUNT, "-t", "tmpfs", "-o", "size=160m,mode=755", "tmpfs", directory], check=False)
    if mounted.returncode != 0:
        shutil.rmtree(directory)
        # Without root there is no disk to fill. `make test` does not run these tests; `make faults` does.
        pytest.skip("only root may mount a file system")
    try:
        yield directory
    finally:
        subprocess.run([UMOUNT, "--lazy", directory], check=True)
        shutil.rmtree(directory)


@pytest.fixture
def cramped(disk: Path) -> Iterator[Cluster]:
    """A PostgreSQL on that disk, with some orders.

    As on Lakebase, the write-ahead log is on another disk: PostgreSQL stops if that one is full.
    """
    cluster = Cluster(disk / "cluster", options={**DURABLE, "max_wal_size": "64MB"})
    elsewhere = Path(tempfile.mkdtemp(prefix="wal-"))
    try:
        cluster.start()
        load_orders(cluster, 0.01)
        cluster.stop()
        log = cluster.home / "data" / "pg_wal"
        owner = log.stat()
        shutil.move(log, elsewhere / log.name)
        for path in (elsewhere, *elsewhere.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
        log.symlink_to(elsewhere / log.name)
        cluster.start()
        yield cluster
    finally:
        cluster.destroy()
        shutil.rmtree(elsewhere)


def fill(disk: Path) -> Path:
    """Fill the disk, and return the file that fills it."""
    junk = disk / "junk"
    for size in (1 << 16, 512):
        with contextlib.suppress(OSError), junk.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(size))
    return junk


async def test_f26_a_disk_that_is_full(cramped: Cluster, disk: Path, tmp_path: Path) -> None:
    """Changes that need space are refused and not made. Reads are answered."""
    with rigged(cramped.url) as rig:

        async def inject(_: Traffic) -> None:
            junk = fill(disk)
            await hold(10)
            junk.unlink()

        allowed = AWAY | {"CHANGES_UNAVAILABLE"}
        report = await Scenario("F26", "PGDATA's disk full", inject, allowed, rate=200).run(rig, tmp_path)
    assert [reply for reply in report.replies if reply.kind == "write" and reply.refused], "no change was refused"
    given, refused = (len(report.during(good=good, kind="read")) for good in (True, False))
    if given < 0.99 * (given + refused):
        report.miss(f"{given} of {given + refused} reads")
    report.check(recovery_seconds=1)


async def test_f26_a_log_that_nobody_reads(durable: Cluster, tmp_path: Path) -> None:
    """Requests go on. The server holds back log lines that the pipe does not take, and drops them beyond a limit."""
    with rigged(durable.url, schema="unread", module="tests.faults.unread", settings={"LOG_LEVEL": "DEBUG"}) as rig:

        async def inject(_: Traffic) -> None:
            async with httpx.AsyncClient(base_url=rig.server.url, verify=NO_TLS, timeout=2) as client:
                # Some hundred bytes each: far more than the pipe and the server's buffer hold.
                for _each in range(8000):
                    await client.get("/livez", headers={"x-request-id": "x" * 128})

        report = await Scenario("F26b", "the log's pipe not read", inject).run(rig, tmp_path)
    report.hold_reads()
    report.check(recovery_seconds=1)
