"""What `kill -9` of the server may interrupt: work is taken up again within ten seconds, nothing doubled or orphaned."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from databricks.sdk.service.database import SyncedTableState

from tests.operator import CATALOG, INSTANCE, TABLE, Operator, operated, plain_id
from tests.platform import platform_directory, running_platform, synced_table
from tests.process import PATIENCE_SECONDS, free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.platform import LocalPlatform

pytestmark = pytest.mark.faults

API = "/api/2.0/database"
PROVISION: tuple[str, dict[str, object]] = ("provisionLakebase", {"acknowledgeCost": True})
TEARDOWN: tuple[str, dict[str, object]] = ("teardownLakebase", {"confirmDeletion": True, "discardStatusChanges": True})
REFRESH: tuple[str, dict[str, object]] = ("refreshSyncedTable", {"name": TABLE})
# The call at which the server is killed, the mutation that makes it, and whether it is durable by then.
BOUNDARIES = {
    "create instance": (PROVISION, "POST", f"{API}/instances", False),
    "create catalog": (PROVISION, "POST", f"{API}/catalogs", False),
    "create table": (PROVISION, "POST", f"{API}/synced_tables", True),
    "start sync": (REFRESH, "POST", "/api/2.0/pipelines/.*/updates", True),
    "delete table": (TEARDOWN, "DELETE", f"{API}/synced_tables/{TABLE}", True),
    "delete catalog": (TEARDOWN, "DELETE", f"{API}/catalogs/{CATALOG}", True),
    "delete instance": (TEARDOWN, "DELETE", f"{API}/instances/{INSTANCE}", False),
}
ALL = [(call, moment) for call in BOUNDARIES for moment in ("hold_before", "hold_after")]
SAMPLE = [("create instance", "hold_after"), ("create table", "hold_before")]
RESUMED_SECONDS = 10


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform of the module's own, as quick as it can be."""
    with platform_directory() as directory, running_platform(directory, start_delay=0) as platform:
        yield platform


def counts(platform: LocalPlatform) -> dict[str, int]:
    """How many there are of each."""
    return {kind: len(found) for kind, found in platform.inventory().items()}


def killed_at(platform: LocalPlatform, operator: Operator, call: str, moment: str) -> dict[str, Any]:
    """The payload of the mutation that makes this call; the server was killed while the platform held the call."""
    (mutation, values), method, path, _ = BOUNDARIES[call]
    platform.fault(moment, method=method, path=path, times=1)
    payload = operator.send(mutation, **values)
    wait_for(lambda: bool(platform.held()), what=lambda: f"{call} to be held: {operator.server.log()[-2000:]}")
    operator.server.kill()
    wait_for(lambda: not platform.held(), what=lambda: "the platform to see that its client is gone")
    return payload


@pytest.mark.parametrize(("call", "moment"), ALL if os.environ.get("FAULTS") == "all" else SAMPLE)
def test_a_killed_server_is_succeeded_within_ten_seconds(platform: LocalPlatform, call: str, moment: str) -> None:
    """A durable operation goes on by itself, one in memory when the mutation is sent again; one of each is left."""
    (mutation, values), _, _, durable = BOUNDARIES[call]
    with operated(platform) as operator:
        if mutation != PROVISION[0]:
            operator.provisioned()
        elif any(counts(platform).values()):
            operator.done(TEARDOWN[0], **TEARDOWN[1])
        payload = killed_at(platform, operator, call, moment)
    with operated(platform) as operator:
        started = time.monotonic()
        id_ = payload["operation"]["id"]
        if not durable:
            assert operator.operation(id_) is None
            payload = operator.send(mutation, **values)
        wait_for(
            lambda: resumed(operator, payload), what=lambda: operator.server.log()[-3000:], seconds=RESUMED_SECONDS
        )
        assert time.monotonic() - started < RESUMED_SECONDS
        assert operator.ended(payload)["state"] == "SUCCEEDED"
        assert set(counts(platform).values()) == ({0} if mutation == TEARDOWN[0] else {1})


def resumed(operator: Operator, payload: dict[str, Any]) -> bool:
    """Whether the operation has come further than where it was when the server was killed, or is being worked on."""
    operation = operator.operation(payload["operation"]["id"])
    assert operation is not None
    return operation["state"] in ("SUCCEEDED", "FAILED") or "operation taken up" in operator.server.log()


def test_another_process_takes_it_up(platform: LocalPlatform) -> None:
    """One that has seen the unfinished operation looks every five seconds; who was killed is not waited for."""
    with operated(platform) as survivor, operated(platform) as operator:
        operator.provisioned()
        payload = killed_at(platform, operator, "start sync", "hold_after")
        killed = time.monotonic()
        assert survivor.operation(payload["operation"]["id"]) is not None
        wait_for(
            lambda: "operation taken up" in survivor.server.log(),
            what=lambda: survivor.server.log()[-3000:],
            seconds=15,
        )
        assert time.monotonic() - killed < RESUMED_SECONDS + 2
        ended = survivor.ended(payload)
        assert (ended["state"], ended["failure"]) == ("SUCCEEDED", None), survivor.server.log()
        assert plain_id(payload["operation"]["id"]) in survivor.server.log()


def test_a_stopped_process_lets_go_of_what_it_works_on(platform: LocalPlatform) -> None:
    """Between two looks at the platform, with exit code 0; another goes on at once, without waiting for the lease."""
    with operated(platform) as survivor, operated(platform) as operator:
        operator.provisioned()
        platform.fault("slow", method="GET", path=f"{API}/synced_tables/.*", seconds=0.5)
        payload = operator.send(REFRESH[0], **REFRESH[1])
        assert survivor.operation(payload["operation"]["id"]) is not None
        operator.server.process.terminate()
        assert operator.server.process.wait(PATIENCE_SECONDS) == 0
        stopped = time.monotonic()
        platform.clear_faults()
        assert "stop cut short" not in operator.server.log()
        wait_for(
            lambda: resumed(survivor, payload), what=lambda: survivor.server.log()[-3000:], seconds=RESUMED_SECONDS
        )
        assert time.monotonic() - stopped < RESUMED_SECONDS
        assert survivor.ended(payload)["state"] == "SUCCEEDED"


def test_a_namesake_made_meanwhile_is_not_deleted(platform: LocalPlatform) -> None:
    """A teardown that was cut off before it deleted the table finds another table of that name, and stops."""
    port = free_port()
    with operated(platform, port=port) as operator:
        operator.provisioned()
        payload = killed_at(platform, operator, "delete table", "hold_before")
    database = platform.workspace().database
    database.delete_synced_database_table(TABLE, purge_data=True)
    database.create_synced_database_table(synced_table(TABLE))
    platform.wait_for_table(TABLE, SyncedTableState.SYNCED_TABLE_ONLINE_NO_PENDING_UPDATE)
    namesake = platform.inventory()["synced_tables"]
    with operated(platform, port=port) as operator:
        ended = operator.ended(payload)
        assert ended["state"] == "FAILED"
        assert ended["failure"]["reason"] == "NAMESAKE_FOUND"
        assert [step["state"] for step in ended["steps"]] == ["FAILED", "SKIPPED", "SKIPPED"]
    assert platform.inventory()["synced_tables"] == namesake
    assert set(counts(platform).values()) == {1}
