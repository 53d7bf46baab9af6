"""What a login finds at an address of the platform, and what is counted where nobody can log in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final

import pytest
from databricks.sdk.errors import NotFound
from databricks.sdk.service import postgres as api

from server.lakebase.database.inspection import Postgres
from server.lakebase.login.instances import Instances
from server.lakebase.platform.login_api import LoginApi
from tests.server.conftest import patient_settings
from tests.support.workspace import DirectClient, raising

BRANCH: Final = "projects/orders-pg/branches/production"
PRIMARY: Final = f"{BRANCH}/endpoints/primary"
GONE: Final = raising(NotFound("gone"))
READ_WRITE, READ_ONLY = "ENDPOINT_TYPE_READ_WRITE", "ENDPOINT_TYPE_READ_ONLY"


class Logins(LoginApi):
    """The calls for logins, on a client of the test."""

    def __init__(self, **methods: Any) -> None:
        self._client = DirectClient(**methods)


def endpoint(name: str, kind: str | None) -> api.Endpoint:
    """An endpoint of this type."""
    status = {"hosts": {"host": f"{name}.example.com"}, **({"endpoint_type": kind} if kind else {})}
    return api.Endpoint.from_dict({"name": f"{BRANCH}/endpoints/{name}", "status": status})


def branch(**status: Any) -> api.Branch:
    """The branch with this status."""
    return api.Branch.from_dict({"name": BRANCH, "status": status})


@pytest.mark.parametrize(
    ("served", "methods", "counted"),
    [
        # A branch that nobody can connect to may hold anything.
        ("", {"list_endpoints": lambda _: []}, None),
        ("", {"list_endpoints": lambda _: [endpoint("replica", READ_ONLY)]}, None),
        # So may the served branch, whose endpoint was deleted or is misspelt in the setting.
        (PRIMARY, {"get_endpoint": GONE, "get_branch": lambda _: branch()}, None),
        # These have no databases any more.
        ("", {"list_endpoints": GONE}, 0),
        (PRIMARY, {"get_endpoint": GONE, "get_branch": GONE}, 0),
        (
            PRIMARY,
            {"get_endpoint": GONE, "get_branch": lambda _: branch(delete_time="2026-11-23T12:00:00Z")},
            0,
        ),
    ],
)
async def test_the_status_changes_of_a_branch_without_an_endpoint_cannot_be_counted(
    served: str, methods: dict[str, Any], counted: int | None
) -> None:
    """They are not none: their deletion has to be asked for. Only a branch that is gone has none."""
    settings = patient_settings("postgresql://h/db").model_copy(update={"lakebase_endpoint": served or None})

    async def load() -> Any:
        return SimpleNamespace(logins=Logins(**methods))

    loader: Any = SimpleNamespace(get=load)
    assert await Postgres(Instances(settings, loader), settings).count_changes(BRANCH) == counted


@pytest.mark.parametrize(
    ("listed", "host"),
    [
        ([("primary", READ_WRITE)], "primary.example.com"),
        ([("replica", READ_ONLY), ("primary", READ_WRITE)], "primary.example.com"),
        # Types that the SDK does not know, or that the platform does not tell.
        ([("analytics", "ENDPOINT_TYPE_OF_A_LATER_RELEASE"), ("primary", READ_WRITE)], "primary.example.com"),
        ([("primary", None)], "primary.example.com"),
        ([("first", None), ("second", None)], None),
        ([("replica", READ_ONLY)], None),
    ],
)
async def test_a_login_goes_to_the_read_write_endpoint_of_a_branch(
    listed: list[tuple[str, str | None]], host: str | None
) -> None:
    """An endpoint of an unknown type is taken for it only if it is the only one."""
    found = await Logins(list_endpoints=lambda _: [endpoint(*one) for one in listed]).find_endpoint(BRANCH)
    assert found is not None
    assert found.host == host


async def test_the_uid_is_not_that_of_an_instance_that_had_the_name_before() -> None:
    """The platform's answer may be on its way while an operation deletes the instance and creates another."""
    settings = patient_settings("postgresql://h/db").model_copy(update={"lakebase_endpoint": PRIMARY})
    uids = ["deleted", "new"]

    class Renamed(Logins):
        async def branch_uid(self, name: str) -> str:
            assert name == PRIMARY
            if len(uids) > 1:
                instances.forget("orders-pg")
            return uids.pop(0)

    async def load() -> Any:
        return SimpleNamespace(logins=Renamed())

    loader: Any = SimpleNamespace(get=load)
    instances = Instances(settings, loader)
    assert await instances.uid(PRIMARY) == "new"
    assert await instances.uid(PRIMARY) == "new"
