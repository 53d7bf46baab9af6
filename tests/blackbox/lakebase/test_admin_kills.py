"""Operations interrupted by `kill -9`: they are resumed within ten seconds, and nothing is created twice or orphaned.

A lease lasts for seconds, and so does the pause between two searches for orphans. Where a test is not about these times,
the server has shorter ones.
"""

from __future__ import annotations

import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from databricks.sdk.service import postgres
from databricks.sdk.service.database import SyncedTableState

from tests.servers.flavours import FLAVOURS, PROVISIONED
from tests.servers.lives.picture import picture
from tests.servers.lives.walk import Walk, label, lives_of, walked
from tests.servers.operator import HASTE, TABLE, Operator, document, operated, plain_id
from tests.servers.platform import synced_table
from tests.servers.process import PATIENCE_SECONDS, free_port, wait_for
from tests.support.calibration import hold

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from tests.servers.lives.change import Change, Life

pytestmark = pytest.mark.faults

START_SYNC = ("instance", "start sync", 0)
TEARDOWN = ("instance", "teardown", 0)
# Every call of every change in the lives, by the life, the change, and the number of the call.
BOUNDARIES = [
    (flavour, life.name, change.name, index)
    for flavour in FLAVOURS
    for life in lives_of(flavour).values()
    for change in life.changes
    for index in range(len(change.calls))
]
MOMENTS = ("hold_before", "hold_after")
# In `make test`: an operation in memory, a durable one, and one whose steps run side by side. Few changes lead to these.
SAMPLE = {
    ("instance", "create instance", 0, "hold_after"),
    ("instance", "provision", 2, "hold_before"),
    ("tables", "provision", 3, "hold_before"),
}
# Where the time until the succession is measured: durable operations, which are resumed without a request.
MEASURED = [
    (flavour, name, change, index)
    for flavour, name, change, index in BOUNDARIES
    if (name, change) in {("instance", "provision"), ("instance", "teardown"), ("instance", "start sync")}
    or (name, change) == ("branches", "restore")
]
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


@pytest.fixture(scope="module")
def walk(request: pytest.FixtureRequest) -> Iterator[Walk]:
    """A platform that walks through the lives of a flavour."""
    with walked(request.param) as walk:
        yield walk


def served(
    walk: Walk, altered: Mapping[str, float], *, port: int | None = None, life: Life | None = None
) -> AbstractContextManager[Operator]:
    """An operator of a server with these constants changed; without any it is the server as it is."""
    module = "tests.servers.hasty" if altered else "server"
    settings = {**walk.flavour.settings, **(life.settings if life else {})}
    return operated(walk.platform, port=port, module=module, altered=altered, **settings)


def killed_at(walk: Walk, operator: Operator, change: Change, index: int, moment: str) -> dict[str, Any]:
    """Make the change, and kill the server while the platform holds the call; return the payload."""
    call = change.calls[index]
    walk.platform.fault(moment, method=call.method, path=call.path, times=1, skip=call.skip)
    payload: dict[str, Any] = operator.insist(document(change.mutation), input=change.input())["payload"]
    assert payload["operation"], payload["userErrors"]

    def reached() -> bool:
        # The next heartbeat may be what makes it durable.
        operation = operator.operation(payload["operation"]["id"])
        durable = call.port not in change.volatile
        return bool(walk.platform.held() and operation and operation["durable"] == durable)

    wait_for(reached, what=lambda: f"{change.name} to be held: {operator.server.log()[-2000:]}")
    operator.server.kill()
    wait_for(lambda: not walk.platform.held(), what=lambda: "the platform to see that its client is gone")
    return payload


def check_succession(
    walk: Walk, boundary: tuple[str, str, int], moment: str, *, victim: Mapping[str, float], heir: Mapping[str, float]
) -> float:
    """Kill a server at a call, and let another one resume; return the seconds until it does."""
    life, number = located(walk, boundary)
    with served(walk, victim, life=life) as operator:
        change = walk.reach(operator, life, number)
        payload = killed_at(walk, operator, change, boundary[2], moment)
    with served(walk, heir, life=life) as operator:
        started = time.monotonic()
        id_ = payload["operation"]["id"]
        if change.calls[boundary[2]].port in change.volatile:
            assert operator.operation(id_) is None
            payload = operator.insist(document(change.mutation), input=change.input())["payload"]
            assert payload["userErrors"] == []
        # The last call may have left nothing to do.
        if payload["operation"]:
            wait_for(lambda: resumed(operator, payload), what=lambda: operator.server.log()[-3000:])
        seconds = time.monotonic() - started
        if payload["operation"]:
            ended = operator.ended(payload)
            assert ended["state"] == "SUCCEEDED", ended
        walk.check(life, number)
    return seconds


def located(walk: Walk, boundary: tuple[str, str, int]) -> tuple[Life, int]:
    """The life of a boundary, and the number of its change."""
    life = lives_of(walk.flavour)[boundary[0]]
    return life, [change.name for change in life.changes].index(boundary[1])


@pytest.mark.parametrize(
    ("walk", "life", "change", "index", "moment"),
    [
        pytest.param(*boundary, moment, marks=[] if (*boundary[1:], moment) in SAMPLE else pytest.mark.long)
        # So that one change begins where the one before it has ended.
        for moment in MOMENTS
        for boundary in BOUNDARIES
    ],
    indirect=["walk"],
    ids=label,
)
def test_a_successor_resumes_after_a_kill(walk: Walk, life: str, change: str, index: int, moment: str) -> None:
    """A durable operation is resumed by itself, and one in memory when the mutation is sent again. Nothing is doubled."""
    check_succession(walk, (life, change, index), moment, victim=SOON_OVER, heir=LOOKS_OFTEN)


@pytest.mark.long
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(("walk", "life", "change", "index"), MEASURED, indirect=["walk"], ids=label)
def test_a_successor_resumes_within_ten_seconds_of_a_kill(
    walk: Walk, life: str, change: str, index: int, moment: str
) -> None:
    """The same with the server's own leases."""
    seconds = check_succession(walk, (life, change, index), moment, victim=PRODUCT, heir=PRODUCT)
    hold(f"succession at {change}, {index}, {moment}", seconds, computing_seconds=3, waiting_seconds=LEASE_SECONDS)


def resumed(operator: Operator, payload: dict[str, Any]) -> bool:
    """Whether the operation has ended, or this server runs it."""
    operation = operator.operation(payload["operation"]["id"])
    assert operation is not None
    return operation["state"] in ("SUCCEEDED", "FAILED", "CANCELLED") or claimed(operator, payload)


def claimed(operator: Operator, payload: dict[str, Any]) -> bool:
    """Whether this server has resumed the operation."""
    lines = [line for line in operator.server.log().splitlines() if "operation resumed" in line]
    return any(plain_id(payload["operation"]["id"]) in line for line in lines)


def check_survivor(walk: Walk, *, victim: Mapping[str, float], heir: Mapping[str, float]) -> float:
    """Kill one of two servers during an operation, and let the other one resume it; return the seconds that it takes."""
    life, number = located(walk, START_SYNC)
    with served(walk, heir) as survivor, served(walk, victim) as operator:
        payload = killed_at(walk, operator, walk.reach(operator, life, number), START_SYNC[2], "hold_after")
        killed = time.monotonic()
        assert survivor.operation(payload["operation"]["id"]) is not None
        wait_for(lambda: claimed(survivor, payload), what=lambda: survivor.server.log()[-3000:])
        seconds = time.monotonic() - killed
        ended = survivor.ended(payload)
        assert (ended["state"], ended["failure"]) == ("SUCCEEDED", None), survivor.server.log()
        walk.check(life, number)
    return seconds


@pytest.mark.parametrize("walk", FLAVOURS, indirect=True, ids=label)
def test_another_process_resumes_the_operation(walk: Walk) -> None:
    """A process that has seen an unfinished operation keeps searching, so the killed one need not come back."""
    check_survivor(walk, victim=SOON_OVER, heir=LOOKS_OFTEN)


@pytest.mark.long
@pytest.mark.parametrize("walk", FLAVOURS, indirect=True, ids=label)
def test_another_process_resumes_the_operation_within_twelve_seconds(walk: Walk) -> None:
    """It searches every five seconds, with the server's own leases."""
    seconds = check_survivor(walk, victim=PRODUCT, heir=PRODUCT)
    hold("taken up by a survivor", seconds, computing_seconds=5, waiting_seconds=LEASE_SECONDS)


def check_release(walk: Walk, *, stopped: Mapping[str, float], heir: Mapping[str, float]) -> float:
    """Stop one of two servers during an operation, and let the other one resume it; return the seconds that it takes."""
    with served(walk, heir) as survivor, served(walk, stopped) as operator:
        life, number = located(walk, START_SYNC)
        walk.reach(operator, life, number)
        # With this fault the step never ends, and looks again and again.
        walk.platform.fault("internal_error", method="POST", path="/api/2.0/pipelines/.*/updates", times=None)
        payload = operator.send("refreshSyncedTable", name=TABLE)
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
        walk.platform.clear_faults()
        assert "stop cut short" not in operator.server.log()
        wait_for(lambda: resumed(survivor, payload), what=lambda: survivor.server.log()[-3000:])
        seconds = time.monotonic() - began
        ended = survivor.ended(payload)
        assert ended["state"] == "SUCCEEDED", ended
        assert claimed(survivor, payload)
        walk.check(life, number)
    return seconds


@pytest.mark.parametrize("walk", FLAVOURS, indirect=True, ids=label)
def test_a_stopped_process_releases_its_operations(walk: Walk) -> None:
    """It stops between two looks, with exit code 0; another process resumes, though the lease would last for an hour."""
    check_release(walk, stopped=NEVER_OVER, heir=LOOKS_OFTEN)


@pytest.mark.long
@pytest.mark.parametrize("walk", FLAVOURS, indirect=True, ids=label)
def test_a_released_operation_is_resumed_within_ten_seconds(walk: Walk) -> None:
    """By a process that searches every five seconds."""
    seconds = check_release(walk, stopped=PRODUCT, heir=PRODUCT)
    hold("let go of and taken up", seconds, computing_seconds=5, waiting_seconds=LOOK_SECONDS)


def replace_table(walk: Walk) -> None:
    """Delete the synced table as another client does, and create another one of its name."""
    workspace = walk.platform.workspace()
    if walk.flavour is PROVISIONED:
        workspace.database.delete_synced_database_table(TABLE, purge_data=True)
        workspace.database.create_synced_database_table(synced_table(TABLE))
        walk.platform.wait_for_table(TABLE, SyncedTableState.SYNCED_TABLE_ONLINE_NO_PENDING_UPDATE)
        return
    workspace.postgres.delete_synced_table(f"synced_tables/{TABLE}").wait()
    spec = postgres.SyncedTableSyncedTableSpec(
        source_table_full_name="samples.tpch.orders",
        primary_key_columns=["o_orderkey"],
        scheduling_policy=postgres.SyncedTableSyncedTableSpecSyncedTableSchedulingPolicy.SNAPSHOT,
        new_pipeline_spec=postgres.NewPipelineSpec(storage_catalog="main", storage_schema="lakebase_meta"),
    )
    workspace.postgres.create_synced_table(postgres.SyncedTable(spec=spec), TABLE).wait()


@pytest.mark.parametrize("walk", FLAVOURS, indirect=True, ids=label)
def test_a_namesake_created_meanwhile_is_not_deleted(walk: Walk) -> None:
    """A teardown was interrupted before it deleted the table. It finds another table of that name, and stops."""
    port = free_port()
    with served(walk, SOON_OVER, port=port) as operator:
        change = walk.reach(operator, *located(walk, TEARDOWN))
        payload = killed_at(walk, operator, change, TEARDOWN[2], "hold_before")
    replace_table(walk)
    namesake = [table["uid"] for table in walk.platform.inventory()["synced_tables"]]
    with served(walk, LOOKS_OFTEN, port=port) as operator:
        ended = operator.ended(payload)
        assert ended["state"] == "FAILED"
        assert ended["failure"]["reason"] == "NAMESAKE_FOUND"
        assert [step["state"] for step in ended["steps"]] == ["FAILED", "SKIPPED", "SKIPPED"]
    assert [table["uid"] for table in walk.platform.inventory()["synced_tables"]] == namesake
    life, number = located(walk, TEARDOWN)
    assert picture(walk.platform) == life.after(number - 1)
