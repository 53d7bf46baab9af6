"""The local platform's SCIM API: identities and their groups, as the real SDK reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.errors import BadRequest, NotFound

from tests.servers.platform import platform_directory, running_platform
from tests.servers.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from databricks.sdk.service.iam import ComplexValue

    from tests.servers.platform import LocalPlatform

SCIM = "/api/2.0/preview/scim/v2"
GROUPS = {
    "orders readers": ["ann@example.com", "Bob@example.com", "an-app"],
    "orders writers": ["ann@example.com", "operator@example.com"],
    "nobody": [],
}


@pytest.fixture(scope="module")
def grouped() -> Iterator[LocalPlatform]:
    """A local platform with groups and without instances."""
    with platform_directory() as directory, running_platform(directory, groups=GROUPS) as platform:
        yield platform


@pytest.fixture
def workspace(grouped: LocalPlatform) -> WorkspaceClient:
    """The SDK's client of it, as the operator."""
    return grouped.workspace(retry_timeout_seconds=PATIENCE_SECONDS)


def displayed(groups: list[ComplexValue] | None) -> list[str | None]:
    """The names of the groups. Asserts that each is direct and has an id."""
    assert all(group.type == "direct" and group.value for group in groups or [])
    return [group.display for group in groups or []]


def test_users_are_the_operator_and_the_members_of_groups(grouped: LocalPlatform, workspace: WorkspaceClient) -> None:
    """Both of the SDK's APIs list them, in pages of any size, and get each by its id as it is in the list."""
    users = list(workspace.users_v2.list())
    assert {user.user_name: displayed(user.groups) for user in users} == {
        "ann@example.com": ["orders readers", "orders writers"],
        "Bob@example.com": ["orders readers"],
        grouped.user: ["orders writers"],
    }
    assert users == list(workspace.users.list(count=1))
    assert [workspace.users_v2.get(str(user.id)) for user in users] == users
    with pytest.raises(NotFound, match="not found"):
        workspace.users_v2.get("7")


@pytest.mark.parametrize("text", ['userName eq "bob@example.com"', 'username EQ "Bob@example.com"'])
def test_a_user_is_found_by_name(workspace: WorkspaceClient, text: str) -> None:
    """The case does not matter. Only the requested attributes are returned. An unknown name is not listed."""
    [user] = workspace.users_v2.list(filter=text, attributes="groups.display,userName")
    assert (user.user_name, displayed(user.groups), user.emails) == ("Bob@example.com", ["orders readers"], [])
    [user] = workspace.users_v2.list(filter=text, excluded_attributes="groups")
    assert (user.display_name, user.groups) == ("Bob@example.com", [])
    assert list(workspace.users_v2.list(filter='userName eq "carl@example.com"')) == []


def test_service_principals_are_found_by_their_client_ids(grouped: LocalPlatform, workspace: WorkspaceClient) -> None:
    """They are the platform's own service principal, which is in no group here, and the members of groups."""
    principals = {one.application_id: one for one in workspace.service_principals.list(count=1)}
    assert set(principals) == {grouped.client_id, "an-app"}
    assert displayed(principals[grouped.client_id].groups) == []
    [found] = workspace.service_principals.list(filter='applicationId eq "an-app"')
    assert displayed(found.groups) == ["orders readers"]
    assert found == principals["an-app"] == workspace.service_principals_v2.get(str(found.id))
    with pytest.raises(NotFound):
        workspace.service_principals.get("7")


def test_the_caller_is_the_identity_in_the_list(grouped: LocalPlatform, workspace: WorkspaceClient) -> None:
    """It has its groups. A service principal may look up other identities too."""
    me = workspace.current_user.me()
    assert [me] == list(workspace.users_v2.list(filter=f'userName eq "{grouped.user}"'))
    assert displayed(me.groups) == ["orders writers"]
    config = Config(
        host=grouped.host,
        client_id=grouped.client_id,
        client_secret=grouped.client_secret,
        auth_type="oauth-m2m",
    )
    principal = WorkspaceClient(config=config)
    myself = principal.current_user.me()
    [listed] = principal.service_principals.list(filter=f'applicationId eq "{grouped.client_id}"')
    assert (myself.id, myself.user_name) == (listed.id, grouped.client_id)


def test_unsupported_queries_are_refused_with_scim_errors(grouped: LocalPlatform, workspace: WorkspaceClient) -> None:
    """So are unsupported filters and invalid pages. Without a token it is a 401."""
    for text in ('userName sw "a"', 'shoeSize eq "40"', "userName"):
        with pytest.raises(BadRequest, match="not supported"):
            list(workspace.users_v2.list(filter=text))
    headers = {"authorization": f"Bearer {grouped.token}"}
    refused = httpx.get(f"{grouped.host}{SCIM}/Users?count=x", headers=headers)
    assert (refused.status_code, refused.json()["status"]) == (400, "400")
    assert httpx.get(f"{grouped.host}{SCIM}/Users").status_code == 401
