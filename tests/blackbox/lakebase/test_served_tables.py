"""The tables beside the orders: provisioned, synced, indexed and torn down with them, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.servers.flavours import AUTOSCALING
from tests.servers.lives.change import COST, GONE
from tests.servers.operator import CATALOG, DATABASE, HASTY, TABLE, Operator, operated
from tests.servers.platform import AT_ONCE, platform_directory, running_platform
from tests.servers.process import wait_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import asyncpg

    from tests.servers.platform import LocalPlatform

CUSTOMERS, NATIONS, REGIONS = (f"{CATALOG}.public.{name}_synced" for name in ("customer", "nation", "region"))
OTHERS = [CUSTOMERS, NATIONS, REGIONS]
SETTING = "customers=public.customer_synced,nations=nation_synced,regions=public.region_synced"
SYNCED = "{ lakebase { tableName tableNames syncedTable { name } syncedTables { name state sourceTable primaryKey } } }"
NEW_TABLE = f"{AUTOSCALING.api}/synced_tables"


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform of the module's own."""
    with platform_directory() as directory, running_platform(directory, **AT_ONCE) as platform:
        yield platform


@pytest.fixture(scope="module")
def operator(platform: LocalPlatform) -> Iterator[Operator]:
    """An operator of a server with these tables, before anything exists."""
    with operated(platform, module=HASTY, TABLES=SETTING, **AUTOSCALING.settings) as operator:
        yield operator


@pytest.fixture
def provisioned(platform: LocalPlatform, operator: Operator) -> Operator:
    """An operator who has provisioned everything."""
    platform.clear_faults()
    operator.provisioned()
    return operator


@pytest.fixture
async def database(platform: LocalPlatform, provisioned: Operator) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the served database beside the server's."""
    connection = await platform.connect(provisioned.instance_host(), database=DATABASE)
    yield connection
    await connection.close()


def tables_of(steps: list[dict[str, Any]], name: str) -> list[str]:
    """The synced tables that steps of this name are about, in order."""
    return [step["resource"].removeprefix("synced table ") for step in steps if step["name"] == name]


def states_of(operation: dict[str, Any], table: str) -> set[str]:
    """The states of the steps about a synced table."""
    return {step["state"] for step in operation["steps"] if step["resource"] == f"synced table {table}"}


async def oids(database: asyncpg.Connection) -> dict[str, int]:
    """The PostgreSQL table of each synced table: a sync makes a new one."""
    names = (name.removeprefix(f"{CATALOG}.") for name in (TABLE, *OTHERS))
    return {name: await database.fetchval("SELECT to_regclass($1)::oid::bigint", name) for name in names}


def test_a_dry_run_names_all_tables_before_there_is_anything(operator: Operator) -> None:
    """The orders first. What a table is made from follows from the orders' source."""
    plan = operator.send("provisionLakebase", dryRun=True)["plan"]
    creations = [step for step in plan["steps"] if step["name"] == "create_synced_table"]
    assert tables_of(creations, "create_synced_table") == [TABLE, *OTHERS]
    assert [step["action"] for step in creations] == ["CREATE"] * 4
    sources = [f"copies samples.tpch.{name}, " for name in ("orders", "customer", "nation", "region")]
    assert all(step["message"].startswith(source) for step, source in zip(creations, sources, strict=True))
    elsewhere = operator.send("provisionLakebase", dryRun=True, sourceTable="main.default.orders")
    told = [error["message"] for error in elsewhere["userErrors"] if error["code"] == "SOURCE_INVALID"]
    assert [message.partition(",")[0] for message in told] == [
        f"There is no source table main.default.{name}" for name in ("orders", "customer", "nation", "region")
    ]


def test_a_request_for_another_table_is_about_that_one_alone(operator: Operator) -> None:
    """Whatever the server is configured to serve."""
    other = f"{CATALOG}.public.others"
    plan = operator.send("provisionLakebase", dryRun=True, tableName=other)["plan"]
    assert tables_of(plan["steps"], "create_synced_table") == [other]
    names = {"instanceName": "scratch", "catalogName": "scratch", "tableName": "scratch.public.orders_synced"}
    plan = operator.send("teardownLakebase", dryRun=True, **names)["plan"]
    assert tables_of(plan["steps"], "delete_synced_table") == ["scratch.public.orders_synced"]


def test_orders_are_served_while_the_others_are_created_side_by_side(
    platform: LocalPlatform, operator: Operator
) -> None:
    """The platform holds the creation of all the others at once, and meanwhile there are orders."""
    platform.fault("hold_before", method="POST", path=NEW_TABLE, skip=1, times=3)
    payload = operator.send("provisionLakebase", **COST)
    wait_for(lambda: len(platform.held()) == 3, what=lambda: f"three creations: {operator.server.log()[-2000:]}")
    wait_for(lambda: httpx.get(f"{operator.server.url}/readyz").status_code == 200, what=operator.server.log)
    assert operator.ask("{ orderCount { count } }") == {"orderCount": {"count": 1500}}
    operation = operator.operation(payload["operation"]["id"])
    assert operation
    assert (operation["state"], operation["durable"]) == ("RUNNING", True)
    assert states_of(operation, TABLE) == {"SUCCEEDED"}
    assert all(states_of(operation, name) == {"RUNNING", "PENDING"} for name in OTHERS)
    platform.release()
    ended = operator.ended(payload)
    assert ended["state"] == "SUCCEEDED", ended
    assert all(states_of(ended, name) == {"SUCCEEDED"} for name in OTHERS)


def test_all_synced_tables_are_shown_that_of_the_orders_first(provisioned: Operator) -> None:
    """Each with its source and its key. `syncedTable` is that of the orders."""
    found = provisioned.ask(SYNCED)["lakebase"]
    assert (found["tableName"], found["syncedTable"]["name"]) == (TABLE, TABLE)
    assert found["tableNames"] == [TABLE, *OTHERS]
    told = [(one["name"], one["sourceTable"], one["primaryKey"]) for one in found["syncedTables"]]
    assert told == [
        (TABLE, "samples.tpch.orders", ["o_orderkey"]),
        (CUSTOMERS, "samples.tpch.customer", ["c_custkey"]),
        (NATIONS, "samples.tpch.nation", ["n_nationkey"]),
        (REGIONS, "samples.tpch.region", ["r_regionkey"]),
    ]
    assert {one["state"] for one in found["syncedTables"]} == {"ONLINE_NO_PENDING_UPDATE"}


async def test_each_table_has_the_indexes_that_its_pages_and_relations_need(
    provisioned: Operator, database: asyncpg.Connection
) -> None:
    """Text is indexed by its code points. An index in another order of text does not do; `ensureIndexes` builds one."""
    found = {
        row["indexname"]: row["indexdef"].partition(" USING btree ")[2]
        for row in await database.fetch("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'")
    }
    assert found["customer_synced_by_name"] == '(c_name COLLATE "C", c_custkey)'
    assert found["customer_synced_by_nation"] == "(c_nationkey, c_custkey)"
    assert found["nation_synced_by_region"] == "(n_regionkey, n_nationkey)"
    assert {"orders_synced_by_date", "orders_synced_by_price", "orders_synced_by_customer"} <= found.keys()
    await database.execute("DROP INDEX public.customer_synced_by_name")
    await database.execute("CREATE INDEX customer_synced_by_name ON public.customer_synced (c_name, c_custkey)")
    plan = provisioned.send("ensureIndexes", dryRun=True)["plan"]["steps"]
    assert tables_of(plan, "build_indexes") == [TABLE, *OTHERS]
    assert [step["message"] for step in plan if step["action"] == "BUILD"] == ['missing: c_name COLLATE "C", c_custkey']
    provisioned.done("ensureIndexes")
    again = provisioned.send("ensureIndexes")
    assert {step["action"] for step in again["plan"]["steps"]} == {"NOTHING"}
    assert again["operation"] is None


async def test_a_sync_of_one_table_leaves_the_others_alone(provisioned: Operator, database: asyncpg.Connection) -> None:
    """With its name. Without one, all are synced, each with its grants and indexes."""
    before = await oids(database)
    provisioned.done("refreshSyncedTable", name=NATIONS)
    after = await oids(database)
    assert {name for name in before if before[name] != after[name]} == {"public.nation_synced"}
    await database.execute("CREATE ROLE analyst; GRANT SELECT ON public.region_synced TO analyst")
    ended = provisioned.done("refreshSyncedTable")
    assert tables_of(ended["steps"], "sync_table") == [TABLE, *OTHERS]
    assert not set(after.values()) & set((await oids(database)).values())
    assert await database.fetchval("SELECT has_table_privilege('analyst', 'public.region_synced', 'SELECT')")
    plan = provisioned.send("ensureIndexes", dryRun=True)["plan"]["steps"]
    assert {step["action"] for step in plan} == {"NOTHING"}


async def test_a_table_that_fails_leaves_the_others_alone(
    platform: LocalPlatform, provisioned: Operator, database: asyncpg.Connection
) -> None:
    """Its steps end there, and the operation says why when the others have ended. The same mutation again goes on."""
    before = await oids(database)
    pipeline = provisioned.ask(f'{{ syncedTable(name: "{CUSTOMERS}") {{ pipelineId }} }}')["syncedTable"]["pipelineId"]
    platform.fault("forbidden", method="POST", path=f"/api/2.0/pipelines/{pipeline}/updates", times=1)
    ended = provisioned.ended(provisioned.send("refreshSyncedTable"))
    assert (ended["state"], ended["failure"]["reason"]) == ("FAILED", "PERMISSION_MISSING")
    assert states_of(ended, CUSTOMERS) == {"SUCCEEDED", "FAILED", "SKIPPED"}
    assert all(states_of(ended, name) == {"SUCCEEDED"} for name in (TABLE, NATIONS, REGIONS))
    after = await oids(database)
    assert {name for name in before if before[name] == after[name]} == {"public.customer_synced"}
    provisioned.done("refreshSyncedTable")


def test_a_cancellation_ends_the_work_on_all_tables(platform: LocalPlatform, provisioned: Operator) -> None:
    """Each at its next look."""
    platform.fault("internal_error", method="POST", path="/api/2.0/pipelines/.*/updates", times=None)
    payload = provisioned.send("refreshSyncedTable")
    wait_for(
        lambda: str(provisioned.operation(payload["operation"]["id"])).count("tries again") == 4,
        what=lambda: f"all four to be tried again: {provisioned.server.log()[-2000:]}",
    )
    provisioned.send("cancelOperation", id=payload["operation"]["id"])
    ended = provisioned.ended(payload)
    assert ended["state"] == "CANCELLED"
    assert all(states_of(ended, name) == {"SUCCEEDED", "CANCELLED", "SKIPPED"} for name in (TABLE, *OTHERS))


def test_a_table_that_was_deleted_comes_back_by_its_name_alone(provisioned: Operator) -> None:
    """It has its own source and key. Meanwhile it is null."""
    provisioned.done("deleteSyncedTable", name=NATIONS, confirmDeletion=True)
    found = provisioned.ask(SYNCED)["lakebase"]["syncedTables"]
    assert [one and one["name"] for one in found] == [TABLE, CUSTOMERS, None, REGIONS]
    provisioned.done("createSyncedTable", name=NATIONS, **COST)
    found = provisioned.ask(SYNCED)["lakebase"]["syncedTables"]
    assert (found[2]["sourceTable"], found[2]["primaryKey"]) == ("samples.tpch.nation", ["n_nationkey"])


@pytest.mark.parametrize(
    ("mutation", "step"), [("refreshSyncedTable", "sync_table"), ("ensureIndexes", "build_indexes")]
)
async def test_what_is_about_all_tables_is_done_for_those_that_exist(
    provisioned: Operator, database: asyncpg.Connection, mutation: str, step: str
) -> None:
    """The plan and the operation say which is missing. A table that is named has to exist."""
    provisioned.done("deleteSyncedTable", name=NATIONS, confirmDeletion=True)
    await database.execute("DROP INDEX public.orders_synced_by_date")
    payload = provisioned.send(mutation)
    assert payload["userErrors"] == []
    (missing,) = [one for one in payload["plan"]["steps"] if one["exists"] is False and one["action"] == "NOTHING"]
    assert (missing["name"], missing["resource"]) == (step, f"synced table {NATIONS}")
    assert missing["message"] == "does not exist"
    ended = provisioned.ended(payload)
    assert ended["state"] == "SUCCEEDED", ended
    (skipped,) = [one for one in ended["steps"] if one["state"] == "SKIPPED"]
    assert (skipped["name"], skipped["message"]) == (step, f"synced table {NATIONS} does not exist")
    assert all(states_of(ended, name) == {"SUCCEEDED"} for name in (TABLE, CUSTOMERS, REGIONS))
    named = provisioned.send(mutation, **{"tableName" if mutation == "ensureIndexes" else "name": NATIONS})
    assert [error["message"] for error in named["userErrors"]] == [f"There is no synced table {NATIONS}."]
    provisioned.done("createSyncedTable", name=NATIONS, **COST)


def test_a_teardown_deletes_all_tables_before_their_catalog(platform: LocalPlatform, provisioned: Operator) -> None:
    """That of the orders last, which are served until then."""
    given = {**GONE, "purge": True}
    steps = provisioned.send("teardownLakebase", dryRun=True, **given)["plan"]["steps"]
    assert tables_of(steps, "delete_synced_table") == [*OTHERS, TABLE]
    assert [step["name"] for step in steps[4:]] == ["delete_catalog", "delete_instance"]
    assert {step["action"] for step in steps} == {"DELETE"}
    path = f"{NEW_TABLE}/({'|'.join(OTHERS)})"
    platform.fault("hold_before", method="DELETE", path=path, times=3)
    payload = provisioned.send("teardownLakebase", **given)
    wait_for(lambda: len(platform.held()) == 3, what=lambda: f"three deletions: {provisioned.server.log()[-2000:]}")
    assert provisioned.ask("{ orderCount { count } }") == {"orderCount": {"count": 1500}}
    platform.release()
    ended = provisioned.ended(payload)
    assert ended["state"] == "SUCCEEDED", ended
    left = platform.inventory()
    assert not any(left[kind] for kind in ("synced_tables", "catalogs", "pipelines", "instances"))
