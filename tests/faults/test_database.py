"""Faults F1 to F4 and F9 to F13: PostgreSQL is killed, restarted, absent, locked, slow or full of other clients."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx
import pytest

from tests.blackbox.load import quantile
from tests.faults.rig import Rig, rigged
from tests.faults.scenario import WRITABLE, Scenario
from tests.servers.process import NO_TLS, answers, wait_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from server.local.cluster import Cluster
    from tests.faults.traffic import Traffic

pytestmark = pytest.mark.long

OURS = "application_name LIKE 'lakebase-orders-graphql%' AND pid <> pg_backend_pid()"
END_OURS = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OURS}"
# While the database is down, only as many requests try it at once as there are connections; the others wait for one.
AWAY = frozenset({"DATABASE_UNAVAILABLE", "POOL_EXHAUSTED", "OVERLOADED", "OUTCOME_UNKNOWN"})
CROWDED = frozenset({"POOL_EXHAUSTED", "OVERLOADED"})
REFUSED_SECONDS = 0.3


@pytest.fixture(scope="module")
def rig(durable: Cluster) -> Iterator[Rig]:
    """The server with its default settings."""
    with rigged(durable.url) as rig:
        yield rig


async def on(database: str, *statements: str) -> list[Any]:
    """Run statements as a superuser, and return the rows of the last one."""
    connection = await asyncpg.connect(database)
    try:
        return list([await connection.fetch(statement) for statement in statements][-1])
    finally:
        await connection.close()


async def hold(seconds: float) -> None:
    """Let a fault last."""
    await asyncio.sleep(seconds)  # how long the fault lasts


async def test_f1_a_postgresql_that_is_killed(durable: Cluster, rig: Rig, tmp_path: Path) -> None:
    """The server answers 503 DATABASE_UNAVAILABLE within 300 ms, and recovers within a second without a restart."""

    async def inject(_: Traffic) -> None:
        port = durable.port
        os.kill(durable.process_id(), signal.SIGKILL)
        await hold(2)
        await asyncio.to_thread(durable.start, port)

    report = await Scenario("F1", "kill -9 of the postmaster, started 2 s later", inject, AWAY).run(rig, tmp_path)
    refusals = report.during(good=False)
    assert report.refused["DATABASE_UNAVAILABLE"] > 20
    report.hold_to("p99 of refusals", quantile(refusals, 0.99), promised_seconds=REFUSED_SECONDS)
    report.check(recovery_seconds=1)


async def test_f2_a_postgresql_that_is_restarted(durable: Cluster, rig: Rig, tmp_path: Path) -> None:
    """An orderly restart, which PostgreSQL announces with 57P01 and 57P03, is survived in the same way."""

    async def inject(_: Traffic) -> None:
        port = durable.port
        await asyncio.to_thread(durable.stop, "fast")
        await asyncio.to_thread(durable.start, port)

    report = await Scenario("F2", "stopped with -m fast, and started", inject, AWAY).run(rig, tmp_path)
    report.check(recovery_seconds=1)


async def test_f3_all_our_backends_are_ended(rig: Rig, tmp_path: Path) -> None:
    """The server repeats reads unnoticed. A write's outcome is unknown only if its statement was in flight."""

    async def inject(_: Traffic) -> None:
        for _each in range(10):
            await on(rig.database, END_OURS)
            await hold(0.5)

    title = "all our backends terminated repeatedly"
    report = await Scenario("F3", title, inject, frozenset({"OUTCOME_UNKNOWN"})).run(rig, tmp_path)
    report.hold_reads()
    report.check(recovery_seconds=1)


async def test_f4_a_postgresql_that_is_absent_at_the_start(durable: Cluster, tmp_path: Path) -> None:
    """The server starts and reports the problem. It is ready within 2 s of PostgreSQL's start."""
    port = durable.port
    ready_seconds = []
    with rigged(durable.url, schema="absent") as rig:
        assert answers(f"{rig.server.url}/readyz")
    durable.stop()
    try:
        with rigged(durable.url, schema="absent", ready=False) as rig:
            assert answers(f"{rig.server.url}/livez")
            async with httpx.AsyncClient(base_url=rig.server.url, verify=NO_TLS) as client:
                unready = await client.get("/readyz")
                assert unready.status_code == 503
                assert "database" in unready.text
            await asyncio.to_thread(durable.start, port)
            back_at = time.monotonic()
            await asyncio.to_thread(wait_for, lambda: answers(f"{rig.server.url}/readyz"), what=rig.server.log)
            ready_seconds.append(time.monotonic() - back_at)

            async def inject(_: Traffic) -> None:
                await asyncio.to_thread(durable.stop)
                await hold(5)
                await asyncio.to_thread(durable.start, port)

            report = await Scenario("F4", "absent at the start, and for 5 s later", inject, AWAY).run(rig, tmp_path)
    finally:
        durable.start(port)
    report.hold_to("ready", ready_seconds[0], promised_seconds=2)
    report.check(recovery_seconds=2)


@contextlib.asynccontextmanager
async def transaction(database: str, *statements: str) -> AsyncIterator[asyncpg.Connection]:
    """Run statements in a transaction that stays open inside the block and is rolled back after it."""
    connection = await asyncpg.connect(database)
    try:
        await connection.execute("BEGIN")
        for statement in statements:
            await connection.execute(statement)
        yield connection
    finally:
        await connection.close()


async def test_f9_a_pool_in_full_use(rig: Rig, tmp_path: Path) -> None:
    """With the table locked: POOL_EXHAUSTED within 300 ms, /livez answers, and a bad request is refused at once."""
    bad_responses: list[tuple[int, float]] = []

    async def inject(_: Traffic) -> None:
        async with (
            transaction(rig.database, "LOCK TABLE orders_synced IN ACCESS EXCLUSIVE MODE"),
            httpx.AsyncClient(base_url=rig.server.url, verify=NO_TLS, timeout=5) as client,
        ):
            until = time.monotonic() + 10
            while time.monotonic() < until:
                asked_at = time.monotonic()
                bad = await client.post(
                    "/api/graphql",
                    json={"query": "{ nothing }"},
                    headers={"accept": "application/graphql-response+json"},
                )
                bad_responses.append((bad.status_code, time.monotonic() - asked_at))
                assert (await client.get("/livez")).status_code == 200
                await asyncio.sleep(0.05)  # between two requests

    allowed = CROWDED | {"ORDERS_UNAVAILABLE", "ORDER_BUSY"}
    report = await Scenario("F9", "the orders table locked", inject, allowed).run(rig, tmp_path)
    assert {status for status, _ in bad_responses} == {400}
    assert report.refused["POOL_EXHAUSTED"] + report.refused["OVERLOADED"] > 5
    refusals = [
        seconds for reason in sorted(CROWDED) for seconds in report.during(good=False, kind="read", reason=reason)
    ]
    report.hold_to("p99 of refusals", quantile(refusals, 0.99), promised_seconds=REFUSED_SECONDS)
    report.check(recovery_seconds=0.5)


def make_slow_orders(cluster: Cluster) -> None:
    """Create a view of the orders in which reading a clerk takes a second and all else is fast."""
    # The function is declared STABLE, so that only queries that read a clerk call it.
    cluster.run_sql(
        "CREATE OR REPLACE FUNCTION slow(clerk text) RETURNS text LANGUAGE plpgsql STABLE AS "
        "$$ BEGIN PERFORM pg_sleep(1); RETURN clerk; END $$; "
        "CREATE OR REPLACE VIEW slow_orders AS SELECT o_orderkey, o_custkey, o_orderstatus, o_totalprice, "
        "o_orderdate, o_orderpriority, slow(o_clerk) AS o_clerk, o_shippriority, o_comment FROM orders_synced"
    )


async def test_f10_a_query_that_is_slow(durable: Cluster, tmp_path: Path) -> None:
    """The query ends with 504 STATEMENT_TIMEOUT after two seconds and frees its backend. No other request notices."""
    make_slow_orders(durable)
    slow = {"query": '{ orders(filter: {clerk: {eq: "x"}}) { nodes { orderKey } } }'}
    ended: list[tuple[int, str, float]] = []

    async def ask(client: httpx.AsyncClient) -> None:
        asked_at = time.monotonic()
        answer = await client.post("/api/graphql", json=slow)
        reason = answer.json()["errors"][0]["extensions"]["reason"]
        ended.append((answer.status_code, reason, time.monotonic() - asked_at))

    with rigged(durable.url, schema="slow", settings={"ORDERS_TABLE": "slow_orders"}) as rig:

        async def inject(_: Traffic) -> None:
            async with (
                httpx.AsyncClient(base_url=rig.server.url, verify=NO_TLS, timeout=10) as client,
                asyncio.TaskGroup() as group,
            ):
                for _each in range(20):
                    group.create_task(ask(client))
                    await hold(0.5)

        report = await Scenario("F10", "queries that pg_sleep", inject).run(rig, tmp_path)
    assert {(status, reason) for status, reason, _ in ended} == {(504, "STATEMENT_TIMEOUT")}
    report.hold_to("the slowest query", max(seconds for *_, seconds in ended), promised_seconds=2.5)
    report.hold_reads()
    report.check(recovery_seconds=1)


async def test_f11_orders_that_another_transaction_holds(rig: Rig, tmp_path: Path) -> None:
    """The server answers ORDER_BUSY at LOCK_TIMEOUT, and does not apply the change later. Reads go on."""

    async def inject(_: Traffic) -> None:
        # Orders that have not been changed yet have no row, so that one is inserted and rolled back.
        lock = f"""
            INSERT INTO {rig.schema}.order_status AS x (o_orderkey, version, updated_by, updated_at)
            SELECT o_orderkey, 0, '', now() FROM orders_synced ORDER BY o_orderkey LIMIT {WRITABLE}
            ON CONFLICT (o_orderkey) DO UPDATE SET version = x.version
        """
        async with transaction(rig.database, lock):
            await hold(3)

    allowed = CROWDED | {"ORDER_BUSY"}
    report = await Scenario("F11", "the row of every order locked for 3 s", inject, allowed).run(rig, tmp_path)
    assert report.refused["ORDER_BUSY"]
    report.hold_reads()
    report.check(recovery_seconds=1)


async def test_f12_writers_that_lock_each_other_out(durable: Cluster, tmp_path: Path) -> None:
    """Lists in opposite orders never deadlock. If another client causes one, the server retries and hides 40P01."""
    document = (
        "mutation($input: SetOrderStatusesInput!) { setOrderStatuses(input: $input) "
        "{ results { userErrors { code } } userErrors { code } } }"
    )
    # Orders that the load does not write to.
    orders = await on(durable.url, "SELECT o_orderkey FROM orders_synced ORDER BY 1 DESC LIMIT 10")
    keys = [row[0] for row in orders]
    first, last = min(keys), max(keys)
    responses: list[Any] = []

    def changes(order: list[int], turn: int) -> dict[str, Any]:
        status = ("OPEN", "FULFILLED", "PARTIAL")[turn % 3]
        wanted = [{"orderKey": str(key), "status": status} for key in order]
        return {"query": document, "variables": {"input": {"changes": wanted, "mode": "INDEPENDENT"}}}

    with rigged(
        f"{durable.url}?deadlock_timeout=50ms",
        schema="deadlocks",
        settings={"LOCK_TIMEOUT": "2", "WRITE_POOL_SIZE": "8"},
    ) as rig:

        async def inject(_: Traffic) -> None:
            async with httpx.AsyncClient(base_url=rig.server.url, verify=NO_TLS, timeout=10) as client:
                responses.append((await client.post("/api/graphql", json=changes(keys, 0))).json())
                for turn in range(10):
                    pair = [client.post("/api/graphql", json=changes(order, turn)) for order in (keys, keys[::-1])]
                    responses.extend(answer.json() for answer in await asyncio.gather(*pair))
                    lock = f"SELECT FROM {rig.schema}.order_status WHERE o_orderkey = "
                    async with transaction(durable.url, f"{lock} {last} FOR UPDATE") as other:
                        ours = asyncio.create_task(client.post("/api/graphql", json=changes([first, last], turn + 1)))
                        await asyncio.sleep(0.02)  # usually enough for it to lock the first order
                        await other.execute(f"{lock} {first} FOR UPDATE")
                    responses.append((await ours).json())

        report = await Scenario("F12", "lists in opposite orders, and a deadlock", inject).run(rig, tmp_path)
    deadlocks = (durable.home / "postgres.log").read_text().count("deadlock detected")
    assert deadlocks, "no deadlock happened"
    assert not [answer for answer in responses if "errors" in answer], responses
    if any("deadlock" in str(answer) or "40P01" in str(answer) for answer in responses):
        report.miss("40P01 was shown")
    report.check(recovery_seconds=1)


async def test_f13_a_postgresql_without_a_connection_left(durable: Cluster, rig: Rig, tmp_path: Path) -> None:
    """The server answers 503 while other clients hold all connections, and recovers a second after their release."""

    async def inject(_: Traffic) -> None:
        taken: list[asyncpg.Connection] = []
        over = asyncio.Event()

        async def take() -> None:
            """Take every connection that becomes free."""
            while not over.is_set():
                try:
                    taken.append(await asyncpg.connect(durable.url, timeout=5))
                except (asyncpg.PostgresError, OSError, TimeoutError):
                    await asyncio.sleep(0.02)  # until a connection is free

        takers = [asyncio.create_task(take()) for _ in range(8)]
        admin = await asyncpg.connect(durable.url)
        for _each in range(3):
            await hold(1)
            await admin.execute(
                END_OURS.replace("AND pid", f"AND pid <> ALL (ARRAY[{admin.get_server_pid()}]) AND pid")
            )
        await hold(4)
        over.set()
        await asyncio.gather(*takers)
        for connection in (*taken, admin):
            connection.terminate()

    report = await Scenario("F13", "every connection taken by other clients", inject, AWAY).run(rig, tmp_path)
    assert report.refused["DATABASE_UNAVAILABLE"], report.refused
    report.check(recovery_seconds=1)
