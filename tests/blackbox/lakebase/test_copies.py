"""A copy of the database has the original's operations. A server on the copy carries none of them out."""

from __future__ import annotations

import asyncio
import os
import subprocess
import uuid
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from server.local.installation import binaries
from tests.servers.operator import DATABASE, HASTE, HASTY, INSTANCE, TABLE, Operator, operated
from tests.servers.platform import AT_ONCE, platform_directory, running_platform
from tests.servers.process import wait_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import asyncpg

    from tests.servers.platform import LocalPlatform

COPY = "copy_of_orders"
UPDATES = "/api/2.0/pipelines/.*/updates"
SET = """
mutation($status: OrderStatus!, $key: UUID!) {
  setOrderStatus(input: {orderKey: "1", status: $status, idempotencyKey: $key}) {
    replayed order { status } userErrors { code }
  }
}
"""
# A lease ends soon after its holder was killed, and the next server looks at once.
PROMPT = MappingProxyType(
    {
        **HASTE,
        "server.lakebase.operations.table.LEASE_SECONDS": 0.3,
        "server.lakebase.execution.HEARTBEAT_SECONDS": 0.1,
        "server.lakebase.runner._POLL_SECONDS": 0.1,
    }
)


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform of the module's own, with everything provisioned."""
    with platform_directory() as directory, running_platform(directory, **AT_ONCE) as platform:
        with served(platform) as operator:
            operator.provisioned()
        yield platform


@contextmanager
def served(platform: LocalPlatform, **settings: Any) -> Iterator[Operator]:
    """An operator of a server whose leases are short."""
    with operated(platform, module=HASTY, altered=PROMPT, **settings) as operator:
        yield operator


@pytest.fixture(autouse=True)
def _no_faults(platform: LocalPlatform) -> Iterator[None]:
    """Switch off the faults that the test has switched on."""
    yield
    platform.clear_faults()


@pytest.fixture
async def database(platform: LocalPlatform) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the original, without a copy beside it."""
    connection = await platform.connect(host_of(platform), database=DATABASE)
    await connection.execute(f"DROP DATABASE IF EXISTS {COPY} WITH (FORCE)")
    yield connection
    await connection.close()


def host_of(platform: LocalPlatform) -> str:
    """The address of the instance."""
    host = platform.workspace().database.get_database_instance(INSTANCE).read_write_dns
    assert host
    return host


async def copy(platform: LocalPlatform, database: asyncpg.Connection) -> None:
    """Dump the server's own schema into another database of the instance, as an operator would."""
    await database.execute(f"CREATE DATABASE {COPY}")
    await asyncio.to_thread(dump_and_restore, platform)


def dump_and_restore(platform: LocalPlatform) -> None:
    """Run pg_dump and psql."""
    token = platform.workspace().database.generate_database_credential(instance_names=[INSTANCE]).token
    login = [f"--host={host_of(platform)}", f"--port={platform.pg_port}", f"--username={platform.user}"]
    environment = {**os.environ, "PGPASSWORD": token or ""}
    dumping = [str(binaries() / "pg_dump"), *login, "--schema=orders_app", DATABASE]
    dump = subprocess.run(dumping, env=environment, capture_output=True, check=True).stdout
    restoring = [str(binaries() / "psql"), *login, "--set=ON_ERROR_STOP=1", "--quiet", COPY]
    restored = subprocess.run(restoring, env=environment, input=dump, capture_output=True, check=False)
    assert restored.returncode == 0, restored.stderr


def killed_at_its_work(platform: LocalPlatform, operator: Operator) -> dict[str, Any]:
    """Begin a refresh, and return its payload while the platform holds the call that starts the sync."""
    platform.fault("hold_before", method="POST", path=UPDATES, times=1)
    payload = operator.send("refreshSyncedTable", name=TABLE)
    wait_for(lambda: bool(platform.held()), what=lambda: f"a call to be held: {operator.server.log()[-2000:]}")
    return payload


def kill(platform: LocalPlatform, operator: Operator) -> None:
    """Kill the server, and wait until the platform sees that its client is gone."""
    operator.server.kill()
    wait_for(lambda: not platform.held(), what=lambda: "the platform to see that its client is gone")


def changing_calls(platform: LocalPlatform) -> dict[str, int]:
    """How many calls of each kind have changed something on the platform."""
    requests: dict[str, int] = platform.counters()["requests"]
    return {
        name: count for name, count in requests.items() if not name.startswith("GET ") and "credentials" not in name
    }


async def test_a_copy_carries_out_no_operation_of_the_original(
    platform: LocalPlatform, database: asyncpg.Connection
) -> None:
    """In the copy it ends as failed and says why, and nothing is called. The original is not disturbed."""
    with served(platform) as operator:
        payload = killed_at_its_work(platform, operator)
        await copy(platform, database)
        kill(platform, operator)
    before = changing_calls(platform)
    with served(platform, LAKEBASE_DATABASE_NAME=COPY) as operator:
        ended = operator.ended(payload)
        assert (ended["state"], ended["failure"]["reason"]) == ("FAILED", "BEGUN_ELSEWHERE")
        assert "another database" in ended["failure"]["message"]
        assert {step["state"] for step in ended["steps"]} <= {"SUCCEEDED", "FAILED", "SKIPPED"}
        assert changing_calls(platform) == before
        # The name is free: only the copy's own state refuses the operator.
        again = operator.send("refreshSyncedTable", name=TABLE, dryRun=True)
        assert "OPERATION_IN_PROGRESS" not in str(again["userErrors"])
    with served(platform) as operator:
        assert operator.ended(payload)["state"] == "SUCCEEDED"


async def test_a_branch_carries_out_no_operation_of_the_original(
    platform: LocalPlatform, database: asyncpg.Connection
) -> None:
    """A branch has the same files, so only the platform's uid tells it from the original.

    The local platform has no branches. A server that reaches the same database as an endpoint sees the uid of the
    endpoint's branch instead of the instance's, and everything else is the same. That is what it would see on a branch.
    """
    assert not database.is_closed()
    with served(platform) as operator:
        payload = killed_at_its_work(platform, operator)
        kill(platform, operator)
    before = changing_calls(platform)
    with served(platform, LAKEBASE_ENDPOINT=platform.endpoint_name(INSTANCE)) as operator:
        ended = operator.ended(payload)
        assert (ended["state"], ended["failure"]["reason"]) == ("FAILED", "BEGUN_ELSEWHERE")
        assert changing_calls(platform) == before


@pytest.mark.parametrize("fixed_host", [False, True], ids=["looked-up", "PGHOST"])
@pytest.mark.parametrize("endpoint", [False, True], ids=["instance", "endpoint"])
async def test_an_operation_is_resumed_at_home_however_the_address_is_found(
    platform: LocalPlatform, database: asyncpg.Connection, *, endpoint: bool, fixed_host: bool
) -> None:
    """Its home begins with the platform's uid, also where Databricks Apps sets PGHOST."""
    settings = {"LAKEBASE_ENDPOINT": platform.endpoint_name(INSTANCE)} if endpoint else {}
    if fixed_host:
        settings["PGHOST"] = host_of(platform)
    with served(platform, **settings) as operator:
        payload = killed_at_its_work(platform, operator)
        kill(platform, operator)
    uid = platform.inventory()["instances"][0]["uid"]
    home = await database.fetchval("SELECT home FROM orders_app.operation ORDER BY requested_at DESC LIMIT 1")
    assert home.startswith(f"br-{uid}/" if endpoint else f"{uid}/")
    with served(platform, **settings) as operator:
        assert operator.ended(payload)["state"] == "SUCCEEDED"


async def test_a_key_replays_in_a_copy_what_the_copy_contains(
    platform: LocalPlatform, database: asyncpg.Connection
) -> None:
    """A recorded outcome and its change are copied together or not at all, so a replay is correct in the copy."""
    before, after = str(uuid.uuid4()), str(uuid.uuid4())
    with served(platform) as operator:
        operator.insist(SET, status="PARTIAL", key=before)
        await copy(platform, database)
        operator.insist(SET, status="FULFILLED", key=after)
    await restore_orders(platform)
    with served(platform, LAKEBASE_DATABASE_NAME=COPY) as operator:
        first = operator.insist(SET, status="PARTIAL", key=before)["setOrderStatus"]
        assert first == {"replayed": True, "order": {"status": "PARTIAL"}, "userErrors": []}
        second = operator.insist(SET, status="FULFILLED", key=after)["setOrderStatus"]
        assert second == {"replayed": False, "order": {"status": "FULFILLED"}, "userErrors": []}


async def restore_orders(platform: LocalPlatform) -> None:
    """Put one order into the copy, which has the server's own schema only."""
    connection = await platform.connect(host_of(platform), database=COPY)
    await connection.execute(
        """
        CREATE TABLE public.orders_synced AS
        SELECT 1::bigint AS o_orderkey, 1::bigint AS o_custkey, 'O' AS o_orderstatus, 1.5::numeric AS o_totalprice,
               DATE '1996-01-02' AS o_orderdate, '5-LOW' AS o_orderpriority, 'Clerk#1' AS o_clerk,
               0 AS o_shippriority, '' AS o_comment
        """
    )
    await connection.close()


async def test_grants_and_indexes_kept_for_a_sync_are_the_originals_alone(
    platform: LocalPlatform, database: asyncpg.Connection
) -> None:
    """A refresh in the copy restores the grants and indexes that it finds, and not those that the original had kept."""
    await database.execute(
        "INSERT INTO orders_app.synced_table_belongings (name, grants, indexes, home) VALUES ($1, $2, '[]', 'another') "
        "ON CONFLICT (name) DO UPDATE SET grants = excluded.grants, home = excluded.home",
        TABLE,
        '["GRANT SELECT ON public.orders_synced TO PUBLIC"]',
    )
    with served(platform) as operator:
        operator.done("refreshSyncedTable", name=TABLE)
    assert "=r/" not in str(
        await database.fetchval("SELECT relacl FROM pg_class WHERE oid = 'orders_synced'::regclass")
    )
    kept = await database.fetchrow("SELECT grants, home FROM orders_app.synced_table_belongings WHERE name = $1", TABLE)
    assert kept["grants"] == "[]"
    assert kept["home"].split("/")[0] == platform.inventory()["instances"][0]["uid"]


def test_a_server_of_another_database_leaves_the_original_table_alone(platform: LocalPlatform) -> None:
    """Its configured names are those of the original, but the table with this name is in another database."""
    with served(platform, LAKEBASE_DATABASE_NAME="another") as other:
        found = other.ask("{ lakebase { instance { name } catalog { name } syncedTable { name } } }")["lakebase"]
        assert found == {"instance": {"name": INSTANCE}, "catalog": None, "syncedTable": None}
        for mutation in ("refreshSyncedTable", "ensureIndexes", "teardownLakebase"):
            (refusal, *_) = other.send(mutation, dryRun=True)["userErrors"]
            assert refusal["code"] == "SETTING_INVALID", mutation
            assert f"is in the database {DATABASE} of {INSTANCE}" in refusal["message"]
