"""The local platform's branches: real copies of a PostgreSQL, as it is or as it was, on addresses of their own."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from databricks.sdk.errors import AlreadyExists, BadRequest, InvalidParameterValue, NotFound
from databricks.sdk.service.postgres import (
    Branch,
    BranchSpec,
    BranchStatusState,
    InitialBranchSpec,
    Project,
    ProjectSpec,
    Snapshot,
    SnapshotSpec,
)
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tests.local.parts import FOREVER, asked, branched, connected, done, failure, mask
from tests.servers.process import wait_for

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

    from tests.servers.platform import LocalPlatform

_COUNT = "SELECT count(*) FROM mine"


def at(seconds: float) -> Timestamp:
    """A Unix time."""
    stamp = Timestamp()
    stamp.FromMicroseconds(int(seconds * 1_000_000))
    return stamp


async def test_a_branch_is_a_copy_that_goes_its_own_way(
    platform: LocalPlatform, workspace: WorkspaceClient, project: str
) -> None:
    """Neither sees the other's changes. A branch that is asleep is copied as it fell asleep, and sleeps on."""
    root = f"{project}/branches/production"
    connection = await connected(platform, root)
    await connection.execute("CREATE TABLE mine AS SELECT 1 AS one")
    began = int(time.time())
    first = branched(platform, project, "first", BranchSpec(source_branch=root, ttl=Duration(seconds=3600)))
    shown = workspace.postgres.get_branch(first)
    assert shown.spec is None
    assert shown.status is not None
    assert (shown.status.source_branch, shown.status.current_state) == (root, BranchStatusState.READY)
    assert shown.status.logical_size_bytes
    assert shown.status.expire_time is not None
    assert began + 3600 <= shown.status.expire_time.seconds <= time.time() + 3600
    await connection.execute("INSERT INTO mine VALUES (2)")
    assert await asked(platform, first, f"WITH gone AS (DELETE FROM mine RETURNING 1) {_COUNT}") == 1
    platform.suspend(f"{first}/endpoints/primary")
    second = branched(platform, project, "second", BranchSpec(source_branch=first, no_expiry=True))
    assert await asked(platform, second, _COUNT) == 0
    assert platform.counters()["wakes"]["kept"] == 0
    assert await connection.fetchval(_COUNT) == 2
    await connection.execute("DROP TABLE mine")
    await connection.close()
    with pytest.raises(BadRequest, match="child branch 'second'"):
        workspace.postgres.delete_branch(first)
    for branch in (second, first):
        done(platform, workspace.postgres.delete_branch(branch, purge=True))


async def test_a_branch_of_an_earlier_time_has_what_was_committed_by_then(
    platform: LocalPlatform, workspace: WorkspaceClient, project: str
) -> None:
    """So has one of a position in the log. Before the original's creation and after now there is nothing to copy."""
    root = f"{project}/branches/production"
    connection = await connected(platform, root)
    await connection.execute("CREATE TABLE mine AS SELECT 1 AS one")
    # After the one commit and before the other, by the clock that stamps them.
    then, lsn = await connection.fetchrow("SELECT clock_timestamp(), pg_current_wal_insert_lsn()::text")
    await connection.execute("INSERT INTO mine VALUES (2)")
    past = branched(platform, project, "past", BranchSpec(source_branch_time=at(then.timestamp()), no_expiry=True))
    placed = branched(platform, project, "placed", BranchSpec(source_branch_lsn=lsn, no_expiry=True))
    for branch in (past, placed):
        assert await asked(platform, branch, _COUNT) == 1
        # It can be written to, and has a past of its own.
        await asked(platform, branch, "CREATE TABLE later ()")
    await connection.execute("DROP TABLE mine")
    await connection.close()
    for wrong in (time.time() + 60, time.time() - 86_400):
        with pytest.raises(InvalidParameterValue, match="source_branch_time"):
            workspace.postgres.create_branch(
                project, Branch(spec=BranchSpec(source_branch_time=at(wrong), no_expiry=True)), "wrong"
            )
    ahead = BranchSpec(source_branch_lsn="FFFF/0", no_expiry=True)
    code, message = failure(platform, workspace.postgres.create_branch(project, Branch(spec=ahead), "wrong"))
    assert (code, "the log ends before FFFF/0" in message) == ("BAD_REQUEST", True)
    with pytest.raises(NotFound):
        workspace.postgres.get_branch(f"{project}/branches/wrong")
    # The branches of earlier times are branches of the default branch.
    for branch in (past, placed):
        done(platform, workspace.postgres.delete_branch(branch, purge=True))


async def test_a_snapshot_keeps_a_root_branch_as_it_was(
    platform: LocalPlatform, workspace: WorkspaceClient, project: str
) -> None:
    """Branches of it have what it has, also when it is gone. It is listed, and taken of root branches alone."""
    postgres, root = workspace.postgres, f"{project}/branches/production"
    connection = await connected(platform, root)
    await connection.execute("CREATE TABLE mine AS SELECT 1 AS one")
    spec = SnapshotSpec(source_branch=root, ttl=Duration(seconds=3600))
    done(platform, postgres.create_snapshot(project, Snapshot(spec=spec), "before"))
    await connection.execute("DROP TABLE mine")
    await connection.close()
    name = f"{project}/snapshots/before"
    shown = postgres.get_snapshot(name)
    assert shown.status is not None
    assert (shown.status.source_branch, bool(shown.status.full_size_bytes)) == (root, True)
    assert [one.name for one in postgres.list_snapshots(project)] == [name]
    with pytest.raises(AlreadyExists):
        postgres.create_snapshot(project, Snapshot(spec=spec), "before")
    restored = branched(platform, project, "restored", BranchSpec(source_snapshot=name, no_expiry=True))
    done(platform, postgres.delete_snapshot(name))
    assert await asked(platform, restored, _COUNT) == 1
    status = postgres.get_branch(restored).status
    assert status is not None
    assert (status.source_snapshot, status.source_branch) == (name, None)
    child = branched(platform, project, "child", BranchSpec(source_branch=restored, no_expiry=True))
    with pytest.raises(BadRequest, match="not a root branch"):
        postgres.create_snapshot(project, Snapshot(spec=SnapshotSpec(child, no_expiry=True)), "of-child")
    with pytest.raises(NotFound):
        postgres.get_snapshot(name)
    for branch in (child, restored):
        done(platform, postgres.delete_branch(branch, purge=True))


async def test_a_deleted_branch_holds_its_name_until_it_is_purged_or_had_back(
    platform: LocalPlatform, workspace: WorkspaceClient, project: str
) -> None:
    """Its endpoints stop, and come back with its data. What expires is deleted in the same way, and expires no more."""
    postgres = workspace.postgres
    brief = branched(platform, project, "brief", BranchSpec(ttl=Duration(nanos=400_000_000)))

    def is_deleted() -> bool:
        status = postgres.get_branch(brief).status
        return status is not None and status.current_state is BranchStatusState.DELETED

    wait_for(is_deleted, what=platform.log)
    assert "brief" not in [one.branch_id for one in postgres.list_branches(project)]
    (held,) = (one for one in postgres.list_branches(project, show_deleted=True) if one.branch_id == "brief")
    assert held.status is not None
    assert held.status.purge_time is not None
    assert held.status.delete_time is not None
    kept = held.status.purge_time.ToMilliseconds() - held.status.delete_time.ToMilliseconds()
    assert kept == 7 * 86_400_000
    with pytest.raises(AlreadyExists, match="held by a deleted branch until"):
        postgres.create_branch(project, Branch(spec=FOREVER), "brief")
    with pytest.raises(NotFound):
        postgres.get_endpoint(f"{brief}/endpoints/primary")
    done(platform, postgres.undelete_branch(brief))
    back = postgres.get_branch(brief).status
    assert back is not None
    assert (back.current_state, back.expire_time, back.purge_time) == (BranchStatusState.READY, None, None)
    assert await asked(platform, brief, "SELECT 1") == 1
    # A duration counts from the branch's creation, also when it is given later.
    hour = BranchSpec(ttl=Duration(seconds=3600))
    done(platform, postgres.update_branch(brief, Branch(spec=hour), mask("spec.expiration")))
    brief_now = postgres.get_branch(brief)
    assert brief_now.create_time is not None
    assert brief_now.status is not None
    assert brief_now.status.expire_time is not None
    lasts = brief_now.status.expire_time.ToMilliseconds() - brief_now.create_time.ToMilliseconds()
    assert lasts == pytest.approx(3_600_000, abs=1)
    with pytest.raises(BadRequest, match="not deleted"):
        postgres.undelete_branch(brief)
    done(platform, postgres.delete_branch(brief))
    with pytest.raises(NotFound):
        postgres.delete_branch(brief)
    done(platform, postgres.delete_branch(brief, purge=True))
    with pytest.raises(NotFound):
        postgres.undelete_branch(brief)
    assert not [one for one in postgres.list_branches(project, show_deleted=True) if one.branch_id == "brief"]


def test_root_default_and_protected_branches_are_not_deleted(
    platform: LocalPlatform, workspace: WorkspaceClient
) -> None:
    """A protected branch keeps its project, too. Another branch may become the default; the root stays the root."""
    postgres = workspace.postgres
    body = Project(initial_branch_spec=InitialBranchSpec(is_protected=True))
    done(platform, postgres.create_project(body, "guarded"))
    root, other = "projects/guarded/branches/production", branched(platform, "projects/guarded", "other")
    for call in (postgres.delete_branch, postgres.delete_project):
        with pytest.raises(BadRequest, match="protected"):
            call(root if call == postgres.delete_branch else "projects/guarded", purge=True)
    done(platform, postgres.update_branch(root, Branch(spec=BranchSpec(is_protected=False)), mask("spec.isProtected")))
    moved = Project(spec=ProjectSpec(default_branch=other))
    done(platform, postgres.update_project("projects/guarded", moved, mask("spec.default_branch")))
    assert workspace.database.get_database_instance("guarded").read_write_dns == (
        postgres.get_endpoint(f"{other}/endpoints/primary").status.hosts.host  # type: ignore[union-attr] # it is there
    )
    with pytest.raises(BadRequest, match="default branch"):
        postgres.delete_branch(other)
    with pytest.raises(BadRequest, match="root branch") as refused:
        postgres.delete_branch(root)
    info = refused.value.get_error_details().error_info
    assert info is not None
    assert (info.reason, info.metadata) == ("RESOURCE_CONFLICT", {"declarative_context": "MANAGED_BY_PARENT"})
    with pytest.raises(BadRequest, match="Read-write endpoints cannot be deleted"):
        postgres.delete_endpoint(f"{other}/endpoints/primary")
    done(platform, postgres.delete_project("projects/guarded", purge=True))
