"""An instance that is stopped or deleted: `/readyz` says so at once and in the right words, and administration goes on."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
from databricks.sdk.service.database import DatabaseInstance

from tests.servers.operator import HASTE, INSTANCE, TABLE, Operator, operated
from tests.servers.platform import AT_ONCE, platform_directory, running_platform
from tests.servers.process import answers, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.platform import LocalPlatform

ORDER: Final = "{ order(orderKey: 1) { orderKey } }"
ADMINISTRATION: Final = """
{
  operations { nodes { id state } }
  lakebase { instance { state } catalog { name } syncedTable { state } }
}
"""
STOPPED: Final = (
    f"The database instance {INSTANCE} is stopped: an admin starts it with updateDatabaseInstance(stopped: false)."
)
MISSING: Final = f"There is no database instance {INSTANCE}"
WORKERS: Final = 2
# A server that is not ready looks again soon.
ALTERED: Final = MappingProxyType({**HASTE, "server.tables.reading.readiness._LAST_ABSENT_RETRY_SECONDS": 0.2})
# Connections by which all workers are reached, as far as chance allows.
PROBES: Final = 20


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform of the module's own."""
    with platform_directory() as directory, running_platform(directory, **AT_ONCE) as platform:
        yield platform


@pytest.fixture(scope="module")
def one_process(platform: LocalPlatform) -> Iterator[Operator]:
    """An operator of one process."""
    with operated(platform, altered=ALTERED) as operator:
        yield operator


@pytest.fixture
def operator(one_process: Operator) -> Operator:
    """The operator, with an instance that is available."""
    one_process.provisioned()
    return one_process


def reason(operator: Operator) -> str:
    """Why `/readyz` says that orders cannot be read; `ok` if they can."""
    answer = httpx.get(f"{operator.server.url}/readyz")
    orders: str = answer.json()["orders"]
    assert (answer.status_code == 200) == (orders == "ok")
    return orders


def said(operator: Operator, words: str) -> None:
    """Wait until `/readyz` of every worker contains these words. No query is sent meanwhile."""
    wait_for(
        lambda: all(words in reason(operator) for _ in range(PROBES)),
        what=lambda: f"{words!r}, not {reason(operator)!r}\n{operator.server.log()[-2000:]}",
    )


def administered(operator: Operator, id_: str) -> dict[str, Any]:
    """The resources, as administration reads them without a database, where it also lists this operation."""
    found = operator.ask(ADMINISTRATION)
    assert id_ in [one["id"] for one in found["operations"]["nodes"]]
    assert operator.operation(id_) is not None
    lakebase: dict[str, Any] = found["lakebase"]
    return lakebase


def test_after_a_stop_the_server_is_not_ready_and_says_what_starts_the_instance(operator: Operator) -> None:
    """As soon as the operation has ended, before any query."""
    assert operator.ask(ORDER)
    stop = operator.done("updateDatabaseInstance", name=INSTANCE, stopped=True)
    assert STOPPED in reason(operator)
    assert administered(operator, stop["id"])["instance"] == {"state": "STOPPED"}
    (error,) = operator.answer(ORDER)["errors"]
    assert (error["extensions"]["reason"], error["message"]) == ("DATABASE_UNAVAILABLE", STOPPED)
    operator.done("updateDatabaseInstance", name=INSTANCE, stopped=False, acknowledgeCost=True)
    wait_for(lambda: reason(operator) == "ok", what=operator.server.log)


def test_after_a_teardown_the_server_is_not_ready_and_says_what_creates_an_instance(operator: Operator) -> None:
    """As soon as the operation has ended, before any query."""
    assert operator.ask(ORDER)
    teardown = operator.done("teardownLakebase", confirmDeletion=True, discardStatusChanges=True)
    assert MISSING in reason(operator)
    assert "Create it with provisionLakebase" in reason(operator)
    assert administered(operator, teardown["id"]) == {"instance": None, "catalog": None, "syncedTable": None}
    (error,) = operator.answer(ORDER)["errors"]
    assert error["extensions"]["reason"] == "DATABASE_UNAVAILABLE"
    assert error["message"].startswith(MISSING)


def test_after_a_deletion_of_the_table_the_server_is_not_ready(operator: Operator) -> None:
    """As soon as the operation has ended, before any query."""
    assert operator.ask(ORDER)
    operator.done("deleteSyncedTable", name=TABLE, confirmDeletion=True)
    assert reason(operator).startswith("ORDERS_UNAVAILABLE")
    operator.done("createSyncedTable", name=TABLE, acknowledgeCost=True)
    wait_for(lambda: reason(operator) == "ok", what=operator.server.log)


def test_every_worker_knows_without_a_query(platform: LocalPlatform, operator: Operator) -> None:
    """The workers that did not run the operation notice that their connections were closed, and look the instance up."""
    assert operator.ask(ORDER)
    with operated(platform, altered=ALTERED, WORKERS=str(WORKERS)) as workers:
        wait_for(lambda: all(reason(workers) == "ok" for _ in range(PROBES)), what=workers.server.log)
        for _ in range(PROBES):
            workers.insist(ORDER)
        workers.done("updateDatabaseInstance", name=INSTANCE, stopped=True)
        said(workers, STOPPED)
        for _ in range(PROBES):
            workers.ask(ADMINISTRATION)
    operator.done("updateDatabaseInstance", name=INSTANCE, stopped=False, acknowledgeCost=True)


def test_a_stop_or_deletion_by_someone_else_is_noticed_too(platform: LocalPlatform, operator: Operator) -> None:
    """The server has used the database a moment ago, so it has not fallen asleep when its connections are closed."""
    database = platform.workspace().database
    assert operator.ask(ORDER)
    database.update_database_instance(INSTANCE, DatabaseInstance(INSTANCE, stopped=True), "stopped")
    said(operator, STOPPED)
    operator.ask(ADMINISTRATION)
    database.update_database_instance(INSTANCE, DatabaseInstance(INSTANCE, stopped=False), "stopped")
    operator.insist(ORDER)
    database.delete_synced_database_table("orders_catalog.public.orders_synced")
    database.delete_database_catalog("orders_catalog")
    database.delete_database_instance(INSTANCE, purge=True)
    wait_for(lambda: not answers(f"{operator.server.url}/readyz"), what=operator.server.log)
    said(operator, MISSING)
    operator.ask(ADMINISTRATION)


def test_the_first_query_after_a_deletion_says_it(platform: LocalPlatform, operator: Operator) -> None:
    """A login that finds no server asks the platform for the cause before it answers."""
    database = platform.workspace().database
    with operated(platform, altered={**ALTERED, "server.db.wake_up._REST_SECONDS": 0.0}) as other:
        # Like a server that has not used its database for long, it has not noticed the deletion by itself.
        other.insist(ORDER)
        operator.done("teardownLakebase", confirmDeletion=True, discardStatusChanges=True)
        assert list(database.list_database_instances()) == []
        assert reason(other) == "ok"
        (error,) = other.answer(ORDER)["errors"]
        assert error["message"].startswith(MISSING)
        assert MISSING in reason(other)
