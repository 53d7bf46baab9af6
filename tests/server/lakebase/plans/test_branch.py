"""The plans about branches: what is not the wanted branch, what keeps one, and what the operator reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from databricks.sdk.service import postgres as api

from schema.errors import Reason
from schema.ports.admin.branches import Branch, BranchChange, BranchSpec, BranchState, Snapshot, SnapshotSpec
from schema.ports.admin.instances import InstanceChange
from schema.ports.admin.operations import OperationKind
from schema.ports.admin.tables import SyncPolicy
from server.lakebase.plans.drafts.differences import branch_differences, snapshot_differences
from tests.server.lakebase.desk import PATH
from tests.servers.operator import CATALOG, INSTANCE, TABLE

if TYPE_CHECKING:
    from server.lakebase.plans.drafts.draft import Draft
    from tests.server.lakebase.desk import Desk

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
DEV = f"{PATH}/branches/dev"


def branch(**fields: Any) -> Branch:
    """A branch that was made from `production`, with these fields."""
    given: dict[str, Any] = dict.fromkeys(Branch.__slots__)
    given |= {"name": "dev", "instance_name": INSTANCE, "state": BranchState.READY, "source": "production"}
    return Branch(**{**given, "is_default": False, "is_protected": False, **fields})


def spec(**fields: Any) -> BranchSpec:
    """The wanted branch, with these fields."""
    return BranchSpec(INSTANCE, "dev", **fields)


def refused(draft: Draft) -> list[tuple[Reason, str | None]]:
    """The reasons and fields of a draft's refusals."""
    return [(one.reason, one.field) for one in draft.refusals]


@pytest.mark.parametrize(
    ("found", "wanted", "fields"),
    [
        ({"source_time": NOON}, {"time": NOON.isoformat()}, []),
        # The platform rounds to seconds, or to milliseconds.
        ({"source_time": NOON}, {"time": (NOON + timedelta(milliseconds=400)).isoformat()}, []),
        (
            {"source_time": NOON + timedelta(milliseconds=400)},
            {"time": (NOON + timedelta(microseconds=400_300)).isoformat()},
            [],
        ),
        ({"source_time": NOON}, {"time": (NOON + timedelta(seconds=2)).isoformat()}, ["from.time"]),
        (
            {"source_time": NOON + timedelta(milliseconds=400)},
            {"time": (NOON + timedelta(milliseconds=800)).isoformat()},
            ["from.time"],
        ),
        # It is a root, or nobody knows its moment.
        ({"source": None}, {"time": NOON.isoformat()}, ["from.time"]),
        ({}, {"time": NOON.isoformat()}, ["from.time"]),
        ({"source_lsn": "0/1A"}, {"lsn": "0/0000001a"}, []),
        ({"source_lsn": "0/1A"}, {"lsn": "1/1A"}, ["from.lsn"]),
        ({}, {"lsn": "0/1A"}, ["from.lsn"]),
        ({}, {"source": "dev"}, ["from.branch"]),
        ({"expires_at": NOON}, {"expires_at": NOON.isoformat()}, []),
        ({"expires_at": NOON + timedelta(days=1)}, {"expires_at": NOON.isoformat()}, ["expiresAt"]),
        ({}, {"expires_at": NOON.isoformat()}, ["expiresAt"]),
        ({}, {"ttl_seconds": 3600}, ["ttlSeconds"]),
        ({"expires_at": NOON}, {"ttl_seconds": 3600}, []),
        # What a request does not name is taken as it is found.
        ({"source_time": NOON, "expires_at": NOON}, {}, []),
    ],
)
def test_a_branch_of_another_moment_or_term_is_not_the_wanted_one(
    found: dict[str, Any], wanted: dict[str, Any], fields: list[str]
) -> None:
    """A restore to one moment must not make a branch of another one the default branch."""
    assert [one.field for one in branch_differences(branch(**found), spec(**wanted))] == fields


def test_what_the_platform_does_not_tell_of_a_branch_just_created_is_as_wanted() -> None:
    """Otherwise its creation would fail for ever on a platform that tells less."""
    wanted = spec(source="production", time=NOON.isoformat(), ttl_seconds=60)
    assert branch_differences(branch(), wanted, created=True) == []
    other = branch(source_time=NOON + timedelta(hours=1))
    assert [one.field for one in branch_differences(other, wanted, created=True)] == ["from.time"]


async def test_a_restore_does_not_take_another_branch_for_the_wanted_one(desk: Desk) -> None:
    """The first branch has no moment, and the branch of a moment has its own."""
    moment = datetime.now(UTC).isoformat()
    for name in ("production", "dev"):
        if name == "dev":
            desk.postgres.create_branch(PATH, api.Branch(spec=api.BranchSpec(no_expiry=True)), "dev").wait()
        wanted = BranchSpec(INSTANCE, name, time=moment, endpoint=True, default=True)
        draft = await desk.plan(OperationKind.RESTORE, branch=wanted)
        assert refused(draft) == [(Reason.SPEC_CONFLICT, "name")]
        assert ": to is " in draft.refusals[0].message


async def test_a_branch_with_catalogs_or_synced_tables_is_not_deleted_and_an_orphan_is(desk: Desk) -> None:
    """The plan names them. A table whose branch is gone has no grants to keep, and can still be deleted."""
    await desk.done(OperationKind.CREATE_BRANCH, branch=spec(endpoint=True))
    table = "used_catalog.public.used"
    desk.postgres.create_catalog(
        api.Catalog(
            spec=api.CatalogCatalogSpec(branch=DEV, postgres_database="other", create_database_if_missing=True)
        ),
        "used_catalog",
    ).wait()
    desk.postgres.create_synced_table(
        api.SyncedTable(
            spec=api.SyncedTableSyncedTableSpec(
                branch=DEV,
                postgres_database="other",
                source_table_full_name="samples.tpch.customer",
                primary_key_columns=["c_custkey"],
                scheduling_policy=api.SyncedTableSyncedTableSpecSyncedTableSchedulingPolicy(SyncPolicy.SNAPSHOT.value),
                create_database_objects_if_missing=True,
                new_pipeline_spec=api.NewPipelineSpec(storage_catalog="main", storage_schema="lakebase_meta"),
            )
        ),
        table,
    ).wait()
    draft = await desk.plan(OperationKind.DELETE_BRANCH, instance_name=INSTANCE, branch_name="dev")
    assert refused(draft) == [(Reason.RESOURCE_IN_USE, "name")]
    assert f"catalog used_catalog, synced table {table}" in draft.refusals[0].message
    other = await desk.plan(OperationKind.DELETE_BRANCH, instance_name=INSTANCE, branch_name="production")
    assert "used_catalog" not in str(other.refusals)
    desk.postgres.delete_branch(DEV, purge=True).wait()
    messages = await desk.done(OperationKind.DELETE_SYNCED_TABLE, table_name=table)
    assert messages == ["there is nothing to keep", "the table is gone"]
    await desk.done(OperationKind.DELETE_CATALOG, catalog_name="used_catalog")


async def test_the_deletion_of_the_served_branch_says_so_and_keeps_its_table(desk: Desk) -> None:
    """No other operation works on the configured catalog and table meanwhile, or registers a database of a branch."""
    desk.postgres.create_branch(PATH, api.Branch(spec=api.BranchSpec(no_expiry=True)), "dev").wait()
    names = {"instance_name": INSTANCE, "branch_name": "dev"}
    draft = await desk.plan(OperationKind.DELETE_BRANCH, serves="dev", **names)
    assert "This server serves it, so orders cannot be read afterwards" in draft.steps[0].message
    assert {f"catalog {CATALOG}", f"synced table {TABLE}"} <= set(draft.resources)
    other = await desk.plan(OperationKind.DELETE_BRANCH, **names)
    assert "this server" not in other.steps[0].message
    # It has no endpoint by which its status changes could be counted.
    assert other.status_changes_lost is None


async def test_a_branch_with_another_endpoint_is_described_as_it_is(desk: Desk) -> None:
    """The setting that the plan names exists, and three nodes are enough for readable secondaries."""
    desk.postgres.create_branch(PATH, api.Branch(spec=api.BranchSpec(no_expiry=True)), "dev").wait()
    default = BranchChange(INSTANCE, "dev", default=True)
    bare = await desk.plan(OperationKind.UPDATE_BRANCH, branch_change=default)
    assert refused(bare) == [(Reason.RESOURCE_NOT_READY, "default")]
    endpoint = api.EndpointSpec(
        api.EndpointType.ENDPOINT_TYPE_READ_WRITE, no_suspension=True, group=api.EndpointGroupSpec(3, 3)
    )
    desk.postgres.create_endpoint(DEV, api.Endpoint(spec=endpoint), "ep1").wait()
    draft = await desk.plan(OperationKind.UPDATE_BRANCH, branch_change=default)
    assert draft.steps[0].message.endswith(f"set LAKEBASE_ENDPOINT to {DEV}/endpoints/ep1")
    draft = await desk.plan(OperationKind.CREATE_BRANCH, branch=spec(endpoint=True, readable_secondaries=True))
    assert draft.steps[-1].message == "changes endpoint.readableSecondaries from false to true"
    assert (await desk.run(draft))[-1] == f"the endpoint is there: {DEV}/endpoints/ep1"
    found = await desk.services.main_endpoint(DEV)
    assert found
    assert (found.size, found.readable_secondaries) == (3, True)


async def test_a_restore_has_the_size_of_what_it_restores(desk: Desk) -> None:
    """Its nodes too, and the plan says them."""
    change = InstanceChange(INSTANCE, min_cu=1, max_cu=2, node_count=3, readable_secondaries=True)
    await desk.done(OperationKind.UPDATE_INSTANCE, change=change)
    wanted = BranchSpec(INSTANCE, "again", time=datetime.now(UTC).isoformat(), endpoint=True, default=True)
    draft = await desk.plan(OperationKind.RESTORE, branch=wanted)
    assert draft.steps[1].message.startswith("is created with 1 to 2 CU, ")
    assert draft.steps[1].message.endswith(", 3 nodes, readable secondaries")
    await desk.run(draft)
    made, present = [await desk.services.main_endpoint(f"{PATH}/branches/{name}") for name in ("again", "production")]
    assert made
    assert present
    assert (made.size, made.readable_secondaries, made.min_cu, made.suspend_after_seconds) == (
        present.size,
        present.readable_secondaries,
        present.min_cu,
        present.suspend_after_seconds,
    )
    alone = InstanceChange(INSTANCE, node_count=1, readable_secondaries=False)
    desk.make_default("production")
    await desk.done(OperationKind.UPDATE_INSTANCE, change=alone)


async def test_a_snapshot_can_be_taken_of_a_branch_that_was_made_from_one(desk: Desk) -> None:
    """Such a branch has no branch that it depends on."""
    await desk.done(OperationKind.CREATE_SNAPSHOT, snapshot=SnapshotSpec(INSTANCE, "monday"))
    await desk.done(OperationKind.CREATE_BRANCH, branch=spec(snapshot="monday"))
    draft = await desk.plan(OperationKind.CREATE_SNAPSHOT, snapshot=SnapshotSpec(INSTANCE, "tuesday", source="dev"))
    assert draft.refusals == []
    await desk.done(OperationKind.DELETE_SNAPSHOT, instance_name=INSTANCE, snapshot_name="monday")


@pytest.mark.parametrize(
    ("given", "differs"),
    [
        ({}, []),
        ({"source": "production"}, []),
        ({"source": "dev"}, ["branch"]),
        ({"time": NOON.isoformat()}, []),
        ({"expires_at": NOON.isoformat()}, ["expiresAt"]),
        ({"ttl_seconds": 3600}, ["ttlSeconds"]),
    ],
)
def test_a_snapshot_of_another_branch_or_with_another_term_is_not_the_wanted_one(
    given: dict[str, Any], differs: list[str]
) -> None:
    """Its moment is not known, so that it is no difference."""
    path = f"{PATH}/snapshots/monday"
    found = Snapshot(path, "monday", INSTANCE, "s1", "production", NOON, None, None, None)
    assert [one.field for one in snapshot_differences(found, SnapshotSpec(INSTANCE, "monday", **given))] == differs
