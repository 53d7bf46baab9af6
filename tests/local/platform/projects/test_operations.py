"""The local platform's operations: they begin undone, end with a response or an error, and outlive the process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from databricks.sdk.errors import NotFound
from databricks.sdk.service.database import DatabaseInstanceState
from databricks.sdk.service.postgres import (
    Branch,
    EndpointStatusState,
    Project,
    Role,
    RoleIdentityType,
    RoleRoleSpec,
)

from tests.local.parts import FOREVER, done, ended, failure
from tests.servers.platform import platform_directory, running_platform
from tests.servers.process import PATIENCE_SECONDS, wait_for

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

    from tests.servers.platform import LocalPlatform

ROOT = "projects/begun/branches/production"
ROLE = Role(spec=RoleRoleSpec(postgres_role="app", identity_type=RoleIdentityType.SERVICE_PRINCIPAL))


def exists(workspace: WorkspaceClient, project: str) -> bool:
    """Whether the project exists."""
    try:
        workspace.postgres.get_project(project)
    except NotFound:
        return False
    return True


def test_an_operation_begins_undone_and_ends_with_what_a_get_shows(
    platform: LocalPlatform, workspace: WorkspaceClient, project: str
) -> None:
    """A deletion's response is empty. An operation that never was is not found."""
    begun = workspace.postgres.create_branch(project, Branch(spec=FOREVER), "begun")
    assert begun.name().startswith(f"{project}/branches/begun/operations/")
    made = done(platform, begun)
    shown = workspace.postgres.get_branch(f"{project}/branches/begun")
    assert (made["uid"], made["status"]["current_state"], "spec" in made) == (shown.uid, "READY", False)
    gone = done(platform, workspace.postgres.delete_branch(f"{project}/branches/begun", purge=True))
    assert gone == {"@type": "type.googleapis.com/google.protobuf.Empty"}
    with pytest.raises(NotFound):
        workspace.postgres.get_operation(f"{project}/operations/none")


def test_tests_let_an_operation_fail_before_or_after_its_work_or_never_end(
    platform: LocalPlatform, workspace: WorkspaceClient
) -> None:
    """What a get shows is the truth in each case. An operation that hangs goes on when the faults are cleared."""
    create = workspace.postgres.create_project
    path = "/api/2.0/postgres/projects"
    platform.fault("operation_fails", method="POST", path=path, message="No capacity.")
    assert failure(platform, create(Project(), "doomed")) == ("INTERNAL_ERROR", "No capacity.")
    assert not exists(workspace, "projects/doomed")
    platform.fault("operation_fails_after", method="POST", path=path)
    assert failure(platform, create(Project(), "doomed"))[0] == "INTERNAL_ERROR"
    assert exists(workspace, "projects/doomed")
    platform.fault("operation_hangs", method="DELETE", path=f"{path}/doomed")
    begun = workspace.postgres.delete_project("projects/doomed", purge=True)
    wait_for(lambda: not exists(workspace, "projects/doomed"), what=platform.log)
    assert not workspace.postgres.get_operation(begun.name()).done
    platform.clear_faults()
    done(platform, begun)


def test_operations_are_resumed_by_the_next_process() -> None:
    """What the state describes goes on: projects and branches. What was in memory alone has failed."""
    with platform_directory() as directory:
        with running_platform(directory, start_delay=PATIENCE_SECONDS) as platform:
            project = platform.workspace().postgres.create_project(Project(), "begun")
            platform.kill()
        with running_platform(directory) as platform:
            done(platform, project)
            platform.wait_for_instance("begun", DatabaseInstanceState.AVAILABLE)
        with running_platform(directory, operation_delay=PATIENCE_SECONDS) as platform:
            postgres = platform.workspace().postgres
            platform.wait_for_instance("begun", DatabaseInstanceState.AVAILABLE)
            # The platform has begun to answer, and may still be starting PostgreSQL.
            wait_for(lambda: bool(platform.inventory()["instances"][0]["processes"]), what=platform.log)
            role = postgres.create_role(ROOT, ROLE, role_id="role-app")
            branch = postgres.create_branch("projects/begun", Branch(spec=FOREVER), "copy")
            deletion = postgres.delete_project("projects/begun")
            platform.kill()
        with running_platform(directory) as platform:
            assert failure(platform, role)[0] == "ABORTED"
            done(platform, deletion)
            done(platform, platform.workspace().postgres.undelete_project("projects/begun"))
            assert ended(platform, branch).error is None
            status = platform.workspace().postgres.get_endpoint(f"{ROOT}/endpoints/primary").status
            assert status is not None
            assert status.current_state is EndpointStatusState.ACTIVE
