"""The steps about instances: an unknown state delays nothing, and no failure of the platform is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from databricks.sdk.service.postgres import Project

from schema.errors import PlatformError, Reason
from schema.ports.admin.instances import InstanceChange, InstanceSpec
from schema.ports.admin.operations import OperationKind
from tests.server.lakebase.desk import URL
from tests.servers.flavours import AUTOSCALING
from tests.servers.operator import INSTANCE

if TYPE_CHECKING:
    from tests.server.lakebase.desk import Desk


async def test_an_instance_in_an_unknown_state_is_created_and_changed(desk: Desk) -> None:
    """A state of a later release is no reason to wait."""
    desk.platform.fault("unknown_enum", method="GET", path=f"{URL}/branches/.*", times=None)
    created = await desk.done(OperationKind.CREATE_INSTANCE, instance=InstanceSpec(INSTANCE))
    assert created == ["the instance is there; its state is UNKNOWN"]
    draft = await desk.plan(OperationKind.CREATE_INSTANCE, instance=InstanceSpec(INSTANCE))
    assert draft.changes_nothing
    most = 6.0 if (await desk.services.platform.instance(INSTANCE)).max_cu == 7 else 7.0  # type: ignore[union-attr] # it exists
    await desk.done(OperationKind.UPDATE_INSTANCE, change=InstanceChange(INSTANCE, max_cu=most))
    found = await desk.services.platform.instance(INSTANCE)
    assert found
    assert found.max_cu == most


async def test_the_failure_of_the_project_s_change_ends_the_step(desk: Desk) -> None:
    """The endpoint is changed by a call of its own, whose operation does not hide the other one's failure."""
    desk.platform.fault("operation_fails", method="PATCH", path=URL, times=None)
    change = InstanceChange(INSTANCE, retention_days=10, suspend_after_seconds=300)
    with pytest.raises(PlatformError, match="has failed in the change of the history") as failed:
        await desk.done(OperationKind.UPDATE_INSTANCE, change=change)
    assert failed.value.reason is Reason.CONTROL_PLANE_REFUSED


async def test_a_purge_leaves_an_instance_alone_that_was_undeleted_since(desk: Desk) -> None:
    """It has the uid that was planned for, and its status changes were never counted."""
    desk.postgres.create_project(Project(), "second-pg").wait()
    desk.postgres.delete_project("projects/second-pg").wait()
    draft = await desk.plan(OperationKind.DELETE_INSTANCE, instance_name="second-pg", purge=True)
    desk.postgres.undelete_project("projects/second-pg").wait()
    with pytest.raises(PlatformError, match="undeleted after") as failed:
        await desk.run(draft)
    assert failed.value.reason is Reason.NAMESAKE_FOUND
    assert "second-pg" in {one["id"] for one in desk.platform.inventory()["projects"]}
    await desk.done(OperationKind.DELETE_INSTANCE, instance_name="second-pg", purge=True)


async def test_an_undeletion_that_another_client_overtakes_between_two_looks_is_done(desk: Desk) -> None:
    """The first look does not find the instance, and the second one does not find it deleted."""
    desk.postgres.create_project(Project(), "third-pg").wait()
    desk.postgres.delete_project("projects/third-pg").wait()
    draft = await desk.plan(OperationKind.UNDELETE_INSTANCE, instance_name="third-pg")
    desk.postgres.undelete_project("projects/third-pg").wait()
    desk.platform.fault("not_found_after_create", method="GET", path=f"{AUTOSCALING.instances}/third-pg")
    assert await desk.run(draft) == ["the instance is back"]
    await desk.done(OperationKind.DELETE_INSTANCE, instance_name="third-pg", purge=True)
