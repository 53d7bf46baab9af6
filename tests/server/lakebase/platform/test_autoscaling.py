"""What the Postgres API's objects say in the schema's words, and what failures of its operations mean."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from databricks.sdk.errors import BadRequest, InternalError, NotFound, PermissionDenied
from databricks.sdk.service import postgres as api

from schema.errors import PlatformError, Reason
from schema.ports.admin.instances import NEVER, InstanceState
from schema.ports.admin.tables import Catalog, SyncState
from server.lakebase.platform.autoscaling import projects
from server.lakebase.platform.autoscaling.conversions import (
    read_branch,
    read_endpoint,
    read_project,
    read_synced_table,
    with_endpoint,
)
from server.lakebase.platform.autoscaling.platform import AutoscalingPlatform
from tests.support.workspace import DirectClient, raising

if TYPE_CHECKING:
    from databricks.sdk.errors.base import DatabricksError

BRANCH = "projects/orders-pg/branches/production"
ENDPOINT = f"{BRANCH}/endpoints/primary"
NOON = "2026-11-23T12:00:00Z"


def endpoint(**status: Any) -> api.Endpoint:
    """An endpoint with this status, as the platform sends it: without a spec."""
    return api.Endpoint.from_dict({"name": ENDPOINT, "status": {"endpoint_type": "ENDPOINT_TYPE_READ_WRITE", **status}})


def project(**fields: Any) -> api.Project:
    """A project with these fields."""
    return api.Project.from_dict({"name": "projects/orders-pg", "uid": "p1", **fields})


@pytest.mark.parametrize(
    ("status", "state", "suspended"),
    [
        ({"current_state": "ACTIVE"}, InstanceState.AVAILABLE, False),
        ({"current_state": "IDLE"}, InstanceState.AVAILABLE, True),
        ({"current_state": "DEGRADED"}, InstanceState.AVAILABLE, False),
        ({"current_state": "INIT"}, InstanceState.STARTING, False),
        ({"current_state": "ACTIVE", "pending_state": "ACTIVE"}, InstanceState.AVAILABLE, False),
        ({"current_state": "ACTIVE", "pending_state": "IDLE"}, InstanceState.AVAILABLE, False),
        ({"current_state": "IDLE", "pending_state": "ACTIVE"}, InstanceState.AVAILABLE, True),
        ({"current_state": "ACTIVE", "pending_state": "INIT"}, InstanceState.UPDATING, False),
        ({"current_state": "IDLE", "disabled": True}, InstanceState.STOPPED, False),
        ({"current_state": "ACTIVE", "disabled": True}, InstanceState.STOPPED, False),
        # A state of a later release, which the SDK does not know.
        ({"current_state": "DREAMING"}, InstanceState.UNKNOWN, False),
        ({}, InstanceState.UNKNOWN, False),
    ],
)
def test_the_state_of_an_instance_is_that_of_its_endpoint(
    status: dict[str, Any],
    state: InstanceState,
    suspended: bool,  # noqa: FBT001 # a value of the table
) -> None:
    """Asleep is available; disabled is stopped."""
    found = with_endpoint(read_project(project()), BRANCH, read_endpoint(endpoint(**status)))
    assert (found.state, found.suspended) == (state, suspended)


def test_a_project_without_an_endpoint_is_being_created() -> None:
    """Nothing is known of its size then."""
    found = with_endpoint(read_project(project()), BRANCH, None)
    assert (found.name, found.state, found.min_cu, found.stopped) == ("orders-pg", InstanceState.STARTING, None, None)
    gone = read_project(project(delete_time=NOON, purge_time="2026-11-30T12:00:00Z"))
    assert gone.state is InstanceState.DELETED
    assert (gone.deleted_at, gone.purge_at) == (
        datetime(2026, 11, 23, 12, tzinfo=UTC),
        datetime(2026, 11, 30, 12, tzinfo=UTC),
    )


def test_an_endpoint_without_a_suspension_never_falls_asleep() -> None:
    """The platform has no field for never."""
    assert read_endpoint(endpoint()).suspend_after_seconds == NEVER
    assert read_endpoint(endpoint(suspend_timeout_duration="300s")).suspend_after_seconds == 300


def test_a_synced_table_has_only_what_was_asked_for_besides_its_status() -> None:
    """The platform does not tell its source, its key or its place."""
    status = {"detailed_state": "SYNCED_TABLE_ONLINE", "project": "projects/orders-pg", "pipeline_id": "p"}
    found = api.SyncedTable.from_dict({"name": "synced_tables/a.b.c", "uid": "t1", "status": status})
    unknown = read_synced_table(found, "a.b.c", "https://example.com", None)
    assert (unknown.state, unknown.instance_name, unknown.source, unknown.primary_key, unknown.policy) == (
        SyncState.ONLINE,
        "orders-pg",
        None,
        None,
        None,
    )
    assert (unknown.database_name, unknown.branch) == (None, None)
    asked = {"source": "s.s.s", "primary_key": ["k"], "policy": "SNAPSHOT", "database_name": "d", "branch": "dev"}
    known = read_synced_table(found, "a.b.c", "https://example.com", asked)
    # A policy of a later release.
    assert read_synced_table(found, "a.b.c", "", {**asked, "policy": "HOURLY"}).policy is None
    assert (known.source, known.primary_key, known.server) == ("s.s.s", ("k",), "projects/orders-pg/branches/dev")


class Calls(AutoscalingPlatform):
    """The calls of a platform, on a client of the test."""

    def __init__(self, **methods: Any) -> None:
        self._client = DirectClient(**methods)
        self._asked, self._creations = None, {}


def branches(number: int, *, default: int) -> list[api.Branch]:
    """So many branches, and one without a name."""
    found = [
        {"name": f"projects/orders-pg/branches/b{each:03}", "status": {"default": each == default}}
        for each in range(number)
    ]
    return [api.Branch.from_dict(each) for each in [{}, *found]]


async def test_every_branch_is_read_whatever_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them is the default or protected one. An entry without a name is left out; an endless list is an error."""
    calls = Calls(list_branches=lambda *_, **__: iter(branches(150, default=149)))
    found = await calls.branches("orders-pg")
    assert len(found) == 150
    assert found[-1].is_default
    monkeypatch.setattr(projects, "_MAX_BELOW", 100)
    with pytest.raises(PlatformError) as refused:
        await calls.branches("orders-pg")
    assert refused.value.reason is Reason.CONTROL_PLANE_REFUSED


async def test_a_project_that_does_not_tell_its_default_branch_is_connected_to_by_that_of_the_list() -> None:
    """By its bare name it would be an instance of the other API. Without a default branch it cannot be connected to."""
    listed: list[api.Branch] = branches(3, default=1)
    calls = Calls(
        get_project=lambda _: project(status={}),
        list_branches=lambda *_, **__: iter(listed),
        list_endpoints=lambda *_, **__: iter([endpoint()]),
    )
    found = await calls.instance("orders-pg")
    assert found is not None
    assert (found.server, found.endpoint) == ("projects/orders-pg/branches/b001", ENDPOINT)
    listed[:] = branches(3, default=9)
    found = await calls.instance("orders-pg")
    assert found is not None
    assert (found.server, found.state) == (None, InstanceState.STARTING)


@pytest.mark.parametrize(
    ("kinds", "main"),
    [
        (["ENDPOINT_TYPE_OF_A_LATER_RELEASE", "ENDPOINT_TYPE_READ_WRITE"], 1),
        (["ENDPOINT_TYPE_READ_ONLY", "ENDPOINT_TYPE_READ_WRITE"], 1),
        (["ENDPOINT_TYPE_OF_A_LATER_RELEASE"], 0),
        (["ENDPOINT_TYPE_OF_A_LATER_RELEASE", "ENDPOINT_TYPE_READ_ONLY"], None),
        (["ENDPOINT_TYPE_READ_ONLY"], None),
    ],
)
async def test_an_endpoint_of_an_unknown_kind_is_the_main_one_only_if_it_is_alone(
    kinds: list[str], main: int | None
) -> None:
    """Otherwise another endpoint would be stopped or resized."""
    listed = [endpoint(endpoint_type=kind) for kind in kinds]
    for number, one in enumerate(listed):
        one.name = f"{BRANCH}/endpoints/e{number}"
    calls = Calls(
        get_project=lambda _: project(status={"default_branch": BRANCH}),
        list_endpoints=lambda *_, **__: iter(listed),
    )
    found = await calls.instance("orders-pg")
    assert found is not None
    assert found.endpoint == (None if main is None else f"{BRANCH}/endpoints/e{main}")


async def test_an_instance_whose_endpoint_is_not_read_is_in_an_unknown_state() -> None:
    """It may be available or stopped: it is not STARTING."""
    calls = Calls(
        get_project=lambda _: project(status={"default_branch": BRANCH}),
        list_endpoints=raising(InternalError("no answer")),
    )
    (found,) = await calls.in_full([read_project(project(status={"default_branch": BRANCH}))])
    assert (found.name, found.state, found.stopped) == ("orders-pg", InstanceState.UNKNOWN, None)


def test_a_branch_in_the_state_deleted_is_deleted_although_its_time_is_not_told() -> None:
    """It is not among those that can be protected, restored or counted."""
    told = {"name": BRANCH, "status": {"current_state": "DELETED", "state_change_time": NOON}}
    assert read_branch(api.Branch.from_dict(told)).deleted_at == datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert read_branch(api.Branch.from_dict({"name": BRANCH, "status": {"current_state": "DELETED"}})).deleted_at
    assert read_branch(api.Branch.from_dict({"name": BRANCH, "status": {"current_state": "READY"}})).deleted_at is None


async def test_the_place_of_a_table_that_does_not_tell_its_project_is_that_of_its_catalog() -> None:
    """Also if the catalog tells only its branch."""
    catalog = api.Catalog.from_dict({"status": {"branch": BRANCH, "postgres_database": "orders"}})
    calls = Calls(
        get_synced_table=lambda _: api.SyncedTable.from_dict({"uid": "t1", "status": {}}),
        get_catalog=lambda _: catalog,
    )
    found = await calls.synced_table("orders_catalog.public.orders")
    assert found is not None
    assert (found.server, found.database_name) == (BRANCH, "orders")
    # Without a branch nobody knows where its rows are.
    catalog.status = api.CatalogCatalogStatus(postgres_database="orders", project="projects/orders-pg")
    registered = await calls.catalog("orders_catalog")
    found = await calls.synced_table("orders_catalog.public.orders")
    assert found is not None
    assert registered is not None
    assert [(one.instance_name, one.server) for one in (found, registered)] == [("orders-pg", None)] * 2


@pytest.mark.parametrize("error", [PermissionDenied("no"), BadRequest("what?"), NotFound("gone")])
async def test_an_operation_that_the_platform_does_not_show_is_over(error: DatabricksError) -> None:
    """It is no failure: the read of the resource shows what is."""
    outcome = await Calls(get_operation=raising(error)).outcome_of("o")
    assert (outcome.done, outcome.failure) == (True, None)


@pytest.mark.parametrize(
    ("operation", "done", "reason"),
    [
        ({"name": "o"}, False, None),
        ({"name": "o", "done": False}, False, None),
        ({"name": "o", "done": True}, True, None),
        ({"done": True, "error": {"error_code": "ALREADY_EXISTS", "message": "There is one."}}, True, "SPEC_CONFLICT"),
        ({"done": True, "error": {"error_code": "RESOURCE_EXHAUSTED"}}, True, "CONTROL_PLANE_BUSY"),
        ({"done": True, "error": {"error_code": "PERMISSION_DENIED"}}, True, "PERMISSION_MISSING"),
        ({"done": True, "error": {"error_code": "INTERNAL_ERROR"}}, True, "CONTROL_PLANE_UNAVAILABLE"),
        # A code of a later release.
        ({"done": True, "error": {"error_code": "OUT_OF_COFFEE", "message": "No."}}, True, "CONTROL_PLANE_UNAVAILABLE"),
    ],
)
async def test_an_operation_is_asked_only_whether_it_is_over_and_why_it_failed(
    operation: dict[str, Any],
    done: bool,  # noqa: FBT001 # a value of the table
    reason: str | None,
) -> None:
    """Done without an error says nothing: what exists is what a read shows."""
    outcome = await Calls(get_operation=lambda _: api.Operation.from_dict(operation)).outcome_of("o")
    assert outcome.done is done
    assert (outcome.failure and outcome.failure.reason) == (Reason[reason] if reason else None)


class Shown(Calls):
    """The calls of a platform that shows a synced table in a database catalog. This was asked for."""

    def __init__(self, asked: dict[str, Any] | None) -> None:
        table = api.SyncedTable.from_dict({"name": "synced_tables/a.b.c", "uid": "t1"})
        super().__init__(get_synced_table=lambda _: table)
        self._asked: Any = Asked(asked)

    async def catalog(self, name: str) -> Catalog | None:
        """The catalog of the table."""
        return Catalog(name, "c1", "orders-pg", "orders", "production")


class Asked:
    """What was asked for, whatever the table."""

    def __init__(self, asked: dict[str, Any] | None) -> None:
        self._asked = asked

    async def of(self, *_: Any) -> dict[str, Any] | None:
        """What was asked for."""
        return self._asked


@pytest.mark.parametrize(
    ("asked", "place", "source"),
    [
        (None, ("production", "orders"), None),
        # The catalog was hidden when the table was asked for, so the platform chose its place.
        ({"source": "s.s.s", "branch": None, "database_name": None}, ("production", "orders"), "s.s.s"),
        ({"source": "s.s.s", "branch": "dev", "database_name": "d"}, ("dev", "d"), "s.s.s"),
    ],
)
async def test_a_table_is_where_it_was_asked_for_or_else_where_its_catalog_is(
    asked: dict[str, Any] | None, place: tuple[str, str], source: str | None
) -> None:
    """So its place is known, though the platform does not tell it."""
    found = await Shown(asked).synced_table("a.b.c")
    assert found is not None
    assert ((found.branch, found.database_name), found.source) == (place, source)
