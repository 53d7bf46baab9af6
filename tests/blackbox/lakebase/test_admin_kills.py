"""Operations interrupted by `kill -9`: they are resumed within ten seconds, and nothing is created twice or orphaned.

A lease lasts for seconds, and so does the pause between two searches for orphans. Where a test is not about these times,
the server has shorter ones.
"""

from __future__ import annotations

import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from databricks.sdk.service import postgres
from databricks.sdk.service.database import SyncedTableState

from tests.servers.flavours import AUTOSCALING, FLAVOURS, PROVISIONED, Flavour
from tests.servers.operator import HASTE, TABLE, Operator, operated, plain_id
from tests.servers.platform import AT_ONCE, platform_directory, running_platform, synced_table
from tests.servers.process import PATIENCE_SECONDS, free_port, wait_for
from tests.support.calibration import hold

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from tests.servers.platform import LocalPlatform

pytestmark = pytest.mark.faults

PROVISION: tuple[str, dict[str, object]] = ("provisionLakebase", {"acknowledgeCost": True})
TEARDOWN: tuple[str, dict[str, object]] = (
    "teardownLakebase",
    {"confirmDeletion": True, "discardStatusChanges": True, "purge": True},
)
REFRESH: tuple[str, dict[str, object]] = ("refreshSyncedTable", {"name": TABLE})
# A refresh that begins with its safety net, which only instances of the Autoscaling API have.
REFRESH_WITH_NET: tuple[str, dict[str, object]] = (
    "refreshSyncedTable",
    {"name": TABLE, "safetyNet": True, "acknowledgeCost": True},
)
# For each call at which the server is killed: its mutation, and whether the operation is durable by then.
BOUNDARIES = {
    "create instance": (PROVISION, False),
    "create catalog": (PROVISION, False),
    "create table": (PROVISION, True),
    "start sync": (REFRESH, True),
    "create net": (REFRESH_WITH_NET, True),
    "delete table": (TEARDOWN, True),
    "delete catalog": (TEARDOWN, True),
    "delete instance": (TEARDOWN, False),
}
ALL = [(call, moment) for call in BOUNDARIES for moment in ("hold_before", "hold_after")]
SAMPLE = [("create instance", "hold_after"), ("create table", "hold_before"), ("create net", "hold_after")]
REFRESHING = {
    "start sync": ("POST", "/api/2.0/pipelines/.*/updates"),
    "create net": ("POST", f"{AUTOSCALING.instance}/branches"),
}
# For a server that is killed: its lease ends soon. If it is renewed too late, no other server is there to claim it.
SOON_OVER = MappingProxyType(
    {**HASTE, "server.lakebase.operations.table.LEASE_SECONDS": 0.3, "server.lakebase.execution.HEARTBEAT_SECONDS": 0.1}
)
# For a server that is stopped: its lease does not end by itself, so it has to be released.
NEVER_OVER = MappingProxyType({**HASTE, "server.lakebase.operations.table.LEASE_SECONDS": 3600})
# For the servers that resume its operations.
LOOKS_OFTEN = MappingProxyType({**HASTE, "server.lakebase.runner._POLL_SECONDS": 0.1})
# The server with its own constants.
PRODUCT: Mapping[str, float] = MappingProxyType({})
# A lease ends within 6 s, and a search follows; a released lease is found by the next search.
LEASE_SECONDS, LOOK_SECONDS = 7, 5


class Kept(NamedTuple):
    """A platform, and the flavour of the instances that are kept there."""

    platform: LocalPlatform
    flavour: Flavour


@pytest.fixture(scope="module", params=FLAVOURS, ids=lambda flavour: flavour.name)
def kept(request: pytest.FixtureRequest) -> Iterator[Kept]:
    """A platform of the flavour's own, as quick as it can be."""
    with platform_directory() as directory, running_platform(directory, **AT_ONCE) as platform:
        yield Kept(platform, request.param)


def served(kept: Kept, altered: Mapping[str, float], *, port: int | None = None) -> AbstractContextManager[Operator]:
    """An operator of a server with these constants changed; without any it is the server as it is."""
    module = "tests.servers.hasty" if altered else "server"
    return operated(kept.platform, port=port, module=module, altered=altered, **kept.flavour.settings)


def counts(kept: Kept) -> dict[str, int]:
    """The number of each kind of resource."""
    return kept.flavour.counts(kept.platform)


def nets(kept: Kept) -> set[str]:
    """The names of the safety nets."""
    projects: list[dict[str, Any]] = kept.platform.inventory()["projects"]
    return {name for project in projects for name in project["branches"] if name.startswith("before-")}


def killed_at(kept: Kept, operator: Operator, call: str, moment: str) -> dict[str, Any]:
    """Send the mutation that makes this call, and kill the server while the platform holds the call; return the payload."""
    (mutation, values), durable = BOUNDARIES[call]
    method, path = {**kept.flavour.calls(), **REFRESHING}[call]
    kept.platform.fault(moment, method=method, path=path, times=1)
    payload = operator.send(mutation, **values)

    def reached() -> bool:
        # The next heartbeat may be what makes it durable.
        operation = operator.operation(payload["operation"]["id"])
        return bool(kept.platform.held() and operation and operation["durable"] == durable)

    wait_for(reached, what=lambda: f"{call} to be held: {operator.server.log()[-2000:]}")
    operator.server.kill()
    wait_for(lambda: not kept.platform.held(), what=lambda: "the platform to see that its client is gone")
    return payload


def check_succession(
    kept: Kept, call: str, moment: str, *, victim: Mapping[str, float], heir: Mapping[str, float]
) -> float:
    """Kill a server at a call, and let another one resume; return the seconds until it does."""
    (mutation, values), durable = BOUNDARIES[call]
    if call == "create net" and kept.flavour is not AUTOSCALING:
        pytest.skip("the Provisioned API has no branches")
    with served(kept, victim) as operator:
        if mutation != PROVISION[0]:
            operator.provisioned()
        elif any(counts(kept).values()):
            operator.done(TEARDOWN[0], **TEARDOWN[1])
        before = nets(kept)
        payload = killed_at(kept, operator, call, moment)
    with served(kept, heir) as operator:
        started = time.monotonic()
        id_ = payload["operation"]["id"]
        if not durable:
            assert operator.operation(id_) is None
            payload = operator.send(mutation, **values)
        # The last call may have left nothing to do.
        if payload["operation"]:
            wait_for(lambda: resumed(operator, payload), what=lambda: operator.server.log()[-3000:])
        seconds = time.monotonic() - started
        if payload["operation"]:
            assert operator.ended(payload)["state"] == "SUCCEEDED"
        number = 0 if mutation == TEARDOWN[0] else 1
        # A project that is purged is gone for the reads of the API at once, and its PostgreSQL soon.
        wait_for(lambda: set(counts(kept).values()) == {number}, what=lambda: f"{number} of each, not {counts(kept)}")
        if call == "create net":
            assert nets(kept) - before == {payload["operation"]["steps"][0]["resource"].rpartition("/")[2]}
    return seconds


@pytest.mark.parametrize(("call", "moment"), SAMPLE)
def test_a_successor_resumes_after_a_kill(kept: Kept, call: str, moment: str) -> None:
    """A durable operation is resumed by itself, and one in memory when the mutation is sent again. Nothing is doubled."""
    check_succession(kept, call, moment, victim=SOON_OVER, heir=LOOKS_OFTEN)


@pytest.mark.long
@pytest.mark.parametrize(("call", "moment"), ALL)
def test_a_successor_resumes_within_ten_seconds_of_a_kill(kept: Kept, call: str, moment: str) -> None:
    """The same at every call, with the server's own leases."""
    seconds = check_succession(kept, call, moment, victim=PRODUCT, heir=PRODUCT)
    hold(f"succession at {call}, {moment}", seconds, computing_seconds=3, waiting_seconds=LEASE_SECONDS)


def resumed(operator: Operator, payload: dict[str, Any]) -> bool:
    """Whether the operation has ended, or this server runs it."""
    operation = operator.operation(payload["operation"]["id"])
    assert operation is not None
    return operation["state"] in ("SUCCEEDED", "FAILED", "CANCELLED") or claimed(operator, payload)


def claimed(operator: Operator, payload: dict[str, Any]) -> bool:
    """Whether this server has resumed the operation."""
    lines = [line for line in operator.server.log().splitlines() if "operation resumed" in line]
    return any(plain_id(payload["operation"]["id"]) in line for line in lines)


def check_survivor(kept: Kept, *, victim: Mapping[str, float], heir: Mapping[str, float]) -> float:
    """Kill one of two servers during an operation, and let the other one resume it; return the seconds that it takes."""
    with served(kept, heir) as survivor, served(kept, victim) as operator:
        operator.provisioned()
        payload = killed_at(kept, operator, "start sync", "hold_after")
        killed = time.monotonic()
        assert survivor.operation(payload["operation"]["id"]) is not None
        wait_for(lambda: claimed(survivor, payload), what=lambda: survivor.server.log()[-3000:])
        seconds = time.monotonic() - killed
        ended = survivor.ended(payload)
        assert (ended["state"], ended["failure"]) == ("SUCCEEDED", None), survivor.server.log()
    return seconds


def test_another_process_resumes_the_operation(kept: Kept) -> None:
    """A process that has seen an unfinished operation keeps searching, so the killed one need not come back."""
    check_survivor(kept, victim=SOON_OVER, heir=LOOKS_OFTEN)


@pytest.mark.long
def test_another_process_resumes_the_operation_within_twelve_seconds(kept: Kept) -> None:
    """It searches every five seconds, with the server's own leases."""
    seconds = check_survivor(kept, victim=PRODUCT, heir=PRODUCT)
    hold("taken up by a survivor", seconds, computing_seconds=5, waiting_seconds=LEASE_SECONDS)


def check_release(kept: Kept, *, stopped: Mapping[str, float], heir: Mapping[str, float]) -> float:
    """Stop one of two servers during an operation, and let the other one resume it; return the seconds that it takes."""
    with served(kept, heir) as survivor, served(kept, stopped) as operator:
        operator.provisioned()
        # With this fault the step never ends, and looks again and again.
        kept.platform.fault("internal_error", method="POST", path="/api/2.0/pipelines/.*/updates", times=None)
        payload = operator.send(REFRESH[0], **REFRESH[1])
        wait_for(
            lambda: "tries again" in str(operator.operation(payload["operation"]["id"])),
            what=lambda: f"the step to be tried again: {operator.server.log()[-2000:]}",
        )
        assert survivor.operation(payload["operation"]["id"]) is not None
        stopping = time.monotonic()
        operator.server.process.terminate()
        assert operator.server.process.wait(PATIENCE_SECONDS) == 0
        began = time.monotonic()
        hold("stopped at its work", began - stopping, computing_seconds=5)
        kept.platform.clear_faults()
        assert "stop cut short" not in operator.server.log()
        wait_for(lambda: resumed(survivor, payload), what=lambda: survivor.server.log()[-3000:])
        seconds = time.monotonic() - began
        assert survivor.ended(payload)["state"] == "SUCCEEDED"
        assert claimed(survivor, payload)
    return seconds


def test_a_stopped_process_releases_its_operations(kept: Kept) -> None:
    """It stops between two looks, with exit code 0; another process resumes, though the lease would last for an hour."""
    check_release(kept, stopped=NEVER_OVER, heir=LOOKS_OFTEN)


@pytest.mark.long
def test_a_released_operation_is_resumed_within_ten_seconds(kept: Kept) -> None:
    """By a process that searches every five seconds."""
    seconds = check_release(kept, stopped=PRODUCT, heir=PRODUCT)
    hold("let go of and taken up", seconds, computing_seconds=5, waiting_seconds=LOOK_SECONDS)


def replace_table(kept: Kept) -> None:
    """Delete the synced table as another client does, and create another one of its name."""
    workspace = kept.platform.workspace()
    if kept.flavour is PROVISIONED:
        workspace.database.delete_synced_database_table(TABLE, purge_data=True)
        workspace.database.create_synced_database_table(synced_table(TABLE))
        kept.platform.wait_for_table(TABLE, SyncedTableState.SYNCED_TABLE_ONLINE_NO_PENDING_UPDATE)
        return
    workspace.postgres.delete_synced_table(f"synced_tables/{TABLE}").wait()
    spec = postgres.SyncedTableSyncedTableSpec(
        source_table_full_name="samples.tpch.orders",
        primary_key_columns=["o_orderkey"],
        scheduling_policy=postgres.SyncedTableSyncedTableSpecSyncedTableSchedulingPolicy.SNAPSHOT,
        new_pipeline_spec=postgres.NewPipelineSpec(storage_catalog="main", storage_schema="lakebase_meta"),
    )
    workspace.postgres.create_synced_table(postgres.SyncedTable(spec=spec), TABLE).wait()


def test_a_namesake_created_meanwhile_is_not_deleted(kept: Kept) -> None:
    """A teardown was interrupted before it deleted the table. It finds another table of that name, and stops."""
    port = free_port()
    with served(kept, SOON_OVER, port=port) as operator:
        operator.provisioned()
        payload = killed_at(kept, operator, "delete table", "hold_before")
    replace_table(kept)
    namesake = [table["uid"] for table in kept.platform.inventory()["synced_tables"]]
    with served(kept, LOOKS_OFTEN, port=port) as operator:
        ended = operator.ended(payload)
        assert ended["state"] == "FAILED"
        assert ended["failure"]["reason"] == "NAMESAKE_FOUND"
        assert [step["state"] for step in ended["steps"]] == ["FAILED", "SKIPPED", "SKIPPED"]
    assert [table["uid"] for table in kept.platform.inventory()["synced_tables"]] == namesake
    assert set(counts(kept).values()) == {1}
