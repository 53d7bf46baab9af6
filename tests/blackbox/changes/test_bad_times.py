"""Tests of stored times that Python cannot represent: each spoils its own row, never a page, a batch or the feed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import httpx
import pytest

from tests.blackbox.feed_clients import Subscriber, ask, following, head, over_sse, over_websocket
from tests.servers.process import running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.servers.process import Server

_SCHEMA: Final = "bad_times"
_TABLE: Final = f"{_SCHEMA}.order_status_change"
BAD: Final = (
    "0044-03-15 00:00:00+00 BC",
    "12026-01-01 00:00:00+00",
    "0001-01-01 00:30:00+14",
    "9999-12-31 23:30:00-12",
    "infinity",
    "-infinity",
)
# The first and the last millisecond that a DateTime can represent.
GOOD: Final = {
    "0001-01-01 00:00:00+00": "0001-01-01T00:00:00.000Z",
    "9999-12-31 23:59:59.999999+00": "9999-12-31T23:59:59.999Z",
}
TIMES: Final = (*GOOD, *BAD)
EXPECTED: Final = [*GOOD.values(), *(None for _ in BAD)]
# The first orders in TPC-H's data. Each has one change, at one of the times.
KEYS: Final = ["1", "2", "3", "4", "5", "6", "7", "32"]
PAGE: Final = f"{{ orders(first: {len(TIMES)}) {{ nodes {{ orderKey statusUpdatedAt statusChanges {{ nodes {{ changedAt }} }} }} }} }}"
PLANNED: Final = PAGE.replace("statusChanges { nodes { changedAt } }", "")


@pytest.fixture(scope="module")
def server(orders_url: str) -> Iterator[Server]:
    """A server with a history of its own."""
    with running_server(orders_url, APP_SCHEMA=_SCHEMA) as server:
        # The first change makes the tables.
        httpx.post(
            server.graphql,
            json={"query": 'mutation { setOrderStatus(input: {orderKey: 100, status: OPEN, note: "x"}) { replayed } }'},
        )
        yield server


@pytest.fixture
async def database(orders_url: str, server: Server) -> AsyncIterator[asyncpg.Connection]:
    """A connection to its database, whose history and overlay have the bad times and nothing else."""
    assert server.url
    connection = await asyncpg.connect(orders_url)
    await connection.execute(
        f"SET session_replication_role = replica; TRUNCATE {_TABLE}, {_SCHEMA}.order_status; "
        "RESET session_replication_role"
    )
    for key, moment in zip(KEYS, TIMES, strict=True):
        await connection.execute(
            f"INSERT INTO {_SCHEMA}.order_status (o_orderkey, status, version, synced_status, updated_by, updated_at) "
            f"VALUES ({key}, 'P', 1, 'O', 'test', '{moment}')"
        )
        await add(connection, int(key), moment)
    yield connection
    await connection.close()


async def add(connection: asyncpg.Connection, key: int, moment: str, version: int = 1) -> None:
    """Add a change that was made at this time."""
    await connection.execute(
        f"INSERT INTO {_TABLE} (o_orderkey, status, cleared, version, changed_by, changed_at) "
        f"VALUES ({key}, 'P', false, {version}, 'test', '{moment}')"
    )


def answer_of(server: Server, document: str) -> dict[str, Any]:
    """The response to a query, after a check that all its errors are DATA_INVALID."""
    answer: dict[str, Any] = httpx.post(server.graphql, json={"query": document}).json()
    assert {error["extensions"]["reason"] for error in answer["errors"]} == {"DATA_INVALID"}
    return answer


@pytest.mark.usefixtures("database")
def test_a_bad_time_in_the_history_nulls_its_own_change(server: Server) -> None:
    """The page has the other changes. It has all of them if the time is not selected."""
    edges = "orderStatusChanges { edges { cursor node { orderKey changedAt } } }"
    found = answer_of(server, f"{{ {edges} }}")["data"]["orderStatusChanges"]["edges"]
    assert [edge["node"] and edge["node"]["changedAt"] for edge in found] == EXPECTED
    assert all(edge["cursor"] for edge in found)
    answer = httpx.post(server.graphql, json={"query": f"{{ {edges.replace('changedAt', '')} }}"}).json()
    assert [edge["node"]["orderKey"] for edge in answer["data"]["orderStatusChanges"]["edges"]] == KEYS


@pytest.mark.usefixtures("database")
def test_a_bad_time_of_one_order_leaves_the_changes_of_the_others(server: Server) -> None:
    """One statement reads the changes of all orders of a page, so one bad time could fail them all."""
    answer = answer_of(server, PAGE)
    assert len(answer["errors"]) == 2 * len(BAD)
    nodes = answer["data"]["orders"]["nodes"]
    assert [node["orderKey"] for node in nodes] == KEYS
    assert [node["statusUpdatedAt"] for node in nodes] == EXPECTED
    changes = [node["statusChanges"]["nodes"] for node in nodes]
    assert changes == [[moment and {"changedAt": moment}] for moment in EXPECTED]


@pytest.mark.usefixtures("database")
def test_a_page_with_bad_times_has_all_its_orders_on_both_paths(server: Server) -> None:
    """The second request finds a plan, and gets the same answer."""
    first, second = (answer_of(server, PLANNED) for _ in range(2))
    assert first["data"] == second["data"]
    assert [error["path"] for error in first["errors"]] == [error["path"] for error in second["errors"]]
    assert [node["statusUpdatedAt"] for node in first["data"]["orders"]["nodes"]] == EXPECTED


async def test_the_feed_goes_past_bad_times(server: Server, database: asyncpg.Connection) -> None:
    """A subscriber hears of every change, live and from the history, on both transports."""
    start = await head(server.url)
    live = [Subscriber(over_sse, server.url, start), Subscriber(over_websocket, server.url, start)]
    async with following(*live):
        await add(database, 100, "2026-01-01 00:00:00+00")
        for subscriber in live:
            await subscriber.hear(1)
        for key, moment in zip(KEYS, TIMES, strict=True):
            await add(database, int(key), moment, version=2)
        await add(database, 100, "2026-01-01 00:00:00+00", version=2)
        for subscriber in live:
            await subscriber.hear(len(TIMES) + 2)
        late = [Subscriber(over_sse, server.url, start), Subscriber(over_websocket, server.url, start)]
        async with following(*late):
            for subscriber in late:
                await subscriber.hear(len(TIMES) + 2)
    assert [subscriber.cut_off for subscriber in (*live, *late)] == [0, 0, 0, 0]
    assert {tuple(subscriber.events) for subscriber in (*live, *late)} == {tuple(live[0].events)}


@pytest.mark.usefixtures("database")
async def test_a_subscriber_that_selects_a_bad_time_gets_an_event_with_an_error(server: Server) -> None:
    """The event is null and has an id, and the subscription goes on."""
    (edge,) = (await ask(server.url, "{ orderStatusChanges(first: 1) { edges { cursor } } }"))["orderStatusChanges"][
        "edges"
    ]
    document = "subscription ($after: String) { orderStatusChanged(after: $after) { orderKey changedAt } }"
    body = {"query": document, "variables": {"after": edge["cursor"]}}
    events, ids = [], set()
    with httpx.stream(
        "POST", f"{server.url}/api/graphql/stream", json=body, headers={"accept": "text/event-stream"}
    ) as response:
        for line in response.iter_lines():
            name, _, value = line.partition(":")
            if name == "id":
                ids.add(value.strip())
            elif name == "data":
                events.append(json.loads(value))
            if len(events) == len(TIMES) - 1:
                break
    good, *bad = events
    assert good["data"]["orderStatusChanged"] == {"orderKey": KEYS[1], "changedAt": EXPECTED[1]}
    assert [event["data"] for event in bad] == [{"orderStatusChanged": None} for _ in BAD]
    assert {error["extensions"]["reason"] for event in bad for error in event["errors"]} == {"DATA_INVALID"}
    assert len(ids) >= len(TIMES) - 1
