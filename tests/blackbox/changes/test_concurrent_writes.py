"""Tests of concurrent writers on two processes: no change is lost or made twice, and repetitions get equal answers."""

from __future__ import annotations

import asyncio
import functools
import itertools
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from tests.servers.process import PATIENCE_SECONDS, running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from server.local.cluster import Cluster
    from tests.servers.process import Server

    Json = dict[str, Any]
    Ask = Callable[..., Awaitable[Json]]
    SendAll = Callable[[str, Sequence[Json]], Awaitable[list[Json]]]
    History = Callable[[int], Awaitable[list[Json]]]

TABLE = "public.contested_orders"
APP_SCHEMA = "contested_changes"
CALLERS = 50
LIST_SIZE = 200
HELD_UP_AT = 1011
BEFORE, BEYOND = range(1001, HELD_UP_AT), range(HELD_UP_AT + 1, 1301)
ATTEMPTS = 10

OUTCOME = """
  previousStatus change { id version status changedAt note } order { status statusVersion }
  userErrors { code field message currentStatus currentVersion }
"""
SET_ONE = (
    f"mutation($input: SetOrderStatusInput!) {{ payload: setOrderStatus(input: $input) {{ {OUTCOME} replayed }} }}"
)
SET_MANY = f"""
mutation($input: SetOrderStatusesInput!) {{
  payload: setOrderStatuses(input: $input) {{ results {{ {OUTCOME} }} userErrors {{ code }} }}
}}
"""
HISTORY = "query($keys: [BigInt!]) { orderStatusChanges(filter: {orderKeys: $keys}) { nodes { id version note } } }"


@pytest.fixture(scope="module")
def order_keys(cluster: Cluster, orders_url: str) -> Iterator[Iterator[int]]:
    """The keys of orders that are OPEN and were never changed. Each test takes some."""
    assert orders_url
    cluster.run_sql(
        f"CREATE TABLE {TABLE} (LIKE public.orders_synced INCLUDING INDEXES); "
        f"INSERT INTO {TABLE} SELECT n, 1, 'O', 9.99, '1995-06-17', '5-LOW', 'Clerk#1', 0, '' "
        f"FROM generate_series(1, {BEYOND[-1]}) n"
    )
    yield itertools.count(1)
    cluster.run_sql(f"DROP TABLE {TABLE}; DROP SCHEMA {APP_SCHEMA} CASCADE")


@pytest.fixture(scope="module")
def servers(orders_url: str, order_keys: Iterator[int]) -> Iterator[list[Server]]:
    """Two processes on one database, whose default isolation level the server has to overrule.

    PostgreSQL checks for deadlocks before the server's lock timeout ends, so that its log shows them.
    """
    assert order_keys
    start = functools.partial(
        running_server,
        f"{orders_url}?deadlock_timeout=20ms&default_transaction_isolation=serializable",
        ORDERS_TABLE=TABLE,
        APP_SCHEMA=APP_SCHEMA,
        # For the whole history of every order in one response.
        LIMIT_COST="2000000",
    )
    with start() as one, start() as other:
        yield [one, other]


@pytest.fixture
async def ask(servers: list[Server]) -> AsyncIterator[Ask]:
    """A function that runs a document on either process, and returns its data. It retries what was not written."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(limits=limits) as client:

        async def ask_(document: str, *, process: int = 0, **variables: object) -> Json:
            answer: Json = {}
            for _ in range(ATTEMPTS):
                body = {"query": document, "variables": variables}
                answer = (await client.post(servers[process].graphql, json=body)).json()
                if [error["extensions"]["reason"] for error in answer.get("errors", [])] != ["ORDER_BUSY"]:
                    break
            assert "errors" not in answer, answer
            data: Json = answer["data"]
            return data

        yield ask_


@pytest.fixture
def send_all(ask: Ask) -> SendAll:
    """A function that sends mutations at once, alternately to the two processes, and returns their payloads."""

    async def send_all_(document: str, inputs: Sequence[Json]) -> list[Json]:
        sent = (ask(document, process=index % 2, input=input_) for index, input_ in enumerate(inputs))
        return [data["payload"] for data in await asyncio.gather(*sent)]

    return send_all_


@pytest.fixture
def history(ask: Ask) -> History:
    """A function that returns an order's changes, as the history has them."""

    async def history_(key: int) -> list[Json]:
        nodes: list[Json] = (await ask(HISTORY, keys=[key]))["orderStatusChanges"]["nodes"]
        return nodes

    return history_


@dataclass
class Gate:
    """A transaction that blocks all writers of one order until the gate is opened. It writes nothing."""

    database: asyncpg.Connection

    async def close(self, key: int) -> None:
        """Block the order: by a lock if it was changed before, else by an uncommitted row."""
        await self.database.execute(
            f"BEGIN; INSERT INTO {APP_SCHEMA}.order_status AS x VALUES ({key}, 'F', 1, 'O', 'gate', now()) "
            f"ON CONFLICT (o_orderkey) DO UPDATE SET version = x.version"
        )

    async def wait_for(self, writers: int, *, unless: asyncio.Task[Json] | None = None) -> None:
        """Wait until this many writers wait for the gate or for each other, or until the task `unless` is done."""
        # pg_stat_activity does not change within a transaction; pg_locks does.
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self.database.fetchval(waiting) < writers:
                if unless and unless.done():
                    break
                await asyncio.sleep(0.005)  # between two looks at the condition

    async def open(self) -> None:
        """Let the writers continue."""
        await self.database.execute("ROLLBACK")


@pytest.fixture
async def gate(orders_url: str, servers: list[Server]) -> AsyncIterator[Gate]:
    """A gate, still open."""
    assert servers
    database = await asyncpg.connect(orders_url)
    yield Gate(database)
    await database.close()


@pytest.fixture
def deadlocks(cluster: Cluster) -> Iterator[None]:
    """Check that PostgreSQL detects no deadlock during the test."""
    log, message = cluster.home / "postgres.log", "deadlock detected"
    before = log.read_text().count(message)
    yield
    assert log.read_text().count(message) == before


def codes(outcome: Json) -> list[str]:
    """The codes of the errors of a change."""
    return [error["code"] for error in outcome["userErrors"]]


@pytest.mark.parametrize(
    ("wish", "changes", "refused"),
    [
        ({"status": "FULFILLED", "expectedVersion": 0}, 1, []),
        ({"status": "FULFILLED", "expectedVersion": 7}, 0, ["STATUS_CONFLICT"]),
        ({"status": "OPEN"}, 0, []),
    ],
    ids=["change", "conflict", "no-op"],
)
async def test_a_key_that_many_send_at_once_is_used_once(
    send_all: SendAll,
    history: History,
    order_keys: Iterator[int],
    wish: Json,
    changes: int,
    refused: list[str],
) -> None:
    """One response is the first use and all others are replays. Apart from `replayed`, all are equal."""
    key = next(order_keys)
    input_ = {"orderKey": str(key), "note": "once", "idempotencyKey": str(uuid4()), **wish}
    answers = await send_all(SET_ONE, [input_] * CALLERS)
    assert sorted(answer.pop("replayed") for answer in answers) == [False] + [True] * (CALLERS - 1)
    assert answers == [answers[0]] * CALLERS
    assert codes(answers[0]) == refused
    assert answers[0]["order"]["statusVersion"] == changes
    assert await history(key) == [
        {name: change[name] for name in ("id", "version", "note")} for change in [answers[0]["change"]] if change
    ]


@pytest.mark.parametrize("before", [0, 1], ids=["never-changed", "changed-once"])
async def test_of_many_writers_that_expect_one_version_one_wins(
    send_all: SendAll,
    history: History,
    order_keys: Iterator[int],
    before: int,
) -> None:
    """All others get a conflict with the winner's status and version, and write nothing."""
    key = next(order_keys)
    statuses = ["FULFILLED", "PARTIAL"]
    if before:
        statuses = ["OPEN", "PARTIAL"]
        await send_all(SET_ONE, [{"orderKey": str(key), "status": "FULFILLED"}])
    answers = await send_all(
        SET_ONE,
        [
            # The statuses must not alternate in step with the processes.
            {"orderKey": str(key), "status": statuses[index // 2 % 2], "expectedVersion": before, "note": str(index)}
            for index in range(CALLERS)
        ],
    )
    (winner,) = [answer for answer in answers if answer["change"]]
    assert winner["userErrors"] == []
    now = {"status": winner["change"]["status"], "statusVersion": before + 1}
    for answer in answers:
        assert answer["order"] == now
        assert not answer["replayed"]
        if answer is not winner:
            (error,) = answer["userErrors"]
            assert (error["code"], error["field"]) == ("STATUS_CONFLICT", ["input", "expectedVersion"])
            assert {"status": error["currentStatus"], "statusVersion": error["currentVersion"]} == now
    latest = (await history(key))[before:]
    assert [change["id"] for change in latest] == [winner["change"]["id"]]
    assert latest[0]["note"] == winner["change"]["note"]


async def test_a_key_sent_with_two_inputs_belongs_to_the_first(
    send_all: SendAll, history: History, order_keys: Iterator[int]
) -> None:
    """In every race one change is made, and the other caller gets IDEMPOTENCY_KEY_REUSED."""
    keys = [next(order_keys) for _ in range(CALLERS // 2)]
    answers = await send_all(
        SET_ONE,
        [
            {"orderKey": str(key), "status": status, "idempotencyKey": idempotency_key}
            for key in keys
            for idempotency_key in [str(uuid4())]
            for status in ("FULFILLED", "PARTIAL")
        ],
    )
    for key, pair in zip(keys, zip(answers[::2], answers[1::2], strict=True), strict=True):
        won, lost = sorted(pair, key=codes)
        assert (codes(won), codes(lost)) == ([], ["IDEMPOTENCY_KEY_REUSED"])
        assert lost["userErrors"][0]["field"] == ["input", "idempotencyKey"]
        assert (lost["change"], lost["order"], lost["replayed"], won["replayed"]) == (None, None, False, False)
        assert [change["id"] for change in await history(key)] == [won["change"]["id"]]


@pytest.mark.usefixtures("deadlocks")
async def test_overlapping_lists_are_applied_as_their_modes_say(send_all: SendAll, ask: Ask, gate: Gate) -> None:
    """Lists in different orders and single changes among them never deadlock, and skip or repeat no version."""
    chance = random.Random(7)  # noqa: S311 # not for cryptography
    made: list[tuple[str, int]] = []

    def change(key: int, version: int) -> Json:
        # All lists change the order with the gate. Few changes expect a version, so that not every ATOMIC list is
        # refused.
        expects = key != HELD_UP_AT and chance.random() < 0.01
        status = chance.choice(["FULFILLED", "PARTIAL", "OPEN"][: version + 2])
        return {"orderKey": str(key), "status": status, "expectedVersion": version if expects else None}

    for version in range(2):
        modes = ["ATOMIC", "INDEPENDENT"] * 3
        others = [chance.sample([*BEFORE, *BEYOND], LIST_SIZE - 1) for _ in modes]
        lists = [[change(key, version) for key in [*keys, HELD_UP_AT]] for keys in others]
        # No list has locked any of these yet: lists lock in key order.
        singles = [change(key, version) for key in chance.sample(BEYOND, 20)]
        await gate.close(HELD_UP_AT)
        inputs = [{"mode": mode, "changes": sent} for mode, sent in zip(modes, lists, strict=True)]
        held_up = asyncio.ensure_future(send_all(SET_MANY, inputs))
        await gate.wait_for(len(lists))
        alone = await send_all(SET_ONE, singles)
        await gate.open()
        answers = await held_up
        for mode, answer in zip(modes, answers, strict=True):
            assert answer["userErrors"] == []
            refused = {code for result in answer["results"] for code in codes(result)}
            assert refused <= ({"STATUS_CONFLICT", "CHANGE_NOT_APPLIED"} if mode == "ATOMIC" else {"STATUS_CONFLICT"})
            assert mode != "ATOMIC" or not refused or not any(result["change"] for result in answer["results"])
        sent = [*itertools.chain(*lists), *singles]
        results = [*itertools.chain(*(answer["results"] for answer in answers)), *alone]
        for wanted, result in zip(sent, results, strict=True):
            assert bool(result["change"]) == (not codes(result) and result["previousStatus"] != wanted["status"])
            if result["change"]:
                made.append((wanted["orderKey"], result["change"]["version"]))
    answer = await ask(
        """query($keys: [BigInt!]) {
          orders(first: 1000, filter: {orderKey: {in: $keys}}) {
            nodes { orderKey statusVersion statusChanges(first: 1000) { nodes { version } } }
          }
        }""",
        keys=[*BEFORE, HELD_UP_AT, *BEYOND],
    )
    for node in answer["orders"]["nodes"]:
        versions = list(range(1, node["statusVersion"] + 1))
        assert [change["version"] for change in node["statusChanges"]["nodes"]] == versions
        assert sorted(version for key, version in made if key == node["orderKey"]) == versions


@pytest.mark.usefixtures("deadlocks")
@pytest.mark.parametrize(
    ("changed_before", "held_up_at", "changed_meanwhile", "other_list"),
    [([2], 0, 1, [1, 2]), ([], 1, 2, [0, 2])],
    ids=["locks-what-the-first-finds-new", "finds-new-what-the-first-has-inserted"],
)
async def test_a_list_does_not_wait_for_one_that_waits_for_it(
    ask: Ask,
    gate: Gate,
    order_keys: Iterator[int],
    changed_before: list[int],
    held_up_at: int,
    changed_meanwhile: int,
    other_list: list[int],
) -> None:
    """Two lists overlap in never-changed orders, one of which a third writer changes after the first list's check."""
    keys = [next(order_keys) for _ in range(3)]

    def write(places: list[int], status: str = "FULFILLED", *, process: int = 0) -> asyncio.Task[Json]:
        changes = [{"orderKey": str(keys[place]), "status": status} for place in places]
        return asyncio.ensure_future(ask(SET_MANY, process=process, input={"changes": changes}))

    await write(changed_before, "PARTIAL")
    await gate.close(keys[held_up_at])
    first = write([0, 1, 2])
    await gate.wait_for(1)
    await write([changed_meanwhile], "PARTIAL", process=1)
    other = write(other_list, process=1)
    await gate.wait_for(2, unless=other)
    await gate.open()
    results = [(await task)["payload"]["results"] for task in (first, other)]
    assert [codes(result) for result in itertools.chain(*results)] == [[]] * 5
    assert {result["order"]["status"] for result in itertools.chain(*results)} == {"FULFILLED"}


async def test_a_later_version_is_never_of_an_earlier_time(ask: Ask, order_keys: Iterator[int], gate: Gate) -> None:
    """A list begins, and waits for its first order, while another writer changes the second one."""
    first, second = sorted((next(order_keys), next(order_keys)))
    changes = [{"orderKey": str(key), "status": "FULFILLED"} for key in (first, second)]
    await gate.close(first)
    listed = asyncio.ensure_future(ask(SET_MANY, input={"changes": changes}))
    await gate.wait_for(1, unless=listed)
    await ask(SET_ONE, process=1, input={"orderKey": str(second), "status": "PARTIAL"})
    await gate.open()
    await listed
    document = (
        "query($keys: [BigInt!]) { orderStatusChanges(filter: {orderKeys: $keys}) { nodes { version changedAt } } }"
    )
    nodes = (await ask(document, keys=[second]))["orderStatusChanges"]["nodes"]
    times = [node["changedAt"] for node in sorted(nodes, key=lambda node: node["version"])]
    assert len(times) == 2
    assert times == sorted(times)
