"""A project and an instance are two views of one thing on the local platform, whichever API made it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from databricks.sdk.errors import AlreadyExists, NotFound
from databricks.sdk.service.database import DatabaseInstance, DatabaseInstanceState
from databricks.sdk.service.postgres import (
    Branch,
    BranchSpec,
    Endpoint,
    EndpointGroupSpec,
    EndpointSpec,
    EndpointType,
    InitialEndpointSpec,
    Project,
    ProjectSpec,
)
from google.protobuf.duration_pb2 import Duration

from tests.local.parts import asked, branched, done, ended, mask
from tests.servers.platform import platform_directory, running_platform
from tests.servers.process import wait_for

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

    from tests.servers.platform import LocalPlatform


async def test_a_project_is_an_instance_and_an_instance_a_project(
    platform: LocalPlatform, workspace: WorkspaceClient
) -> None:
    """What one API changes the other shows. A capacity CU_n is 8n units, or the smallest that has as many."""
    database, postgres = workspace.database, workspace.postgres
    group = EndpointGroupSpec(min=2, max=2, enable_readable_secondaries=True)
    initial = InitialEndpointSpec(autoscaling_limit_min_cu=2, autoscaling_limit_max_cu=12, group=group)
    spec = ProjectSpec(display_name="Both", history_retention_duration=Duration(seconds=9 * 86_400))
    done(platform, postgres.create_project(Project(spec=spec, initial_endpoint_spec=initial), "both"))
    root = "projects/both/branches/production"
    instance = database.get_database_instance("both")
    project = postgres.get_project("projects/both")
    assert (instance.uid, instance.creator) == (project.uid, platform.user)
    assert (instance.capacity, instance.effective_node_count, instance.retention_window_in_days) == ("CU_2", 2, 9)
    hosts = postgres.get_endpoint(f"{root}/endpoints/primary").status.hosts  # type: ignore[union-attr] # it is there
    assert hosts is not None
    assert (instance.read_write_dns, instance.read_only_dns) == (hosts.host, hosts.read_only_host)
    changed = DatabaseInstance("both", capacity="CU_1", enable_readable_secondaries=False, node_count=1)
    fields = "capacity,enable_readable_secondaries,node_count"
    assert database.update_database_instance("both", changed, fields).state is DatabaseInstanceState.UPDATING
    platform.wait_for_instance("both", DatabaseInstanceState.AVAILABLE)
    status = postgres.get_endpoint(f"{root}/endpoints/primary").status
    assert status is not None
    assert status.group is not None
    assert (status.autoscaling_limit_min_cu, status.autoscaling_limit_max_cu, status.group.max) == (8, 8, 1)
    off = Endpoint(spec=EndpointSpec(EndpointType.ENDPOINT_TYPE_READ_WRITE, disabled=True))
    done(platform, postgres.update_endpoint(f"{root}/endpoints/primary", off, mask("spec.disabled")))
    stopped = database.get_database_instance("both")
    assert (stopped.state, stopped.effective_stopped) == (DatabaseInstanceState.STOPPED, True)
    database.delete_database_instance("both", purge=True)

    def is_gone() -> bool:
        return "both" not in [one.project_id for one in postgres.list_projects(show_deleted=True)]

    wait_for(is_gone, what=platform.log)


async def test_a_deleted_project_holds_its_name_until_it_is_purged_or_had_back(
    platform: LocalPlatform, workspace: WorkspaceClient
) -> None:
    """It is no instance meanwhile, and neither API gives its name away. Undeleted it has its data, on every branch."""
    database, postgres = workspace.database, workspace.postgres
    done(platform, postgres.create_project(Project(), "lost"))
    root = "projects/lost/branches/production"
    await asked(platform, root, "CREATE SCHEMA kept")
    copy = branched(platform, "projects/lost", "copy")
    done(platform, postgres.delete_project("projects/lost"))
    shown = postgres.get_project("projects/lost")
    assert shown.delete_time is not None
    assert shown.purge_time is not None
    assert "lost" not in [one.project_id for one in postgres.list_projects()]
    assert "lost" in [one.project_id for one in postgres.list_projects(show_deleted=True)]
    with pytest.raises(NotFound):
        database.get_database_instance("lost")
    for call in (
        lambda: database.create_database_instance(DatabaseInstance("lost")),
        lambda: postgres.create_project(Project(), "lost"),
    ):
        with pytest.raises(AlreadyExists):
            call()
    for name in (root, copy):
        with pytest.raises(NotFound):
            postgres.get_branch(name)
    with pytest.raises(NotFound):
        postgres.delete_project("projects/lost")
    done(platform, postgres.undelete_project("projects/lost"))
    assert postgres.get_project("projects/lost").delete_time is None
    for branch in (root, copy):
        assert await asked(platform, branch, "SELECT to_regnamespace('kept') IS NOT NULL")
    done(platform, postgres.delete_project("projects/lost"))
    done(platform, postgres.delete_project("projects/lost", purge=True))
    for lookup in (postgres.get_project, postgres.undelete_project):
        with pytest.raises(NotFound):
            lookup("projects/lost")


def test_what_the_documentation_leaves_open_is_an_option() -> None:
    """Deleted ones may not be found, a branch may come without an endpoint, and the term to a purge may be short."""
    with (
        platform_directory() as directory,
        running_platform(directory, deleted_are_found=False, branch_endpoints=False, purge_after=0.5) as platform,
    ):
        postgres = platform.workspace().postgres
        done(platform, postgres.create_project(Project(), "odd"))
        for number in range(9):
            name = branched(platform, "projects/odd", f"copy-{number}")
        assert list(postgres.list_endpoints(name)) == []
        with pytest.raises(Exception, match="at most 10 unarchived"):
            postgres.create_branch("projects/odd", Branch(spec=BranchSpec(no_expiry=True)), "copy-9")
        body = Endpoint(spec=EndpointSpec(EndpointType.ENDPOINT_TYPE_READ_WRITE))
        done(platform, postgres.create_endpoint(name, body, "mine"))
        assert [one.endpoint_id for one in postgres.list_endpoints(name)] == ["mine"]
        ended(platform, postgres.delete_project("projects/odd"))
        with pytest.raises(NotFound):
            postgres.get_project("projects/odd")
        wait_for(lambda: platform.inventory()["projects"] == [], what=platform.log)
        assert list((directory / "instances").iterdir()) == []
        done(platform, postgres.create_project(Project(), "odd"))
