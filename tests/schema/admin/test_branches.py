"""Branches, endpoints and snapshots: what is told of them, and which inputs are never sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schema.ports.admin.branches import BranchChange, BranchSpec, SnapshotSpec
from schema.ports.admin.instances import Flavour
from schema.relay.node import encode_global_id
from tests.schema.admin.test_flavours import BAD_IDS, ENDED, administration, submitted
from tests.schema.admin.test_inputs import document, refusals
from tests.schema.recording import answer, reasons, run

NOW = datetime.now(UTC)
LATER, TOO_LATE = (NOW + timedelta(days=days) for days in (1, 31))
MUTATIONS: list[tuple[str, dict[str, Any]]] = [
    ("createDatabaseBranch", {"name": "dev"}),
    ("updateDatabaseBranch", {"name": "dev", "protected": True}),
    ("deleteDatabaseBranch", {"name": "dev"}),
    ("undeleteDatabaseBranch", {"name": "dev"}),
    ("restoreDatabase", {"to": "2026-11-23T12:00:00Z"}),
    ("createDatabaseSnapshot", {"name": "monday"}),
    ("deleteDatabaseSnapshot", {"name": "monday"}),
]
DEV = {"name": "dev"}


@pytest.mark.parametrize("name", BAD_IDS)
@pytest.mark.parametrize("field", ["name", "instanceName"])
@pytest.mark.parametrize(("mutation", "given"), MUTATIONS)
async def test_a_bad_id_is_never_sent(mutation: str, given: dict[str, Any], field: str, name: str) -> None:
    """It would become part of a URL path."""
    assert await refusals(administration(), mutation, {**given, field: name}) == [("NAME_INVALID", f"input.{field}")]


@pytest.mark.parametrize(("mutation", "given"), MUTATIONS)
async def test_instances_of_the_other_flavour_have_no_branches(mutation: str, given: dict[str, Any]) -> None:
    """The mutation says so."""
    told = await refusals(administration(Flavour.PROVISIONED), mutation, given)
    assert told == [("SETTING_INVALID", "input.instanceName")]


@pytest.mark.parametrize(
    ("mutation", "given", "field"),
    [
        ("createDatabaseBranch", {**DEV, "from": {"time": LATER.isoformat()}}, "from.time"),
        ("createDatabaseBranch", {**DEV, "from": {"lsn": "now"}}, "from.lsn"),
        ("createDatabaseBranch", {**DEV, "from": {"lsn": "16/B374D848", "time": "2026-11-01T00:00:00Z"}}, "from.lsn"),
        ("createDatabaseBranch", {**DEV, "from": {"snapshot": "monday", "branch": "dev"}}, "from.snapshot"),
        ("createDatabaseBranch", {**DEV, "expiresAt": TOO_LATE.isoformat()}, "expiresAt"),
        ("createDatabaseBranch", {**DEV, "expiresAt": "2026-11-01T00:00:00Z"}, "expiresAt"),
        ("createDatabaseBranch", {**DEV, "ttlSeconds": 2_592_001}, "ttlSeconds"),
        ("createDatabaseBranch", {**DEV, "ttlSeconds": 0}, "ttlSeconds"),
        ("createDatabaseBranch", {**DEV, "ttlSeconds": 60, "neverExpires": True}, "neverExpires"),
        ("createDatabaseBranch", {**DEV, "ttlSeconds": 60, "expiresAt": LATER.isoformat()}, "ttlSeconds"),
        ("createDatabaseBranch", {**DEV, "ttlSeconds": 60, "protected": True}, "protected"),
        ("createDatabaseBranch", {**DEV, "endpoint": {"minCu": 4, "maxCu": 2}}, "endpoint.maxCu"),
        ("createDatabaseBranch", {**DEV, "endpoint": {"suspendAfterSeconds": 1}}, "endpoint.suspendAfterSeconds"),
        ("updateDatabaseBranch", DEV, ""),
        ("updateDatabaseBranch", {**DEV, "default": False}, "default"),
        ("updateDatabaseBranch", {**DEV, "expiresAt": TOO_LATE.isoformat()}, "expiresAt"),
        ("restoreDatabase", {"to": LATER.isoformat()}, "to"),
        ("restoreDatabase", {"to": "2026-11-01T00:00:00Z", "autoscaling": {"maxCu": 65}}, "autoscaling.maxCu"),
        ("createDatabaseSnapshot", {"name": "monday", "time": LATER.isoformat()}, "time"),
        ("createDatabaseSnapshot", {"name": "monday", "ttlSeconds": 2_592_001}, "ttlSeconds"),
    ],
)
async def test_what_does_not_go_together_is_never_sent(mutation: str, given: dict[str, Any], field: str) -> None:
    """Each mistake names its field."""
    told = await refusals(administration(), mutation, given)
    assert told == [("SETTING_INVALID", f"input.{field}".removesuffix("."))]


@pytest.mark.parametrize(
    ("mutation", "given", "wanted"),
    [
        ("createDatabaseBranch", DEV, {"branch": BranchSpec("orders-pg", "dev")}),
        (
            "createDatabaseBranch",
            {**DEV, "ttlSeconds": 60},
            {"branch": BranchSpec("orders-pg", "dev", ttl_seconds=60)},
        ),
        (
            "createDatabaseBranch",
            {
                "instanceName": "a",
                "name": "dev",
                "from": {"branch": "main", "time": "2026-11-01T01:00:00+01:00"},
                "neverExpires": True,
                "protected": True,
                "endpoint": {"maxCu": 4, "neverSuspend": True},
            },
            {
                "branch": BranchSpec(
                    "a",
                    "dev",
                    source="main",
                    time="2026-11-01T00:00:00+00:00",
                    protected=True,
                    endpoint=True,
                    max_cu=4,
                    suspend_after_seconds=0,
                )
            },
        ),
        (
            "updateDatabaseBranch",
            {**DEV, "neverExpires": True, "default": True},
            {"branch_change": BranchChange("orders-pg", "dev", never_expires=True, default=True)},
        ),
        (
            "deleteDatabaseBranch",
            {**DEV, "purge": True},
            {"instance_name": "orders-pg", "branch_name": "dev", "purge": True},
        ),
        (
            "restoreDatabase",
            {"to": "2026-11-01T00:00:00Z"},
            {
                "branch": BranchSpec(
                    "orders-pg",
                    "restored-20261101-000000",
                    time="2026-11-01T00:00:00+00:00",
                    endpoint=True,
                    default=True,
                )
            },
        ),
        (
            "createDatabaseSnapshot",
            {"name": "monday", "branch": "main", "neverExpires": True},
            {"snapshot": SnapshotSpec("orders-pg", "monday", source="main")},
        ),
    ],
)
async def test_a_good_input_is_handed_on(mutation: str, given: dict[str, Any], wanted: dict[str, Any]) -> None:
    """With the configured instance, unless it names one, and times in UTC."""
    recording = administration(outcome=ENDED)
    await answer(recording, document(mutation), input=given)
    assert {name: getattr(submitted(recording), name) for name in wanted} == wanted


async def test_everything_is_told_of_a_branch_and_found_by_its_id() -> None:
    """Its endpoints are looked up only if they are selected."""
    recording = administration()
    branch_fields = (
        "id name state isDefault isProtected source sourceTime createdAt expiresAt deletedAt purgeAt sizeBytes "
        "endpoints { id kind state host readOnlyHost minCu maxCu suspendAfterSeconds suspended disabled lastActiveAt }"
    )
    data = await answer(
        recording,
        f'{{ databaseInstance(name: "orders-pg") {{ branches(first: 1) {{ nodes {{ {branch_fields} }} }} '
        "snapshots { name source fullSizeBytes diffSizeBytes expiresAt } } }",
    )
    (branch,) = data["databaseInstance"]["branches"]["nodes"]
    (endpoint,) = branch.pop("endpoints")
    assert branch == {
        "id": encode_global_id("DatabaseBranch", "orders-pg/dev"),
        "name": "dev",
        "state": "READY",
        "isDefault": False,
        "isProtected": False,
        "source": "production",
        "sourceTime": "2026-11-23T12:00:00.000Z",
        "createdAt": "2026-11-23T12:00:00.000Z",
        "expiresAt": None,
        "deletedAt": None,
        "purgeAt": None,
        "sizeBytes": "3000000000",
    }
    assert endpoint == {
        "id": encode_global_id("DatabaseEndpoint", "orders-pg/dev/primary"),
        "kind": "READ_WRITE",
        "state": "IDLE",
        "host": "10.0.0.1",
        "readOnlyHost": None,
        "minCu": 0.5,
        "maxCu": 4.0,
        "suspendAfterSeconds": 300,
        "suspended": True,
        "disabled": False,
        "lastActiveAt": "2026-11-23T12:00:00.000Z",
    }
    assert data["databaseInstance"]["snapshots"] == [
        {
            "name": "monday",
            "source": "production",
            "fullSizeBytes": "2000",
            "diffSizeBytes": "1000",
            "expiresAt": None,
        }
    ]
    found = await answer(
        recording,
        "query($ids: [ID!]!) { nodes(ids: $ids) { id ... on DatabaseBranch { isDefault } "
        "... on DatabaseEndpoint { kind } } }",
        ids=[branch["id"], endpoint["id"]],
    )
    assert found["nodes"] == [
        {"id": branch["id"], "isDefault": False},
        {"id": endpoint["id"], "kind": "READ_WRITE"},
    ]


async def test_branches_come_in_pages() -> None:
    """In the order of their names, whatever the platform's order."""
    page = "branches(first: 1, after: $after) { nodes { name } pageInfo { hasNextPage hasPreviousPage endCursor } }"
    text = f'query($after: String) {{ databaseInstance(name: "orders-pg") {{ {page} }} }}'
    first = (await answer(administration(), text, after=None))["databaseInstance"]["branches"]
    assert first["nodes"] == [{"name": "dev"}]
    assert (first["pageInfo"]["hasNextPage"], first["pageInfo"]["hasPreviousPage"]) == (True, False)
    after = first["pageInfo"]["endCursor"]
    last = (await answer(administration(), text, after=after))["databaseInstance"]["branches"]
    assert last["nodes"] == [{"name": "production"}]
    assert (last["pageInfo"]["hasNextPage"], last["pageInfo"]["hasPreviousPage"]) == (False, True)
    assert reasons(await run(administration(), text, after=f"{after}x")) == ["CURSOR_INVALID"]


async def test_a_branch_that_is_not_selected_is_not_looked_up() -> None:
    """An instance alone is one call."""
    recording = administration()
    await answer(recording, '{ databaseInstance(name: "orders-pg") { name branches(first: 0) { nodes { name } } } }')
    assert recording.calls == [("instance", "orders-pg")]
