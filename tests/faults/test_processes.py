"""Faults F19, F21 and F22: processes are told to stop, killed, or replaced.

F20, a second signal, is in tests/blackbox/process/test_shutdown.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.faults.rig import rigged
from tests.faults.scenario import Scenario
from tests.faults.test_database import hold, transaction
from tests.faults.traffic import LOST, NOT_SENT
from tests.faults.vitals import processes
from tests.servers.process import until, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from server.local.cluster import Cluster
    from tests.faults.rig import Rig
    from tests.faults.traffic import Traffic

pytestmark = pytest.mark.long

STOPPED_SECONDS = 12
# The time for the supervisor to notice a lost worker, and for Python to load the server.
REPLACED_SECONDS = 2 + 3


async def test_f19_a_stop_under_load(durable: Cluster, tmp_path: Path) -> None:
    """A stopping server answers everything in flight, even after seconds. Idle and slow connections do not delay it."""
    with contextlib.ExitStack() as stack:
        # The change that waits for a row gets its lock in the end.
        patient = {"LOCK_TIMEOUT": "9", "STATEMENT_TIMEOUT": "9"}
        rig = stack.enter_context(rigged(durable.url, schema="stopped", settings=patient))
        port = int(rig.server.url.rpartition(":")[2])
        stopped_after: list[float] = []

        async def inject(traffic: Traffic) -> None:
            _, idle = await asyncio.open_connection("127.0.0.1", port)
            _, trickling = await asyncio.open_connection("127.0.0.1", port)
            trickling.write(b"POST /api/graphql HTTP/1.1\r\nhost: localhost\r\ncontent-le")
            async with transaction(durable.url, f"SELECT FROM {rig.schema}.order_status FOR UPDATE"):
                await hold(1)
                rig.server.process.send_signal(signal.SIGTERM)
                stopped_at = time.monotonic()
                traffic.stopped.set()
                await hold(4)
            code = await asyncio.to_thread(rig.server.process.wait, STOPPED_SECONDS + 3)
            stopped_after.append(time.monotonic() - stopped_at)
            assert code == 0, rig.server.log()[-2000:]
            for writer in (idle, trickling):
                writer.close()
            stack.enter_context(rigged(durable.url, schema="stopped", port=port, settings=patient))

        # The server accepts no new connections any more. A request that is lost was in flight.
        allowed = frozenset({NOT_SENT, "POOL_EXHAUSTED", "OVERLOADED", "ORDER_BUSY"})
        title = "SIGTERM with changes that wait for a row"
        scenario = Scenario("F19", title, inject, allowed, after_seconds=0, same_process=False)
        report = await scenario.run(rig, tmp_path)
        report.hold_to("stopped", stopped_after[0], promised_seconds=STOPPED_SECONDS)
        report.check()


def workers(rig: Rig) -> list[psutil.Process]:
    """The worker processes, without Python's own helper processes."""
    return [child for child in processes(rig)[1:] if "spawn_main" in " ".join(child.cmdline())]


async def test_f21_a_worker_that_is_killed(durable: Cluster, tmp_path: Path) -> None:
    """Only the worker's own requests are lost, and their keys tell the outcome. The supervisor replaces it."""
    with rigged(durable.url, schema="workers", settings={"WORKERS": "2"}) as rig:
        wait_for(lambda: rig.server.log().count("worker serving") == 2, what=rig.server.log)
        replaced: list[float] = []

        async def inject(_: Traffic) -> None:
            for _each in range(3):
                serving = rig.server.log().count("worker serving")
                workers(rig)[0].kill()
                killed_at = time.monotonic()
                await until(lambda than=serving: rig.server.log().count("worker serving") > than)  # type: ignore[misc]
                replaced.append(time.monotonic() - killed_at)
                await hold(3)

        report = await Scenario("F21", "kill -9 of one of two workers", inject, frozenset({LOST})).run(rig, tmp_path)
        lost = sum(reply.reason == LOST for reply in report.replies)
        assert lost <= 3 * 100, "more than can have been in flight"
        report.hold_to("replaced", max(replaced), promised_seconds=REPLACED_SECONDS)
        report.check(recovery_seconds=1)


async def test_f22_workers_that_are_replaced(durable: Cluster, tmp_path: Path) -> None:
    """On SIGHUP each new worker serves before the old one is told to stop, and no request fails."""
    with rigged(durable.url, schema="workers", settings={"WORKERS": "2"}) as rig:
        wait_for(lambda: rig.server.log().count("worker serving") == 2, what=rig.server.log)

        async def inject(_: Traffic) -> None:
            old = workers(rig)
            rig.server.process.send_signal(signal.SIGHUP)
            _, alive = await asyncio.to_thread(psutil.wait_procs, old, 40)
            assert not alive

        report = await Scenario("F22", "SIGHUP to two workers", inject).run(rig, tmp_path)
        if failed := [reply for reply in report.replies if not reply.good]:
            report.miss(f"{len(failed)} failed: {failed[:3]}")
        report.check(recovery_seconds=1)
