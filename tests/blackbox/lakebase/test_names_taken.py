"""Names that something else has: dry runs find it, and an operation ends with the platform's words."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from databricks.sdk.service.database import DatabaseTable

from tests.servers.operator import CATALOG, DATABASE, HASTE, HASTY, INSTANCE, Operator, operated
from tests.servers.platform import AT_ONCE, platform_directory, running_platform
from tests.servers.process import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.platform import LocalPlatform

API, UNITY = "/api/2.0/database", "/api/2.1/unity-catalog"
APPEARS = "server.lakebase.steps.calls._APPEARS_SECONDS"
# A resource that does not appear by the second look after a refusal is not ours. The product waits for seconds longer.
SOON = MappingProxyType({**HASTE, APPEARS: 0.0})
# For resources that do appear, however slow the machine is.
PATIENTLY = MappingProxyType({**HASTE, APPEARS: 3600.0})
# For a server that is killed, and its successor: the lease ends soon, and is soon claimed.
SUCCESSION = MappingProxyType(
    {
        **SOON,
        "server.lakebase.operations.table.LEASE_SECONDS": 0.3,
        "server.lakebase.execution.HEARTBEAT_SECONDS": 0.1,
        "server.lakebase.runner._POLL_SECONDS": 0.1,
    }
)
PLAIN = f"{CATALOG}.public.plain"
# For each kind of resource: the mutation that creates one whose name is taken, the call that creates it, and the call
# that finds what has the name.
TAKEN: dict[str, tuple[str, dict[str, object], str, str]] = {
    "instance": (
        "createDatabaseInstance",
        {"name": "taken", "acknowledgeCost": True},
        f"{API}/instances",
        "/api/2.0/postgres/projects/taken",
    ),
    "catalog": (
        "createDatabaseCatalog",
        {"name": "sandbox", "instanceName": INSTANCE, "databaseName": DATABASE},
        f"{API}/catalogs",
        f"{UNITY}/catalogs/sandbox",
    ),
    "catalog in other letters": (
        "createDatabaseCatalog",
        {"name": "SANDBOX", "instanceName": INSTANCE, "databaseName": DATABASE},
        f"{API}/catalogs",
        f"{UNITY}/catalogs/SANDBOX",
    ),
    "table": (
        "createSyncedTable",
        {"name": PLAIN, "acknowledgeCost": True},
        f"{API}/synced_tables",
        f"{UNITY}/tables/{PLAIN}",
    ),
}


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform of the module's own, as quick as it can be, with a deleted project that holds its name."""
    with platform_directory() as directory, running_platform(directory, **AT_ONCE) as platform:
        platform.hold_name("taken")
        yield platform


@pytest.fixture(scope="module")
def operator(platform: LocalPlatform) -> Iterator[Operator]:
    """An operator who has provisioned."""
    with operated(platform, module=HASTY, altered=SOON) as operator:
        operator.provisioned()
        yield operator


@pytest.fixture(autouse=True)
async def _plain_table(platform: LocalPlatform, operator: Operator) -> None:
    """Register an ordinary table, unless it is registered, and drop it in PostgreSQL: only its name is taken."""
    platform.clear_faults()
    host = operator.instance_host()
    if [one for one in platform.workspace().tables.list_summaries(CATALOG) if one.full_name == PLAIN]:
        return
    connection = await platform.connect(host, database=DATABASE)
    await connection.execute("CREATE TABLE public.plain (one integer)")
    platform.workspace().database.create_database_table(DatabaseTable(name=PLAIN))
    # Another check would find a table that stays in PostgreSQL.
    await connection.execute("DROP TABLE public.plain")
    await connection.close()


def sent_unseen(platform: LocalPlatform, operator: Operator, kind: str) -> dict[str, Any]:
    """Send the mutation while the server may not see what has the name."""
    mutation, given, _, lookup = TAKEN[kind]
    platform.fault("forbidden", method="GET", path=lookup, times=None)
    return operator.send(mutation, **given)


def creations(platform: LocalPlatform, kind: str) -> int:
    """How many calls that create such a resource the platform has received."""
    count: int = platform.counters()["requests"].get(f"POST {TAKEN[kind][2]}", 0)
    return count


@pytest.mark.parametrize("kind", TAKEN)
def test_a_dry_run_finds_what_has_the_name(operator: Operator, kind: str) -> None:
    """A project, another kind of catalog, an ordinary registered table."""
    mutation, given, _, _ = TAKEN[kind]
    payload = operator.send(mutation, **given, dryRun=True)
    assert [(error["code"], error["field"]) for error in payload["userErrors"]] == [
        ("SPEC_CONFLICT", ["input", "name"])
    ]
    assert payload["plan"]["steps"][0]["action"] == "NOTHING"
    assert "taken by a" in payload["plan"]["steps"][0]["message"]


@pytest.mark.parametrize("kind", TAKEN)
def test_a_creation_whose_name_is_taken_fails_with_the_platforms_words(
    platform: LocalPlatform, operator: Operator, kind: str
) -> None:
    """The operation ends after two looks, and its resources are free. The creation was sent once."""
    before = creations(platform, kind)
    ended = operator.ended(sent_unseen(platform, operator, kind))
    assert (ended["state"], ended["failure"]["reason"]) == ("FAILED", "SPEC_CONFLICT")
    assert "ALREADY_EXISTS" in ended["failure"]["message"]
    assert "already exists" in ended["failure"]["message"]
    assert creations(platform, kind) == before + 1
    again = operator.send(TAKEN[kind][0], **TAKEN[kind][1])
    assert again["operation"]["id"] != ended["id"]
    operator.ended(again)


def refused_and_held(platform: LocalPlatform, operator: Operator) -> dict[str, Any]:
    """Send the creation of a table whose name is taken, and hold the first look after the refusal; return the payload."""
    # The plan looks once. The step looks once before it sends the creation.
    platform.fault("hold_before", method="GET", path=f"{API}/synced_tables/{PLAIN}", skip=2)
    payload = sent_unseen(platform, operator, "table")
    wait_for(lambda: platform.held() != [], what=lambda: f"a look to be held: {operator.server.log()[-2000:]}")
    return payload


def test_a_refused_creation_is_not_made_when_the_name_comes_free(platform: LocalPlatform, operator: Operator) -> None:
    """The operator learns that the name is taken. So the resource must not appear later, and cost money."""
    payload = refused_and_held(platform, operator)
    platform.workspace().database.delete_database_table(PLAIN)
    platform.release()
    ended = operator.ended(payload)
    assert (ended["state"], ended["failure"]["reason"]) == ("FAILED", "SPEC_CONFLICT")
    assert PLAIN not in [one["name"] for one in platform.inventory()["synced_tables"]]


def test_a_restart_does_not_forget_the_refusal(platform: LocalPlatform, operator: Operator) -> None:
    """The process that resumes the operation does not create the resource either."""
    assert operator
    with operated(platform, module=HASTY, altered=SUCCESSION) as victim:
        payload = refused_and_held(platform, victim)
        victim.server.kill()
    wait_for(lambda: platform.held() == [], what=lambda: "the platform to see that its client is gone")
    platform.workspace().database.delete_database_table(PLAIN)
    before = creations(platform, "table")
    with operated(platform, module=HASTY, altered=SUCCESSION) as heir:
        ended = heir.ended(payload)
    assert (ended["state"], ended["failure"]["reason"]) == ("FAILED", "SPEC_CONFLICT")
    assert creations(platform, "table") == before


def test_a_resource_of_ours_that_appears_late_is_found(platform: LocalPlatform, operator: Operator) -> None:
    """The reply to its creation was lost, so the platform refuses the second one, and does not show it for three looks."""
    assert operator
    name = f"{CATALOG}.public.late"
    platform.fault("lost_reply", method="POST", path=f"{API}/synced_tables")
    platform.fault("not_found_after_create", method="GET", path=f"{API}/synced_tables/{name}", skip=2, times=3)
    with operated(platform, module=HASTY, altered=PATIENTLY) as patient:
        patient.done("createSyncedTable", name=name, acknowledgeCost=True)
        patient.done("deleteSyncedTable", name=name, confirmDeletion=True)


def test_a_pipeline_that_cannot_be_started_does_not_hold_its_table(platform: LocalPlatform, operator: Operator) -> None:
    """The platform reports a conflict twice, and no run is under way: the refresh ends with the platform's words."""
    body = '{"error_code": "RESOURCE_CONFLICT", "message": "The pipeline is not ours."}'
    platform.fault("answer", method="POST", path="/api/2.0/pipelines/.*/updates", times=None, status=409, body=body)
    with operated(
        platform, module=HASTY, altered={**SOON, "server.lakebase.steps.calls._START_AGAIN_SECONDS": 0.0}
    ) as hasty:
        ended = hasty.ended(hasty.send("refreshSyncedTable"))
    platform.clear_faults()
    assert (ended["state"], ended["failure"]["reason"]) == ("FAILED", "SPEC_CONFLICT")
    assert "The pipeline is not ours." in ended["failure"]["message"]
    assert operator.done("refreshSyncedTable")
