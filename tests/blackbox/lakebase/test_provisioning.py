"""The life of a Lakebase: provisioned, refreshed, recreated and torn down, without a restart of the server."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx
import pytest

from tests.servers.forkserver import fork_server
from tests.servers.operator import DATABASE, INSTANCE, TABLE, Operator, operated
from tests.servers.platform import AT_ONCE, platform_directory, running_platform
from tests.servers.process import PATIENCE_SECONDS, environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.servers.platform import LocalPlatform

WATCH = "subscription($id: ID!) { operationProgress(id: $id) { state progress steps { name state message } } }"
STATUS = '{ order(orderKey: "1") { status syncedStatus statusVersion } }'
INDEXES = f'{{ syncedTable(name: "{TABLE}") {{ indexes {{ name definition valid }} }} }}'
OWN_INDEX = "CREATE INDEX IF NOT EXISTS orders_by_clerk ON public.orders_synced (o_clerk) WHERE o_totalprice > 1000"


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform of the module's own."""
    with platform_directory() as directory, running_platform(directory, **AT_ONCE) as platform:
        yield platform


@pytest.fixture(scope="module")
def operator(platform: LocalPlatform) -> Iterator[Operator]:
    """An operator who has provisioned with a server that was started before anything existed."""
    with operated(platform) as operator:
        assert httpx.get(f"{operator.server.url}/readyz").status_code == 503
        operator.provisioned()
        yield operator


@pytest.fixture
async def database(platform: LocalPlatform, operator: Operator) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the served database beside the server's."""
    host = operator.instance_host()
    connection = await platform.connect(host, database=DATABASE)
    yield connection
    await connection.close()


def watched(operator: Operator, payload: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of operationProgress, until the operation has ended."""
    body = {"query": WATCH, "variables": {"id": payload["operation"]["id"]}}
    headers = {"accept": "text/event-stream"}
    with httpx.stream("POST", f"{operator.server.graphql}/stream", json=body, headers=headers) as stream:
        texts = [line.removeprefix("data:").strip() for line in stream.iter_lines() if line.startswith("data:")]
    return [json.loads(text)["data"]["operationProgress"] for text in texts if text]


async def add_grants_and_index(operator: Operator, database: asyncpg.Connection) -> None:
    """Set a status, and put an index and grants on the table, unless they exist."""
    operator.ask('mutation { setOrderStatus(input: {orderKey: "1", status: FULFILLED}) { change { version } } }')
    if not await database.fetchval("SELECT 1 FROM pg_roles WHERE rolname = 'analyst'"):
        await database.execute("CREATE ROLE analyst")
    await database.execute("GRANT SELECT ON public.orders_synced TO analyst")
    await database.execute("GRANT SELECT (o_orderkey) ON public.orders_synced TO PUBLIC")
    await database.execute(OWN_INDEX)


def columns_of(indexes: list[dict[str, Any]]) -> set[str]:
    """The columns of each valid index."""
    return {one["definition"].split(" USING ")[1] for one in indexes if one["valid"]}


def test_a_server_that_found_nothing_serves_orders_after_provisioning(operator: Operator) -> None:
    """It finds the instance by name and logs in with a minted token, without a restart."""
    assert operator.ask("{ orderCount { count } }") == {"orderCount": {"count": 1500}}
    found = operator.ask(
        "{ lakebase { instanceName instance { state capacity host nodeCount retentionWindowInDays postgresVersion creator }"
        " catalog { databaseName instanceName } syncedTable { state rowsSynced pipelineId pipelineUrl sourceTable policy"
        " lastSyncFinishedAt instance { name } } } }"
    )["lakebase"]
    assert found["instance"]["state"] == "AVAILABLE"
    assert found["catalog"] == {"databaseName": DATABASE, "instanceName": INSTANCE}
    assert found["syncedTable"]["state"] == "ONLINE_NO_PENDING_UPDATE"
    assert found["syncedTable"]["pipelineUrl"].endswith(f"/pipelines/{found['syncedTable']['pipelineId']}")
    assert found["syncedTable"]["lastSyncFinishedAt"]


def test_provisioning_again_finds_everything(platform: LocalPlatform, operator: Operator) -> None:
    """It ends at once, needs no acknowledgement, and creates nothing."""
    before = platform.inventory()
    payload = operator.send("provisionLakebase")
    assert payload["userErrors"] == []
    assert [step["action"] for step in payload["plan"]["steps"][:3]] == ["NOTHING"] * 3
    assert operator.ended(payload)["state"] == "SUCCEEDED"
    assert platform.inventory() == before


async def test_a_refresh_loses_no_status_and_restores_indexes_and_grants(
    operator: Operator, database: asyncpg.Connection
) -> None:
    """The sync drops and recreates the table."""
    await add_grants_and_index(operator, database)
    table = await database.fetchval("SELECT 'public.orders_synced'::regclass::oid")
    indexes = columns_of(operator.ask(INDEXES)["syncedTable"]["indexes"])
    assert len(indexes) == 5
    events = watched(operator, operator.send("refreshSyncedTable"))
    assert events[-1]["state"] == "SUCCEEDED", events[-1]
    progress = [event["progress"] for event in events]
    assert progress == sorted(progress)
    assert progress[-1] == 1
    assert len(set(progress)) > 4
    assert await database.fetchval("SELECT 'public.orders_synced'::regclass::oid") != table
    assert columns_of(operator.ask(INDEXES)["syncedTable"]["indexes"]) == indexes
    assert await database.fetchval("SELECT has_table_privilege('analyst', 'public.orders_synced', 'SELECT')")
    assert operator.ask(STATUS)["order"] == {"status": "FULFILLED", "syncedStatus": "OPEN", "statusVersion": 1}


async def test_a_recreated_table_has_its_statuses_indexes_and_grants(
    operator: Operator, database: asyncpg.Connection
) -> None:
    """The PostgreSQL table is deleted too. Orders are unavailable until the table is created again."""
    await add_grants_and_index(operator, database)
    indexes = columns_of(operator.ask(INDEXES)["syncedTable"]["indexes"])
    operator.done("deleteSyncedTable", name=TABLE, confirmDeletion=True)
    assert await database.fetchval("SELECT to_regclass('public.orders_synced')") is None
    assert operator.answer(STATUS)["errors"][0]["extensions"]["reason"] == "ORDERS_UNAVAILABLE"
    operator.done("createSyncedTable", name=TABLE, acknowledgeCost=True)
    operator.done("refreshSyncedTable")
    assert operator.ask(STATUS)["order"]["status"] == "FULFILLED"
    assert columns_of(operator.ask(INDEXES)["syncedTable"]["indexes"]) == indexes
    assert await database.fetchval("SELECT has_table_privilege('analyst', 'public.orders_synced', 'SELECT')")


async def test_an_invalid_index_is_dropped_and_built_again(
    platform: LocalPlatform, operator: Operator, database: asyncpg.Connection
) -> None:
    """An interrupted build leaves one; valid indexes are left alone."""
    indexes = columns_of(operator.ask(INDEXES)["syncedTable"]["indexes"])
    await database.execute("DROP INDEX public.orders_synced_by_price")
    host = operator.instance_host()
    reader = await platform.connect(host, database=DATABASE)
    builder, blocker = database.get_server_pid(), reader.get_server_pid()
    async with reader.transaction():
        await reader.execute("LOCK TABLE public.orders_synced IN ROW EXCLUSIVE MODE")
        building = asyncio.create_task(
            database.execute(
                "CREATE INDEX CONCURRENTLY orders_synced_by_price ON public.orders_synced (o_totalprice, o_orderkey)"
            )
        )
        # The build waits for the reader; by then its index exists and is invalid.
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await reader.fetchval("SELECT $2 = ANY(pg_blocking_pids($1))", builder, blocker):
                assert not building.done()
        await reader.execute("SELECT pg_cancel_backend($1)", builder)
        with pytest.raises(asyncpg.QueryCanceledError):
            await building
    await reader.close()
    assert [one["name"] for one in operator.ask(INDEXES)["syncedTable"]["indexes"] if not one["valid"]] == [
        "orders_synced_by_price"
    ]
    operator.done("ensureIndexes", tableName=TABLE)
    assert columns_of(operator.ask(INDEXES)["syncedTable"]["indexes"]) == indexes


async def test_every_privileged_action_leaves_an_audit_row(operator: Operator, database: asyncpg.Connection) -> None:
    """When it is begun, refused and ended, with the principal."""
    operator.done("refreshSyncedTable")
    refused = operator.send("deleteDatabaseInstance", name=INSTANCE)
    assert refused["operation"] is None
    rows = await database.fetch("SELECT principal, action, outcome, reason, operation FROM orders_app.admin_audit")
    outcomes = {(row["action"], row["outcome"]) for row in rows}
    assert ("refreshSyncedTable", "BEGUN") in outcomes
    assert ("refreshSyncedTable", "SUCCEEDED") in outcomes
    assert ("deleteDatabaseInstance", "REFUSED") in outcomes
    assert {row["principal"] for row in rows} == {"local"}


async def test_a_teardown_needs_the_status_changes_to_be_discarded(
    platform: LocalPlatform, operator: Operator, database: asyncpg.Connection
) -> None:
    """The plan counts them, and export-changes saves them. Then everything is deleted, and can be created again."""
    await add_grants_and_index(operator, database)
    await database.close()
    plan = operator.send("teardownLakebase", dryRun=True)["plan"]
    assert plan["statusChangesLost"] == 1
    assert [step["action"] for step in plan["steps"]] == ["DELETE"] * 3
    refused = operator.send("teardownLakebase", confirmDeletion=True)
    assert [error["code"] for error in refused["userErrors"]] == ["STATUS_CHANGES_AT_STAKE"]
    lines = [json.loads(line) for line in exported(platform)]
    assert len([line for line in lines if "audit" not in line]) == 1
    assert ("teardownLakebase", "REFUSED") in [
        (line["audit"]["action"], line["audit"]["outcome"]) for line in lines if "audit" in line
    ]
    ended = operator.done("teardownLakebase", confirmDeletion=True, discardStatusChanges=True)
    assert ended["durable"] is False
    assert not any(platform.inventory().values())
    again = operator.send("teardownLakebase", confirmDeletion=True)
    assert (again["operation"], again["userErrors"]) == (None, [])
    assert [step["action"] for step in again["plan"]["steps"]] == ["NOTHING"] * 3
    operator.provisioned()
    assert operator.ask(STATUS)["order"]["statusVersion"] == 0


def exported(platform: LocalPlatform) -> list[str]:
    """The lines of `python -m server export-changes`, run with a server's settings."""
    env = environment(
        DATABRICKS_HOST=platform.host,
        DATABRICKS_TOKEN=platform.token,
        LAKEBASE_INSTANCE_NAME=INSTANCE,
        LAKEBASE_DATABASE_NAME=DATABASE,
        LAKEBASE_PORT=str(platform.pg_port),
    )
    done = fork_server().run("server", "export-changes", env=env, seconds=PATIENCE_SECONDS)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
