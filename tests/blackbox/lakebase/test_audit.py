"""The audit of administration: complete where its database was away, readable, and not to be filled by a reader."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers.operator import DATABASE, INSTANCE, Operator, operated
from tests.servers.platform import AT_ONCE, platform_directory, running_platform
from tests.servers.process import wait_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import asyncpg

    from tests.servers.platform import LocalPlatform

AUDIT = """
query($filter: AdminAuditFilter, $first: Int, $after: String) { adminAudit(filter: $filter, first: $first, after: $after) {
  nodes { id at lastAt count principal action outcome reason resources operationId requestId input }
  pageInfo { hasNextPage hasPreviousPage endCursor }
} }
"""


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform of the module's own."""
    with platform_directory() as directory, running_platform(directory, **AT_ONCE) as platform:
        yield platform


@pytest.fixture(scope="module")
def operator(platform: LocalPlatform) -> Iterator[Operator]:
    """An operator who has provisioned."""
    with operated(platform) as operator:
        operator.provisioned()
        yield operator


@pytest.fixture(scope="module")
def other(platform: LocalPlatform, operator: Operator) -> Iterator[Operator]:
    """The same operator, at another process."""
    assert operator.server
    with operated(platform) as other:
        yield other


@pytest.fixture
async def database(platform: LocalPlatform, operator: Operator) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the served database."""
    host = operator.instance_host()
    connection = await platform.connect(host, database=DATABASE)
    yield connection
    await connection.close()


def entries(operator: Operator, **filter_: object) -> list[dict[str, Any]]:
    """The newest entries that match a filter."""
    found: list[dict[str, Any]] = operator.insist(AUDIT, filter=filter_, first=100)["adminAudit"]["nodes"]
    return found


def story(operator: Operator, operation: dict[str, Any]) -> list[str]:
    """The outcomes of an operation's entries, oldest first."""
    found = [one["outcome"] for one in entries(operator) if one["operationId"] == operation["id"]]
    return found[::-1]


def test_a_stop_and_a_start_are_known_to_every_process(operator: Operator, other: Operator) -> None:
    """The stop ends, and the start begins, while there is no database."""
    stop = operator.done("updateDatabaseInstance", name=INSTANCE, stopped=True)
    assert stop["durable"] is False
    start = operator.done("updateDatabaseInstance", name=INSTANCE, stopped=False, acknowledgeCost=True)
    for one in (stop, start):
        wait_for(lambda: other.operation(one["id"]) is not None, what=lambda: f"{one} in another process")  # noqa: B023 # called at once
        found = other.operation(one["id"])
        assert found is not None
        assert (found["state"], found["durable"]) == ("SUCCEEDED", True)
        wait_for(lambda: story(other, one) == ["BEGUN", "SUCCEEDED"], what=lambda: str(entries(other)))  # noqa: B023 # as above
    ids = [one["id"] for one in other.ask("{ operations { nodes { id } } }")["operations"]["nodes"]]
    assert ids[:2] == [start["id"], stop["id"]]
    ends = [one["input"] for one in entries(other, action="updateDatabaseInstance", outcome="SUCCEEDED")]
    assert [json.loads(one)["stopped"] for one in ends] == [False, True]


def test_a_teardown_is_in_the_audit_of_the_next_database(operator: Operator, other: Operator) -> None:
    """The teardown deletes the database that has the entry of its beginning. All earlier entries are gone with it."""
    teardown = operator.done("teardownLakebase", confirmDeletion=True, discardStatusChanges=True)
    assert teardown["durable"] is False
    # There is no database: the process that ran the teardown answers from memory.
    assert story(operator, teardown) == ["BEGUN", "SUCCEEDED"]
    provision = other.provisioned()
    # The other process learns of it when any request uses its database.
    operator.insist("{ order(orderKey: 1) { status } }")
    for one in (teardown, provision):
        wait_for(lambda: story(other, one) == ["BEGUN", "SUCCEEDED"], what=lambda: str(entries(other)))  # noqa: B023 # called at once
        found = other.operation(one["id"])
        assert found is not None
        assert found["state"] == "SUCCEEDED"
    (begun,) = entries(other, action="teardownLakebase", outcome="BEGUN")
    assert json.loads(begun["input"])["discardStatusChanges"] is True
    assert begun["requestId"]
    assert begun["resources"]


async def test_a_reader_cannot_fill_the_audit(
    platform: LocalPlatform, operator: Operator, database: asyncpg.Connection
) -> None:
    """Refusals of the same caller and action within a minute are one row, which counts them, and two lines of the log."""
    fields = " ".join(f'f{number}: operation(id: "{number}") {{ id }}' for number in range(20))
    with operated(platform, LOCAL_ROLES="reader") as reader:
        wait_for(lambda: "ready" in reader.server.log(), what=reader.server.log)
        for _ in range(15):
            assert len(reader.answer(f"{{ {fields} }}")["errors"]) == 20
        counted = 0
        while counted < 300:
            rows = await database.fetch(
                "SELECT count, reason, input FROM orders_app.admin_audit WHERE action = 'operation'"
            )
            counted = sum(row["count"] for row in rows)
        assert counted == 300
        # At the turn of a minute there may be two.
        assert len(rows) <= 2
        assert {row["reason"] for row in rows} == {"ROLE_MISSING"}
        assert json.loads(rows[0]["input"]) == {"id": "0"}
        assert sum(one["count"] for one in entries(operator, action="operation")) == 300
        assert reader.server.log().count('"event":"audit"') <= 3


def test_a_page_of_the_audit_is_exact(operator: Operator) -> None:
    """Newest first; a walk meets every entry once, and the flags say whether there are more on either side."""
    for number in range(3):
        operator.send("createDatabaseInstance", name=f"-{number}")
    whole = [one["id"] for one in entries(operator, action="createDatabaseInstance")]
    assert len(whole) == 3
    walked, after = [], None
    for index in range(3):
        page = operator.ask(AUDIT, filter={"action": "createDatabaseInstance"}, first=1, after=after)["adminAudit"]
        (node,) = page["nodes"]
        walked.append(node["id"])
        after = page["pageInfo"]["endCursor"]
        assert page["pageInfo"]["hasPreviousPage"] is (index > 0)
        assert page["pageInfo"]["hasNextPage"] is (index < 2)
    assert walked == whole
    node = operator.ask("query($id: ID!) { node(id: $id) { ... on AdminAuditEntry { input } } }", id=whole[0])["node"]
    assert json.loads(node["input"])["name"] == "-2"
