"""A copy knows what it is a copy of, refuses cursors of the original, and leaves the original's resources alone."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.blackbox.feed_clients import RefusedError, over_sse, over_websocket
from tests.blackbox.refusals import changing, codes_and_fields, reasons, refused
from tests.servers.flavours import AUTOSCALING
from tests.servers.operator import CATALOG, DATABASE, HASTE, HASTY, INSTANCE, TABLE, Operator, operated
from tests.servers.platform import AT_ONCE, platform_directory, running_platform
from tests.servers.process import NO_TLS, answers, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.platform import LocalPlatform

SET = "mutation($key: BigInt!, $status: OrderStatus!) { setOrderStatus(input: {orderKey: $key, status: $status}) { change { cursor } userErrors { code } } }"
PAGE = "query($after: String) { orderStatusChanges(first: 10, after: $after) { nodes { orderKey cursor } } }"
HEAD = "{ orderStatusChanges(first: 0) { headCursor } }"
COPY = "{ lakebase { copyOf { instanceName branch databaseName since message } instance { name } catalog { name } syncedTable { name } } }"
DEFAULTS = ("refreshSyncedTable", "ensureIndexes", "teardownLakebase")


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform of the module's own, as quick as it can be."""
    with platform_directory() as directory, running_platform(directory, **AT_ONCE) as platform:
        yield platform


@pytest.fixture(scope="module")
def operator(platform: LocalPlatform) -> Iterator[Operator]:
    """An operator of a provisioned server. Its history has two changes, and `dev` was made between them."""
    with operated(platform, module=HASTY, altered=HASTE, **AUTOSCALING.settings) as operator:
        operator.provisioned()
        change(operator, "1")
        operator.done("createDatabaseBranch", name="dev", endpoint={}, ttlSeconds=3600, acknowledgeCost=True)
        change(operator, "2")
        yield operator


@contextmanager
def branch(platform: LocalPlatform, name: str, **settings: Any) -> Iterator[Operator]:
    """An operator of a server on a branch, with the other settings of the original's server."""
    endpoint = f"projects/{INSTANCE}/branches/{name}/endpoints/primary"
    given: dict[str, Any] = {"LAKEBASE_ENDPOINT": endpoint, "LAKEBASE_INSTANCE_NAME": "", **settings}
    with operated(platform, module=HASTY, altered=HASTE, **given) as other:
        wait_for(lambda: answers(f"{other.server.url}/readyz"), what=other.server.log)
        yield other


def change(operator: Operator, key: str) -> str:
    """Change an order's status, and return the cursor of the change."""
    for status in ("PARTIAL", "OPEN"):
        made = operator.insist(SET, key=key, status=status)["setOrderStatus"]["change"]
        if made:
            return str(made["cursor"])
    raise AssertionError(key)


def cursors(operator: Operator) -> dict[str, str]:
    """The cursors of all changes, by order."""
    nodes = operator.insist(PAGE)["orderStatusChanges"]["nodes"]
    return {node["orderKey"]: node["cursor"] for node in nodes}


def copy_state(operator: Operator) -> str:
    """What `/readyz` says once the database has been looked at."""
    found: list[str] = []

    def looked_up() -> bool:
        found.append(httpx.get(f"{operator.server.url}/readyz", verify=NO_TLS).json()["copy"])
        return found[-1] != "not looked up yet"

    wait_for(looked_up, what=operator.server.log)
    return found[-1]


def refusal(operator: Operator, after: str, follow: Any) -> str:
    """The reason with which a subscription after a cursor ends at once."""

    async def subscribe() -> str:
        async with aclosing(follow(operator.server.url, after, None, 0)) as events:
            with pytest.raises(RefusedError) as error:
                await anext(events)
        return error.value.reason

    return asyncio.run(subscribe())


@pytest.mark.parametrize(("workers", "key"), [pytest.param("1", "6", marks=pytest.mark.long), ("2", "7")])
def test_the_feed_of_a_branch_refuses_every_cursor_of_the_original(
    platform: LocalPlatform, operator: Operator, workers: str, key: str
) -> None:
    """Also that of a change that both have: its client may have seen later ones. Those of the original stay valid."""
    before = cursors(operator)
    with branch(platform, "dev", WORKERS=workers) as other, branch(platform, "dev") as beside:
        own = cursors(other)
        assert own.keys() & {"1", "2"} == {"1"}
        # All processes on the branch issue the same cursors.
        assert all(cursors(other) == own == cursors(beside) for _ in range(4))
        for cursor in before.values():
            assert cursor not in own.values()
            answer = other.answer(PAGE, after=cursor)
            assert reasons(answer) == ["CURSOR_INVALID"]
            assert "Load your data again, and continue from its `headCursor`" in answer["errors"][0]["message"]
            assert {refusal(other, cursor, follow) for follow in (over_sse, over_websocket)} == {"CURSOR_INVALID"}
        newer = change(other, key)
        assert newer == other.insist(HEAD)["orderStatusChanges"]["headCursor"] == cursors(beside)[key]
        after = beside.insist(PAGE, after=own["1"])["orderStatusChanges"]["nodes"]
        assert key in {node["orderKey"] for node in after}
        # The original refuses those of the branch.
        assert reasons(operator.answer(PAGE, after=newer)) == ["CURSOR_INVALID"]
    assert cursors(operator) == before
    assert [node["orderKey"] for node in operator.insist(PAGE, after=before["1"])["orderStatusChanges"]["nodes"]] == [
        "2"
    ]


def test_a_server_tells_what_its_branch_is_a_copy_of(platform: LocalPlatform, operator: Operator) -> None:
    """A branch of a branch is a copy of the branch, also if no server was ever there."""
    assert operator.ask(COPY)["lakebase"]["copyOf"] is None
    assert copy_state(operator) == "no"
    operator.done(
        "createDatabaseBranch", name="below", endpoint={}, acknowledgeCost=True, **{"from": {"branch": "dev"}}
    )
    for name, source in (("dev", "production"), ("below", "dev")):
        with branch(platform, name) as other:
            found = other.ask(COPY)["lakebase"]["copyOf"]
            assert (found["instanceName"], found["branch"], found["databaseName"]) == (INSTANCE, source, DATABASE)
            assert datetime.fromisoformat(found["since"]) < datetime.now(UTC)
            assert "Nothing that was begun in the original is carried out here" in found["message"]
            assert "updateDatabaseBranch(default: true)" in found["message"]
            assert f"a copy of instance {INSTANCE}, branch {source}" in copy_state(other)


def test_by_default_a_branch_leaves_the_resources_of_the_original_alone(
    platform: LocalPlatform, operator: Operator
) -> None:
    """With the settings of the original, the names are those of the original's resources."""
    with branch(platform, "dev") as other:
        before = changing(platform)
        found = other.ask(COPY)["lakebase"]
        assert (found["instance"], found["catalog"], found["syncedTable"]) == ({"name": INSTANCE}, None, None)
        for mutation in DEFAULTS:
            errors = refused(other, mutation, {})
            assert {code for code, _ in codes_and_fields(errors)} >= {"SETTING_INVALID"}
            assert f"of {INSTANCE}, branch dev" in errors[0]["message"]
        # A catalog shows one branch for good.
        assert ("SPEC_CONFLICT", "catalogName") in codes_and_fields(
            refused(other, "provisionLakebase", {"acknowledgeCost": True})
        )
        assert changing(platform) == before
    assert operator.ask(COPY)["lakebase"]["syncedTable"] == {"name": TABLE}


def test_a_restored_branch_is_no_copy_once_it_is_the_default_one(platform: LocalPlatform, operator: Operator) -> None:
    """Cursors from before the restore are refused there. The configured table stays that of the former branch."""
    known = change(operator, "3")
    time.sleep(0.01)  # the moment lies after this change, also for a clock of milliseconds
    moment = datetime.now(UTC).isoformat()
    time.sleep(0.01)  # and before the next one
    lost = change(operator, "4")
    operator.done("restoreDatabase", to=moment, name="restored", acknowledgeCost=True)
    with branch(platform, "restored") as other:
        assert other.ask(COPY)["lakebase"]["copyOf"] is None
        assert copy_state(other) == "no"
        for cursor in (known, lost):
            assert reasons(other.answer(PAGE, after=cursor)) == ["CURSOR_INVALID"]
        own = cursors(other)
        change(other, "5")
        assert set(cursors(other)) == {*own, "5"}
        assert ("SETTING_INVALID", "tableName") in codes_and_fields(refused(other, "teardownLakebase", {}))
        other.done("updateDatabaseBranch", name="production", default=True)
        # It is a copy again, and this process knows at once. Its cursors stay valid.
        assert other.ask(COPY)["lakebase"]["copyOf"]["branch"] == "production"
        assert "a copy of" in copy_state(other)
        assert [n["orderKey"] for n in other.insist(PAGE, after=own["3"])["orderStatusChanges"]["nodes"]] == ["5"]
    assert operator.ask(COPY)["lakebase"]["copyOf"] is None


def test_a_copy_takes_over_the_configured_names_that_the_original_gives_up(
    platform: LocalPlatform, operator: Operator
) -> None:
    """A server on the copy may delete the original's by name. Then it provisions the same names for its own branch."""
    with branch(platform, "dev") as other:
        other.done("deleteSyncedTable", name=TABLE, confirmDeletion=True)
        other.done("deleteDatabaseCatalog", name=CATALOG, confirmDeletion=True, discardStatusChanges=True)
        other.done("provisionLakebase", acknowledgeCost=True)
        found = other.ask(COPY)["lakebase"]
        assert (found["catalog"], found["syncedTable"]) == ({"name": CATALOG}, {"name": TABLE})
        other.done("refreshSyncedTable")
        # The instance holds the original too.
        before = changing(platform)
        errors = refused(other, "teardownLakebase", {"confirmDeletion": True, "discardStatusChanges": True})
        assert codes_and_fields(errors) == [("SETTING_INVALID", "instanceName")]
        # Now the names are those of the copy, and the original's server leaves them alone.
        for mutation in DEFAULTS:
            assert {code for code, _ in codes_and_fields(refused(operator, mutation, {}))} >= {"SETTING_INVALID"}
        assert changing(platform) == before
