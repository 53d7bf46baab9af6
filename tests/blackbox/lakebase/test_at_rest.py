"""An idle server: it has created nothing superfluous, lets its instance sleep, and survives without a platform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.servers.operator import CATALOG, DATABASE, HASTE, HASTY, INSTANCE, Operator, operated
from tests.servers.platform import AT_ONCE, platform_directory, running_platform
from tests.servers.process import answers, free_port, running_server, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.platform import LocalPlatform

SUSPEND_AFTER = 1
# The real platform first waits for a minute without queries. By then a server knows that the instance may be asleep.
DOZES = {**HASTE, "server.db.wake_up._REST_SECONDS": SUSPEND_AFTER / 2}
# Attempts to see the server idle; on a slow machine a late background task may spoil one.
RESTLESS = 3
API = "/api/2.0/database"
ORDER = "{ order(orderKey: 1) { orderKey } }"


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform whose instances fall asleep as soon as they are idle."""
    with (
        platform_directory() as directory,
        running_platform(directory, **AT_ONCE, suspend_after=SUSPEND_AFTER) as platform,
    ):
        yield platform


@pytest.fixture(scope="module")
def operator(platform: LocalPlatform) -> Iterator[Operator]:
    """A server whose orders are there."""
    with operated(platform, altered=DOZES) as operator:
        operator.provisioned()
        yield operator


def test_provisioning_makes_one_of_each_and_no_role(platform: LocalPlatform, operator: Operator) -> None:  # noqa: ARG001 # it has provisioned what is checked
    """The creator of an instance has a role in it already, so no other role or grant is requested."""
    made = {
        call: count
        for call, count in platform.counters()["requests"].items()
        if call.startswith(("POST", "PUT", "PATCH"))
    }
    made.pop(f"POST {API}/credentials")
    assert made == {f"POST {API}/{kind}": 1 for kind in ("instances", "catalogs", "synced_tables")}


def test_the_database_that_is_provisioned_is_the_one_that_is_served(operator: Operator) -> None:
    """One setting names both: a status set through the API is in the database that the catalog registers."""
    found = operator.ask("{ lakebase { databaseName catalog { databaseName } } }")["lakebase"]
    assert found == {"databaseName": DATABASE, "catalog": {"databaseName": DATABASE}}
    # While the instance is falling asleep, requests fail and changes cannot be counted; so both are tried again.
    operator.insist(
        'mutation { setOrderStatus(input: {orderKey: 1, status: PARTIAL, idempotencyKey: "6f1ed002-ab55-4f4e-a7d3-0b1f1c9dc1a5"}) { change { cursor } } }'
    )
    plans: list[Any] = []

    def counted() -> bool:
        plans.append(operator.send("deleteDatabaseCatalog", name=CATALOG, dryRun=True)["plan"])
        return plans[-1]["statusChangesLost"] is not None

    wait_for(counted, what=lambda: f"the changes to be counted: {plans[-1]}")
    assert plans[-1]["statusChangesLost"] == 1


def test_an_idle_server_lets_its_instance_fall_asleep(platform: LocalPlatform, operator: Operator) -> None:
    """It sends nothing to the database or the platform. Probes go on, and do not wake the instance."""
    seen: list[bool] = []

    def asleep() -> bool:
        assert answers(f"{operator.server.url}/livez")
        assert answers(f"{operator.server.url}/readyz")
        (instance,) = platform.inventory()["instances"]
        return bool(instance["suspended"] and not instance["processes"])

    # On a slow machine, background work after an answer may fall into the time that is checked.
    while True not in seen and len(seen) < RESTLESS:
        assert operator.insist(ORDER) == {"order": {"orderKey": "1"}}
        before = platform.counters()
        wait_for(asleep, what=lambda: f"the instance to fall asleep\n{operator.server.log()[-2000:]}")
        seen.append(platform.counters() == before)
    assert seen[-1]
    operator.insist(ORDER)


def test_a_platform_that_is_down_does_not_stop_the_start() -> None:
    """Orders and administration both fail with a retryable error."""
    with running_server(
        None,
        ready=False,
        DATABRICKS_HOST=f"http://127.0.0.1:{free_port()}",
        DATABRICKS_TOKEN="none",  # noqa: S106 # no platform checks it
        LAKEBASE_INSTANCE_NAME=INSTANCE,
        module=HASTY,
        altered={"server.lakebase.platform.sdk_client._RETRY_SECONDS": 1},
    ) as server:
        for document, reason in (
            (ORDER, "DATABASE_UNAVAILABLE"),
            (f'{{ databaseInstance(name: "{INSTANCE}") {{ name }} }}', "CONTROL_PLANE_UNAVAILABLE"),
        ):
            (error,) = Operator(server).answer(document)["errors"]
            assert (error["extensions"]["reason"], error["extensions"]["retryable"]) == (reason, True)
        assert answers(f"{server.url}/livez")
        assert not answers(f"{server.url}/readyz")
