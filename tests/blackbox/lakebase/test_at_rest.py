"""What is behind a server at rest: what it was made of and no more, and nothing that keeps it awake or ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.operator import CATALOG, DATABASE, HASTY, INSTANCE, Operator, operated
from tests.platform import AT_ONCE, platform_directory, running_platform
from tests.process import answers, free_port, running_server, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.platform import LocalPlatform

SUSPEND_AFTER = 1
# Of rests in which something was asked for, so that it was none yet.
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
    with operated(platform) as operator:
        operator.provisioned()
        yield operator


def test_provisioning_makes_one_of_each_and_no_role(platform: LocalPlatform, operator: Operator) -> None:  # noqa: ARG001 # what it has provisioned is looked at
    """The server's identity has the role that comes with its creation, and gives nobody more than that."""
    made = {
        call: count
        for call, count in platform.counters()["requests"].items()
        if call.startswith(("POST", "PUT", "PATCH"))
    }
    made.pop(f"POST {API}/credentials")
    assert made == {f"POST {API}/{kind}": 1 for kind in ("instances", "catalogs", "synced_tables")}


def test_the_database_that_is_made_is_the_one_that_is_served(operator: Operator) -> None:
    """The one setting names both: a status that is set is found in the database that the catalog registers."""
    found = operator.ask("{ lakebase { databaseName catalog { databaseName } } }")["lakebase"]
    assert found == {"databaseName": DATABASE, "catalog": {"databaseName": DATABASE}}
    # Just as it falls asleep nobody can be answered, and nothing can be counted.
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
    """It asks neither the database nor the platform for anything; probes go on, and wake nobody."""
    seen: list[bool] = []

    def asleep() -> bool:
        assert answers(f"{operator.server.url}/livez")
        assert answers(f"{operator.server.url}/readyz")
        (instance,) = platform.inventory()["instances"]
        return bool(instance["suspended"] and not instance["processes"])

    # On a slow machine what was to be done after the answer may come when it is counted already.
    while True not in seen and len(seen) < RESTLESS:
        assert operator.insist(ORDER) == {"order": {"orderKey": "1"}}
        before = platform.counters()
        wait_for(asleep, what=lambda: f"the instance to fall asleep\n{operator.server.log()[-2000:]}")
        seen.append(platform.counters() == before)
    assert seen[-1]
    operator.insist(ORDER)


def test_a_platform_that_is_down_does_not_stop_the_start() -> None:
    """Orders and administration both say so, as a failure to try again."""
    with running_server(
        None,
        ready=False,
        DATABRICKS_HOST=f"http://127.0.0.1:{free_port()}",
        DATABRICKS_TOKEN="none",  # noqa: S106 # there is nobody to log in at
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
