"""Changes between the plan of an operation and its end: nothing is lost, and nothing else is deleted."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers.operator import CATALOG, DATABASE, HASTY, TABLE, Operator, operated
from tests.servers.platform import AT_ONCE, platform_directory, running_platform
from tests.servers.process import wait_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import asyncpg

    from tests.servers.platform import LocalPlatform

API = "/api/2.0/database"


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform of the module's own, as quick as it can be."""
    with platform_directory() as directory, running_platform(directory, **AT_ONCE) as platform:
        yield platform


@pytest.fixture(scope="module")
def operator(platform: LocalPlatform) -> Iterator[Operator]:
    """An operator who has provisioned."""
    with operated(platform, module=HASTY) as operator:
        operator.provisioned()
        yield operator


@pytest.fixture(autouse=True)
def _no_faults(platform: LocalPlatform) -> Iterator[None]:
    """Switch off the faults that the test has switched on."""
    yield
    platform.clear_faults()


@pytest.fixture
async def database(platform: LocalPlatform, operator: Operator) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the served database."""
    host = operator.instance_host()
    connection = await platform.connect(host, database=DATABASE)
    yield connection
    await connection.close()


def failed(operator: Operator, payload: dict[str, Any]) -> str:
    """The reason with which an operation fails."""
    ended = operator.ended(payload)
    assert ended["state"] == "FAILED", ended
    return str(ended["failure"]["reason"])


def test_a_synced_table_may_not_have_the_name_of_our_own_table(operator: Operator) -> None:
    """Deleting a synced table of that name would delete the history of changes."""
    name = f"{CATALOG}.orders_app.order_status_change"
    payload = operator.send("createSyncedTable", name=name, acknowledgeCost=True)
    errors = [(error["code"], error["field"]) for error in payload["userErrors"]]
    # The plan also finds the table itself, which no pipeline has made.
    assert errors == [(code, ["input", "name"]) for code in ("NAME_INVALID", "SPEC_CONFLICT")]


async def test_a_table_that_no_pipeline_made_is_not_dropped(
    platform: LocalPlatform, operator: Operator, database: asyncpg.Connection
) -> None:
    """The plan refuses its name. If the table is made after the plan, the synced table fails, and its deletion keeps it."""
    name = f"{CATALOG}.public.mine"
    platform.fault("hold_before", method="POST", path=f"{API}/synced_tables")
    payload = operator.send("createSyncedTable", name=name, acknowledgeCost=True)
    platform.wait_until_held()
    await database.execute("CREATE TABLE public.mine AS SELECT 1 AS one")
    refused = operator.send("createSyncedTable", name=f"{CATALOG}.Public.Mine", acknowledgeCost=True, dryRun=True)
    assert [(error["code"], error["field"]) for error in refused["userErrors"]] == [
        ("SPEC_CONFLICT", ["input", "name"])
    ]
    platform.release()
    ended = operator.ended(payload)
    assert (ended["state"], ended["failure"]["reason"]) == ("FAILED", "SYNC_FAILED")
    platform.fault("slow", method="DELETE", path=f"{API}/synced_tables/{name}", seconds=0.1)
    with contextlib.suppress(AssertionError):
        operator.done("deleteSyncedTable", name=name, confirmDeletion=True)
    assert await database.fetchval("SELECT one FROM public.mine") == 1
    await database.execute("DROP TABLE public.mine")


def test_a_catalog_created_after_the_plan_is_not_deleted(platform: LocalPlatform, operator: Operator) -> None:
    """The plan said that there was no catalog of this name."""
    platform.create_instance("late")
    names = {"instanceName": "late", "catalogName": "late", "tableName": "late.public.t"}
    platform.fault("hold_before", method="GET", path=f"{API}/catalogs/late", skip=1)
    payload = operator.send("teardownLakebase", **names, confirmDeletion=True)
    assert [step["exists"] for step in payload["plan"]["steps"]] == [False, False, True]
    platform.wait_until_held()
    platform.create_catalog("late", "late")
    platform.release()
    assert failed(operator, payload) == "NAMESAKE_FOUND"
    assert "late" in [one["name"] for one in platform.inventory()["instances"]]
    operator.done("teardownLakebase", **names, confirmDeletion=True)


def test_a_lost_reply_to_a_sync_is_one_sync(platform: LocalPlatform, operator: Operator) -> None:
    """The SDK sends it again, and the platform refuses it because a sync is under way: the step waits for that one."""
    platform.fault("lost_reply", method="POST", path="/api/2.0/pipelines/.*/updates")
    operator.done("refreshSyncedTable")


def test_lost_replies_to_creations_are_no_refusals(platform: LocalPlatform, operator: Operator) -> None:
    """The SDK sends each creation again, and the platform refuses it. The step finds what the first one created."""
    operator.done("teardownLakebase", confirmDeletion=True, discardStatusChanges=True)
    for kind in ("instances", "catalogs", "synced_tables"):
        platform.fault("lost_reply", method="POST", path=f"{API}/{kind}")
        # The platform does not show the resource at the look after the refusal either.
        platform.fault("not_found_after_create", method="GET", path=f"{API}/{kind}/.*", skip=2)
    operator.provisioned()
    assert {len(found) for found in platform.inventory().values()} == {1}


async def test_a_status_change_made_after_the_plan_stops_the_deletion(
    platform: LocalPlatform, operator: Operator, database: asyncpg.Connection
) -> None:
    """A deletion that failed at first counts the status changes again before it is repeated."""
    path = f"{API}/catalogs/{CATALOG}"

    def deletions() -> int:
        return int(platform.counters()["requests"].get("DELETE /api/2.0/database/catalogs/{name}", 0))

    operator.done("deleteSyncedTable", name=TABLE, confirmDeletion=True)
    before = deletions()
    platform.fault("unavailable", method="DELETE", path=path, times=None, retry_after=1)
    payload = operator.send("deleteDatabaseCatalog", name=CATALOG, confirmDeletion=True)
    assert payload["plan"]["statusChangesLost"] == 0
    wait_for(lambda: deletions() > before, what=lambda: str(platform.counters()))
    await database.execute(
        "INSERT INTO orders_app.order_status_change"
        " (o_orderkey, previous_status, status, cleared, synced_status, version, changed_by, changed_at)"
        " VALUES (1, 'O', 'F', false, 'O', 1, 'ada', now())"
    )
    platform.clear_faults()
    assert failed(operator, payload) == "STATUS_CHANGES_AT_STAKE"
    assert platform.inventory()["catalogs"]
    operator.provisioned()


def test_a_resource_that_costs_is_not_created_again_without_acknowledgement(
    platform: LocalPlatform, operator: Operator
) -> None:
    """Provisioning found everything, so it needed no acknowledgement. When the table is deleted meanwhile, it stops."""
    platform.fault("hold_before", method="GET", path=f"{API}/synced_tables/{TABLE}", skip=1)
    payload = operator.send("provisionLakebase")
    assert payload["userErrors"] == []
    platform.wait_until_held()
    platform.workspace().database.delete_synced_database_table(TABLE, purge_data=True)
    platform.release()
    assert failed(operator, payload) == "COST_NOT_ACKNOWLEDGED"
    operator.provisioned()


async def test_a_revoked_grant_does_not_come_back(operator: Operator, database: asyncpg.Connection) -> None:
    """A grant that was restored is forgotten, even if another one cannot be restored because its role is gone."""
    for role in ("reader_one", "reader_two"):
        await database.execute(f"DROP ROLE IF EXISTS {role}")
        await database.execute(f"CREATE ROLE {role}")
        await database.execute(f"GRANT SELECT ON public.orders_synced TO {role}")
    operator.done("deleteSyncedTable", name=TABLE, confirmDeletion=True)
    await database.execute("DROP ROLE reader_two")
    created = operator.done("createSyncedTable", name=TABLE, acknowledgeCost=True)
    assert "GRANT SELECT ON" in next(one["message"] for one in created["steps"] if one["name"] == "restore_belongings")
    assert await database.fetchval("SELECT has_table_privilege('reader_one', 'public.orders_synced', 'SELECT')")
    await database.execute("REVOKE SELECT ON public.orders_synced FROM reader_one")
    operator.done("refreshSyncedTable")
    assert not await database.fetchval("SELECT has_table_privilege('reader_one', 'public.orders_synced', 'SELECT')")


async def test_an_operation_shown_as_failed_is_not_resumed_later(
    platform: LocalPlatform, operator: Operator, database: asyncpg.Connection
) -> None:
    """Its end is stored as soon as the database answers, and no other operation begins before that."""
    updates = "/api/2.0/pipelines/.*/updates"
    platform.fault("forbidden", method="POST", path=updates, skip=1)
    platform.fault("hold_before", method="POST", path=updates)
    payload = operator.send("refreshSyncedTable")
    platform.wait_until_held()
    async with database.transaction():
        await database.execute("LOCK TABLE orders_app.operation IN ACCESS EXCLUSIVE MODE")
        # The held request is answered with a reset. The SDK sends it again, and that one is forbidden.
        platform.fault("connection_reset", method="POST", path=updates)
        assert platform.release()
        other = operator.answer("mutation { ensureIndexes { operation { id } } }")
        # The other operation is refused: this one either still runs, or its end has not been stored yet.
        assert not (other["data"]["ensureIndexes"] or {}).get("operation")
    ended = operator.ended(payload)
    again = operator.operation(payload["operation"]["id"])
    assert again == ended
