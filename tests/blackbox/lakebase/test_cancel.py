"""Cancelling operations: wherever one runs it ends at its next look, and what was done stays and is told."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from schema.relay.node import encode_global_id
from tests.blackbox.refusals import NOWHERE, progress, reasons
from tests.servers.operator import DATABASE, HASTE, HASTY, INSTANCE, TABLE, Operator, operated, plain_id
from tests.servers.platform import AT_ONCE, platform_directory, running_platform
from tests.servers.process import PATIENCE_SECONDS, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.platform import LocalPlatform

API = "/api/2.0/database"
UPDATES = "/api/2.0/pipelines/.*/updates"
# Steps look often, so that a cancelled one ends soon.
OFTEN = MappingProxyType({**HASTE, "server.lakebase.steps.step._LAST_PAUSE_SECONDS": 0.2})
# For a server that is killed: its lease ends soon. A server that is slower than this still finds it cancelled.
SOON_OVER = MappingProxyType({**OFTEN, "server.lakebase.operations.table.LEASE_SECONDS": 3})
TEARDOWN = MappingProxyType({"confirmDeletion": True, "discardStatusChanges": True})


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform of the module's own, as quick as it can be."""
    with platform_directory() as directory, running_platform(directory, **AT_ONCE) as platform:
        yield platform


@pytest.fixture(scope="module")
def server(platform: LocalPlatform) -> Iterator[Operator]:
    """An operator of a server, before anything is provisioned."""
    with operated(platform, module=HASTY, altered=OFTEN) as operator:
        yield operator


@pytest.fixture(scope="module")
def other_server(platform: LocalPlatform) -> Iterator[Operator]:
    """An operator of another server in front of the same platform."""
    with operated(platform, module=HASTY, altered=OFTEN) as operator:
        yield operator


@pytest.fixture
def operator(platform: LocalPlatform, server: Operator) -> Iterator[Operator]:
    """The operator, once everything is provisioned. Faults are switched off at the end."""
    if not platform.inventory()["synced_tables"]:
        server.provisioned()
    yield server
    platform.clear_faults()


def cancel(operator: Operator, payload: dict[str, Any]) -> dict[str, Any]:
    """Cancel the operation of a payload; return it as the payload of cancelOperation shows it."""
    cancelled = operator.send("cancelOperation", id=payload["operation"]["id"])
    assert cancelled["userErrors"] == []
    found: dict[str, Any] = cancelled["operation"]
    return found


def states(operation: dict[str, Any]) -> list[str]:
    """The states of its steps."""
    return [step["state"] for step in operation["steps"]]


def endless_refresh(platform: LocalPlatform, operator: Operator) -> dict[str, Any]:
    """Start a refresh that looks again and again, because the platform fails; return its payload."""
    platform.fault("internal_error", method="POST", path=UPDATES, times=None)
    payload = operator.send("refreshSyncedTable")
    wait_for(
        lambda: "tries again" in str(operator.operation(payload["operation"]["id"])),
        what=lambda: f"the step to be tried again: {operator.server.log()[-2000:]}",
    )
    return payload


def detached(platform: LocalPlatform, operator: Operator, fault: str, **options: Any) -> dict[str, Any]:
    """Tear down, with a fault at the deletion of the instance; return the payload when the database has no row of it."""
    platform.fault(fault, method="DELETE", path=f"{API}/instances/{INSTANCE}", **options)
    payload = operator.send("teardownLakebase", **TEARDOWN)
    wait_for(
        lambda: not (operator.operation(payload["operation"]["id"]) or {}).get("durable", True),
        what=lambda: f"the operation to be detached: {operator.server.log()[-2000:]}",
    )
    return payload


async def rows(platform: LocalPlatform, operator: Operator, statement: str) -> list[Any]:
    """The rows of a statement in the served database."""
    host = operator.instance_host()
    connection = await platform.connect(host, database=DATABASE)
    try:
        found: list[Any] = await connection.fetch(statement)
        return found
    finally:
        await connection.close()


def test_what_was_sent_is_told_although_nothing_is_durable_yet(platform: LocalPlatform, server: Operator) -> None:
    """The instance is being created, so there is no database. The call under way is completed and noted first."""
    platform.fault("hold_after", method="POST", path=f"{API}/instances")
    payload = server.send("provisionLakebase", acknowledgeCost=True)
    platform.wait_until_held()
    asked = cancel(server, payload)
    assert (asked["state"], asked["durable"]) == ("RUNNING", False)
    assert asked["cancelRequestedBy"] == asked["requestedBy"]
    platform.release()
    ended = server.ended(payload)
    assert (ended["state"], ended["failure"], ended["durable"]) == ("CANCELLED", None, False)
    assert states(ended) == ["CANCELLED", *["SKIPPED"] * 4]
    assert ended["steps"][0]["message"].startswith("requested; the platform starts it; then cancelled by ")
    inventory = platform.inventory()
    assert [len(inventory[kind]) for kind in ("instances", "catalogs")] == [1, 0]
    server.provisioned()


async def test_a_waiting_step_is_let_go(platform: LocalPlatform, operator: Operator) -> None:
    """The operation's subscription ends, its resources are free, and both the request and the end are audited."""
    payload = endless_refresh(platform, operator)
    with ThreadPoolExecutor(1) as pool:
        events = pool.submit(progress, operator.server, payload["operation"]["id"])
        cancel(operator, payload)
        assert events.result()[-1]["data"]["operationProgress"]["state"] == "CANCELLED"
    ended = operator.ended(payload)
    assert states(ended) == ["SUCCEEDED", "CANCELLED", "SKIPPED", "SKIPPED"]
    assert ended["steps"][0]["message"].startswith("kept: ")
    assert "tries again" in ended["steps"][1]["message"]
    assert ended["finishedAt"]
    platform.clear_faults()
    operator.done("refreshSyncedTable")
    audit = "SELECT action, outcome FROM orders_app.admin_audit WHERE operation = '{}' ORDER BY id"
    audited = await rows(platform, operator, audit.format(plain_id(ended["id"])))
    assert sorted(map(tuple, audited)) == [
        ("cancelOperation", "BEGUN"),
        ("refreshSyncedTable", "BEGUN"),
        ("refreshSyncedTable", "CANCELLED"),
    ]


def test_cancelling_again_changes_nothing(platform: LocalPlatform, operator: Operator) -> None:
    """Neither a cancelled operation nor one that has succeeded is changed."""
    payload = endless_refresh(platform, operator)
    cancel(operator, payload)
    ended = operator.ended(payload)
    assert cancel(operator, payload) == ended
    platform.clear_faults()
    payload = operator.send("refreshSyncedTable")
    succeeded = operator.ended(payload)
    assert cancel(operator, payload) == succeeded
    assert (succeeded["state"], succeeded["cancelRequestedBy"]) == ("SUCCEEDED", None)


def test_any_process_cancels_the_operation_of_another(
    platform: LocalPlatform, operator: Operator, other_server: Operator
) -> None:
    """The process that runs it reads the request with its next heartbeat."""
    payload = endless_refresh(platform, operator)
    asked = cancel(other_server, payload)
    assert asked["state"] == "RUNNING"
    assert asked["cancelRequestedBy"]
    assert states(other_server.ended(payload)) == ["SUCCEEDED", "CANCELLED", "SKIPPED", "SKIPPED"]
    assert operator.operation(payload["operation"]["id"]) == other_server.operation(payload["operation"]["id"])


def test_an_operation_without_a_process_is_cancelled(
    platform: LocalPlatform, operator: Operator, other_server: Operator
) -> None:
    """The process that ran it was killed. The process that claims it does nothing but end it."""
    with operated(platform, module=HASTY, altered=SOON_OVER) as victim:
        payload = endless_refresh(platform, victim)
        victim.server.kill()
    cancel(other_server, payload)
    ended = operator.ended(payload)
    assert (ended["state"], states(ended)[1:]) == ("CANCELLED", ["CANCELLED", "SKIPPED", "SKIPPED"])


async def test_a_long_wait_within_a_look_is_interrupted(platform: LocalPlatform, operator: Operator) -> None:
    """An index is being built, and waits for the transaction of another client. The build ends in PostgreSQL too."""
    host = operator.instance_host()
    found = operator.ask(f'{{ syncedTable(name: "{TABLE}") {{ indexes {{ name definition }} }} }}')["syncedTable"]
    index = next(one["name"] for one in found["indexes"] if "(o_custkey" in one["definition"])
    connection = await platform.connect(host, database=DATABASE)
    try:
        await connection.execute(f'DROP INDEX public."{index}"')
        async with connection.transaction(isolation="repeatable_read"):
            await connection.execute("SELECT FROM public.orders_synced LIMIT 1")
            payload = operator.send("ensureIndexes")
            wait_for(
                lambda: "CREATE INDEX" in str(operator.operation(payload["operation"]["id"])),
                what=lambda: f"the build to begin: {operator.server.log()[-2000:]}",
            )
            cancel(operator, payload)
            ended = operator.ended(payload)
            assert states(ended) == ["CANCELLED"]
            assert "CREATE INDEX CONCURRENTLY" in ended["steps"][0]["message"]
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await rows(platform, operator, "SELECT FROM pg_stat_progress_create_index"):
                    pass
    finally:
        await connection.close()
    operator.done("ensureIndexes")


def test_an_operation_that_is_not_there_cannot_be_cancelled(operator: Operator) -> None:
    """The answer says that there is none, or what an id has to look like."""
    (error,) = operator.send("cancelOperation", id=NOWHERE)["userErrors"]
    assert (error["code"], error["field"]) == ("RESOURCE_NOT_FOUND", ["input", "id"])
    for id_ in ("nonsense", encode_global_id("SyncedTable", TABLE)):
        answer = operator.answer(f'mutation {{ cancelOperation(input: {{id: "{id_}"}}) {{ userErrors {{ code }} }} }}')
        assert reasons(answer) == ["ID_INVALID"]


async def test_an_operation_detached_for_a_deletion_that_fails_is_written_down(
    platform: LocalPlatform, operator: Operator, other_server: Operator
) -> None:
    """Its database still exists, so every process can read why the operation failed, also after a restart."""
    payload = operator.send("teardownLakebase", **TEARDOWN, dryRun=True)
    assert payload["operation"] is None
    platform.fault("forbidden", method="DELETE", path=f"{API}/instances/{INSTANCE}")
    ended = operator.ended(operator.send("teardownLakebase", **TEARDOWN))
    assert (ended["state"], ended["failure"]["reason"], ended["durable"]) == ("FAILED", "PERMISSION_MISSING", True)
    assert states(ended) == ["SUCCEEDED", "SUCCEEDED", "FAILED"]
    assert other_server.operation(ended["id"]) == ended
    found = await rows(
        platform, operator, f"SELECT state FROM orders_app.operation WHERE id = '{plain_id(ended['id'])}'"
    )
    assert [row["state"] for row in found] == ["FAILED"]


async def test_an_operation_detached_for_a_stop_that_fails_is_written_down(
    platform: LocalPlatform, operator: Operator, other_server: Operator
) -> None:
    """As after a deletion that fails."""
    platform.fault("forbidden", method="PATCH", path=f"{API}/instances/{INSTANCE}")
    ended = operator.ended(operator.send("updateDatabaseInstance", name=INSTANCE, stopped=True))
    assert (ended["state"], ended["failure"]["reason"], ended["durable"]) == ("FAILED", "PERMISSION_MISSING", True)
    assert other_server.operation(ended["id"]) == ended


def test_a_detached_operation_is_cancelled_by_its_own_process_alone(
    platform: LocalPlatform, operator: Operator, other_server: Operator
) -> None:
    """Another process does not know it, and says so. Its database still exists, so the cancelled operation is stored."""
    payload = detached(platform, operator, "unavailable", times=None, retry_after=1)
    (error,) = other_server.send("cancelOperation", id=payload["operation"]["id"])["userErrors"]
    assert error["code"] == "RESOURCE_NOT_FOUND"
    assert "not `durable`" in error["message"]
    cancel(operator, payload)
    ended = operator.ended(payload)
    assert (ended["state"], ended["durable"]) == ("CANCELLED", True)
    assert other_server.operation(ended["id"]) == ended
