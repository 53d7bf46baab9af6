"""What the Postgres API's objects say in the schema's words, and what failures of its operations mean."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from databricks.sdk.service import postgres as api

from schema.errors import Reason
from schema.ports.administration import Catalog, SyncState
from schema.ports.instances import NEVER, InstanceState
from server.lakebase.platform.autoscaling.conversions import read_endpoint, read_project, read_synced_table
from server.lakebase.platform.autoscaling.projects import ProjectCalls
from server.lakebase.platform.autoscaling.tables import TableCalls

ENDPOINT = "projects/orders-pg/branches/production/endpoints/primary"
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
    found = read_project(project(), read_endpoint(endpoint(**status)))
    assert (found.state, found.suspended) == (state, suspended)


def test_a_project_without_an_endpoint_is_being_created() -> None:
    """Nothing is known of its size then."""
    found = read_project(project(), None)
    assert (found.name, found.state, found.min_cu, found.stopped) == ("orders-pg", InstanceState.STARTING, None, None)
    gone = read_project(project(delete_time=NOON, purge_time="2026-11-30T12:00:00Z"), None)
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
    assert (unknown.database_name, unknown.branch, unknown.server) == (None, None, "orders-pg")
    asked = {"source": "s.s.s", "primary_key": ["k"], "policy": "SNAPSHOT", "database_name": "d", "branch": "dev"}
    known = read_synced_table(found, "a.b.c", "https://example.com", asked)
    assert (known.source, known.primary_key, known.server) == ("s.s.s", ("k",), "projects/orders-pg/branches/dev")


class Answering:
    """A client of the workspace whose every call has this result."""

    host = "https://example.com"

    def __init__(self, result: Any) -> None:
        self._result = result

    async def find(self, *_: Any) -> Any:
        """The result."""
        return self._result


class Told(ProjectCalls):
    """The calls of a platform that tells this of every operation."""

    def __init__(self, operation: dict[str, Any] | None) -> None:
        self._client: Any = Answering(None if operation is None else api.Operation.from_dict(operation))


@pytest.mark.parametrize(
    ("operation", "done", "reason"),
    [
        (None, True, None),
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
    operation: dict[str, Any] | None,
    done: bool,  # noqa: FBT001 # a value of the table
    reason: str | None,
) -> None:
    """Done without an error says nothing: what exists is what a read shows."""
    outcome = await Told(operation).outcome_of("o")
    assert outcome.done is done
    assert (outcome.failure and outcome.failure.reason) == (Reason[reason] if reason else None)


class Shown(TableCalls):
    """The calls of a platform that shows a synced table in a database catalog. This was asked for."""

    def __init__(self, asked: dict[str, Any] | None) -> None:
        self._client: Any = Answering(api.SyncedTable.from_dict({"name": "synced_tables/a.b.c", "uid": "t1"}))
        self._asked = Asked(asked)

    async def catalog(self, name: str) -> Catalog | None:
        """The catalog of the table."""
        return Catalog(name, "c1", "orders-pg", "orders", "production")


class Asked:
    """What was asked for, whatever the resource."""

    def __init__(self, asked: dict[str, Any] | None) -> None:
        self._asked = asked

    async def note(self, *_: Any) -> None:
        """Forget it."""

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
