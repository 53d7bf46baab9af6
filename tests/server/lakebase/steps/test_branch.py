"""The steps about branches: they succeed only with what was asked for, and act only on what was planned for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from databricks.sdk.service.postgres import (
    Branch,
    BranchSpec,
    Endpoint,
    EndpointSpec,
    EndpointType,
)

from schema.errors import PlatformError, Reason
from schema.ports.admin import branches as ports
from schema.ports.admin.operations import OperationKind
from server.lakebase.platform.autoscaling.projects import mask
from tests.server.lakebase.desk import PATH, URL
from tests.servers.operator import INSTANCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.server.lakebase.desk import Desk

DEV = f"{PATH}/branches/dev"


def create_dev(desk: Desk) -> None:
    """Create the branch `dev`, without an endpoint, as another client."""
    desk.postgres.create_branch(PATH, Branch(spec=BranchSpec(no_expiry=True)), "dev").wait()


def make_dev_default(desk: Desk) -> None:
    """Give `dev` an endpoint and make it the default branch, as another client."""
    read_write = Endpoint(spec=EndpointSpec(EndpointType.ENDPOINT_TYPE_READ_WRITE))
    desk.postgres.create_endpoint(DEV, read_write, "primary").wait()
    desk.make_default("dev")


async def test_a_term_that_the_platform_refuses_at_first_is_asked_for_again(desk: Desk) -> None:
    """A term is no success before the platform shows one."""
    create_dev(desk)
    desk.platform.fault("internal_error", method="PATCH", path=f"{URL}/branches/dev")
    await desk.done(OperationKind.UPDATE_BRANCH, branch_change=ports.BranchChange(INSTANCE, "dev", ttl_seconds=3600))
    status = desk.postgres.get_branch(DEV).status
    assert status
    assert status.expire_time
    left = status.expire_time.ToDatetime(UTC) - datetime.now(UTC)
    assert timedelta(minutes=50) < left <= timedelta(hours=1)


async def test_a_term_whose_operation_fails_is_a_failure(desk: Desk) -> None:
    """Even if the platform refuses it after it has taken the call."""
    create_dev(desk)
    desk.platform.fault("operation_fails", method="PATCH", path=f"{URL}/branches/dev")
    change = ports.BranchChange(INSTANCE, "dev", ttl_seconds=3600)
    with pytest.raises(PlatformError, match="has failed in the change of branch") as failed:
        await desk.done(OperationKind.UPDATE_BRANCH, branch_change=change)
    assert failed.value.reason is Reason.CONTROL_PLANE_REFUSED


async def test_the_failure_of_the_first_of_two_calls_ends_the_step(desk: Desk) -> None:
    """Each call has an operation of its own on the platform, and each is asked for its failure."""
    create_dev(desk)
    await desk.done(OperationKind.CREATE_BRANCH, branch=ports.BranchSpec(INSTANCE, "dev", endpoint=True))
    desk.platform.fault("operation_fails", method="PATCH", path=f"{URL}/branches/dev", times=None)
    change = ports.BranchChange(INSTANCE, "dev", protected=True, default=True)
    with pytest.raises(PlatformError, match="has failed in the change of branch"):
        await desk.done(OperationKind.UPDATE_BRANCH, branch_change=change)


async def test_a_purge_leaves_a_branch_alone_that_was_undeleted_since(desk: Desk) -> None:
    """It has the uid that was planned for, and its status changes were never counted."""
    create_dev(desk)
    desk.postgres.delete_branch(DEV).wait()
    draft = await desk.plan(OperationKind.DELETE_BRANCH, instance_name=INSTANCE, branch_name="dev", purge=True)
    desk.postgres.undelete_branch(DEV).wait()
    with pytest.raises(PlatformError, match="undeleted after") as failed:
        await desk.run(draft)
    assert failed.value.reason is Reason.NAMESAKE_FOUND
    found = await desk.services.existing_branch(INSTANCE, "dev")
    assert found


def protect_dev(desk: Desk, *, protected: bool = True) -> None:
    """Protect the branch `dev`, or no longer, as another client."""
    wanted = Branch(spec=BranchSpec(is_protected=protected))
    desk.postgres.update_branch(DEV, wanted, mask("spec.is_protected")).wait()


@pytest.mark.parametrize(
    ("meanwhile", "reason", "says"),
    [
        (make_dev_default, Reason.RESOURCE_IN_USE, "default branch"),
        (protect_dev, Reason.PROTECTED, "is protected"),
    ],
)
async def test_a_branch_that_became_the_default_one_or_protected_is_not_deleted(
    desk: Desk, meanwhile: Callable[[Desk], None], reason: Reason, says: str
) -> None:
    """The plan has seen another one."""
    create_dev(desk)
    draft = await desk.plan(OperationKind.DELETE_BRANCH, instance_name=INSTANCE, branch_name="dev")
    meanwhile(desk)
    before = desk.platform.counters()["requests"]
    with pytest.raises(PlatformError, match=says) as failed:
        await desk.run(draft)
    assert failed.value.reason is reason
    deletion = "DELETE /api/2.0/postgres/projects/{project}/branches/{branch}"
    assert desk.platform.counters()["requests"].get(deletion) == before.get(deletion)
    protect_dev(desk, protected=False)


async def test_a_restore_is_of_the_branch_that_the_plan_names(desk: Desk) -> None:
    """Another branch may be the default one by then; so may the restored branch itself, of which none is made."""
    create_dev(desk)
    make_dev_default(desk)
    spec = ports.BranchSpec(INSTANCE, "again", time=datetime.now(UTC).isoformat(), endpoint=True, default=True)
    draft = await desk.plan(OperationKind.RESTORE, branch=spec)
    assert "is made from the branch production as it was at" in draft.steps[0].message
    assert "default branch in place of dev. The branch production stays" in draft.steps[-1].message
    await desk.run(draft)
    again = await desk.services.existing_branch(INSTANCE, "again")
    assert again
    assert (again.source, again.is_default) == ("production", True)
    repeated = await desk.plan(OperationKind.RESTORE, branch=spec)
    assert (repeated.refusals, repeated.changes_nothing) == ([], True)


async def test_a_branch_is_made_from_the_default_branch_of_its_plan(desk: Desk) -> None:
    """It is not made from the default branch of a moment later."""
    create_dev(desk)
    draft = await desk.plan(OperationKind.CREATE_BRANCH, branch=ports.BranchSpec(INSTANCE, "other"))
    make_dev_default(desk)
    await desk.run(draft)
    other = await desk.services.existing_branch(INSTANCE, "other")
    assert other
    assert other.source == "production"


async def test_a_branch_in_an_unknown_state_becomes_the_default_one(desk: Desk) -> None:
    """A state of a later release is no reason to wait."""
    await desk.done(OperationKind.CREATE_BRANCH, branch=ports.BranchSpec(INSTANCE, "dev", endpoint=True))
    desk.platform.fault("unknown_enum", method="GET", path=f"{URL}/branches/.*", times=None)
    change = ports.BranchChange(INSTANCE, "dev", default=True)
    await desk.done(OperationKind.UPDATE_BRANCH, branch_change=change)
    spec = ports.BranchSpec(INSTANCE, "again", time=datetime.now(UTC).isoformat(), endpoint=True, default=True)
    messages = await desk.done(OperationKind.RESTORE, branch=spec)
    assert messages[-1].endswith(f"set LAKEBASE_ENDPOINT to {PATH}/branches/again/endpoints/primary")
