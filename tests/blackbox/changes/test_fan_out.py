"""Tests of one change for many subscribers: read once for all of them, paid for by each, and at nobody else's expense."""

from __future__ import annotations

import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from tests.blackbox.raw_sockets import raw_socket, text
from tests.servers.process import NO_TLS, running_server, wait_for
from tests.support.calibration import MEASURES, held

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.blackbox.raw_sockets import RawSocket
    from tests.servers.process import Server

pytestmark = pytest.mark.faults

SCHEMA: Final = "fan_out"
SET: Final = """
mutation ($input: SetOrderStatusesInput!) { setOrderStatuses(input: $input) { results { change { version } } } }
"""
FULFILLED: Final = "query($n: Int) { orders(first: $n, filter: {status: {eq: FULFILLED}}) { nodes { orderKey } } }"
HEAD: Final = "{ orderStatusChanges(first: 0) { headCursor } }"
PAGE: Final = "{ orders(first: 10) { nodes { id orderKey status totalPrice orderDate } } }"
CHANGED: Final = "subscription ($after: String) { orderStatusChanged(after: $after) { cursor %s } }"
# Each alias looks the order up, in one statement for all of them.
ALIASES: Final = CHANGED % " ".join(f"a{number}: order {{ orderKey status clerk }}" for number in range(30))
# The largest numbers that one caller may have: subscriptions, those of one socket, and changes of one list.
SUBSCRIPTIONS, ON_A_SOCKET, CHANGES = 500, 100, 1_000
PAGES: Final = 100
LONGEST_SECONDS: Final = 120
# The median of others' pages may be this many times as long as without the crowd.
TIMES: Final = 3


@pytest.fixture(scope="module")
def server(orders_url: str) -> Iterator[Server]:
    """A server without a rate limit."""
    with running_server(orders_url, APP_SCHEMA=SCHEMA) as server:
        yield server


def ask(server: Server, document: str, **variables: Any) -> dict[str, Any]:
    """Run a document that has to succeed."""
    body = {"query": document, "variables": variables}
    answer = httpx.post(server.graphql, json=body, verify=NO_TLS).json()
    assert "errors" not in answer, answer
    data: dict[str, Any] = answer["data"]
    return data


def change(server: Server, keys: Sequence[int], status: str) -> None:
    """Set the status of these orders in one list. It has to be new for each."""
    changes = [{"orderKey": key, "status": status} for key in keys]
    results = ask(server, SET, input={"changes": changes})["setOrderStatuses"]["results"]
    assert all(result["change"] for result in results)


def keys_of(server: Server, count: int) -> list[int]:
    """The keys of the first orders that are fulfilled."""
    nodes = ask(server, FULFILLED, n=count)["orders"]["nodes"]
    return [int(node["orderKey"]) for node in nodes]


def metric(server: Server, start: str) -> float:
    """The value of the metric whose line starts with this."""
    lines = httpx.get(f"{server.url}/api/metrics", verify=NO_TLS).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(start))


def subscribe(socket: RawSocket, document: str, *, id_: str = "1", **variables: Any) -> None:
    """Start a subscription."""
    payload = {"query": document, "variables": variables}
    socket.send(text({"id": id_, "type": "subscribe", "payload": payload}))


@contextmanager
def crowd(server: Server, subscriptions: int, *, texts: int = 1) -> Iterator[list[RawSocket]]:
    """Sockets with this many subscriptions, all of which receive the changes that are made from now on.

    They have equal selections, in so many different texts.
    """
    with ExitStack() as stack:
        sockets = []
        for first in range(0, subscriptions, ON_A_SOCKET):
            socket = stack.enter_context(raw_socket(server.url))
            sockets.append(socket)
            for number in range(first, min(first + ON_A_SOCKET, subscriptions)):
                subscribe(socket, f"{ALIASES} # {number % texts}", id_=str(number))
        wait_for(
            lambda: metric(server, "orders_api_feed_subscribers") >= subscriptions, what=lambda: "all subscriptions"
        )
        yield sockets


def test_a_change_is_read_once_for_all_equal_subscriptions(server: Server) -> None:
    """The number of statements does not depend on the number of subscribers."""
    keys = keys_of(server, 20)
    with crowd(server, 40) as (socket,):
        pages = 'orders_api_statement_duration_seconds_count{pool="pages"}'
        before = metric(server, pages)
        change(server, keys, "PARTIAL")
        socket.pass_over(40 * len(keys))
        assert metric(server, pages) - before < 2 * len(keys)


def test_a_subscriber_that_cannot_pay_for_its_events_resumes_when_it_can(orders_url: str, server: Server) -> None:
    """It is ended with the time to retry, and has every event up to there."""
    document = CHANGED % "orderKey"
    keys = keys_of(server, 30)
    with (
        running_server(orders_url, APP_SCHEMA=SCHEMA, RATE_LIMIT="0.001", RATE_BURST="120") as limited,
        raw_socket(limited.url) as socket,
    ):
        start = ask(server, HEAD)["orderStatusChanges"]["headCursor"]
        change(server, keys, "OPEN")
        subscribe(socket, document, after=start)
        *events, end = _messages(socket, len(keys))
    paid = [int(event["payload"]["data"]["orderStatusChanged"]["orderKey"]) for event in events]
    # The start costs 40 points or so, and each event six.
    assert 10 <= len(paid) <= 15
    assert paid == sorted(keys)[: len(paid)]
    (error,) = end["payload"]
    assert error["extensions"]["reason"] == "RATE_LIMITED"
    assert error["extensions"]["retryable"]
    assert 30 < error["extensions"]["retryAfter"] <= 6_000
    with raw_socket(server.url) as socket:
        subscribe(socket, document, after=events[-1]["payload"]["data"]["orderStatusChanged"]["cursor"])
        for key in sorted(keys)[len(paid) :]:
            message = httpx.Response(200, content=socket.read().payload).json()
            assert message["payload"]["data"]["orderStatusChanged"]["orderKey"] == str(key)


def _messages(socket: RawSocket, most: int) -> Iterator[dict[str, Any]]:
    """The messages of the only operation, up to its end or to this number."""
    for _ in range(most):
        message = httpx.Response(200, content=socket.read().payload).json()
        yield message
        if message["type"] != "next":
            return


def test_a_socket_that_has_changed_an_order_sees_its_change(server: Server) -> None:
    """Also in an event of an earlier change, for which another subscriber was answered a moment ago."""
    (key,) = keys_of(server, 1)
    document = CHANGED % "version order { status statusVersion }"
    start = ask(server, HEAD)["orderStatusChanges"]["headCursor"]
    change(server, [key], "PARTIAL")
    with raw_socket(server.url) as other, raw_socket(server.url) as own:
        subscribe(other, document, after=start)
        (event,) = _messages(other, 1)
        version = event["payload"]["data"]["orderStatusChanged"]["version"]
        assert event["payload"]["data"]["orderStatusChanged"]["order"]["statusVersion"] == version
        subscribe(own, SET, input={"changes": [{"orderKey": key, "status": "OPEN"}]})
        assert [message["type"] for message in _messages(own, 2)] == ["next", "complete"]
        subscribe(own, document, after=start)
        (event,) = _messages(own, 1)
    changed = event["payload"]["data"]["orderStatusChanged"]
    assert changed["version"] == version
    assert changed["order"] == {"status": "OPEN", "statusVersion": version + 1}


@pytest.mark.long
@pytest.mark.parametrize("texts", [1, 100])
def test_a_list_of_changes_for_a_crowd_of_subscribers_leaves_others_their_time(orders_url: str, texts: int) -> None:
    """Others' median stays within three times of what it is without the crowd, and no request is refused.

    So it does if the selections look different: then they are resolved apart, and the crowd waits for its events.
    """
    with (
        running_server(orders_url, patient=False, APP_SCHEMA=f"fan_out_{texts}") as server,
        httpx.Client(base_url=server.url) as other,
        ThreadPoolExecutor(SUBSCRIPTIONS // ON_A_SOCKET) as readers,
    ):
        keys = keys_of(server, CHANGES)
        with crowd(server, SUBSCRIPTIONS, texts=texts) as sockets:
            alone = statistics.median(_page_seconds(other) for _ in range(PAGES))
            used, began = _cpu_seconds(server), time.monotonic()
            reading = [readers.submit(socket.pass_over, ON_A_SOCKET * CHANGES) for socket in sockets]
            change(server, keys, "PARTIAL")
            waits = []
            while not all(one.done() for one in reading) and time.monotonic() - began < LONGEST_SECONDS:
                waits.append(_page_seconds(other))
            took, used = time.monotonic() - began, _cpu_seconds(server) - used
            received = sum(one.done() for one in reading)
    beside = statistics.median(waits)
    held.append(
        f"a page beside {SUBSCRIPTIONS} subscribers of {texts} texts and {CHANGES} changes: median {1000 * beside:.1f} ms "
        f"of {len(waits)}, longest {1000 * max(waits):.0f} ms, alone {1000 * alone:.1f} ms; {used:.1f} s of the processor "
        f"in {took:.1f} s"
    )
    assert received == len(sockets) or texts > 1 or not MEASURES, held[-1]
    assert beside <= TIMES * alone or not MEASURES, held[-1]


def _page_seconds(client: httpx.Client) -> float:
    """How long a page takes, which has to be answered."""
    began = time.perf_counter()
    answer = client.post("/api/graphql", json={"query": PAGE})
    assert answer.status_code == 200, answer.text
    return time.perf_counter() - began


def _cpu_seconds(server: Server) -> float:
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
