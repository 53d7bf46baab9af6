"""Tests of fairness: heavy processor work of some requests leaves others their turn."""

from __future__ import annotations

import json
import selectors
import time
from typing import TYPE_CHECKING, Any, Final

import pytest
from graphql import get_introspection_query

from tests.bad_inputs.connection import connect, read_reply
from tests.servers.process import running_server
from tests.support.calibration import MEASURES, held

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from tests.servers.process import Server

CROWD: Final = 50
# How many heavy requests may be answered before a page that was sent after all of them. On an idle machine it is one or
# two. On a busy machine, too, each of them takes far longer than a page.
FIRST: Final = 25
# A page may wait this many times as long as the longest heavy request takes alone.
TIMES: Final = 5
PAGE: Final = {"query": "{ orders(first: 10) { nodes { id orderKey status totalPrice orderDate } } }"}


def escapes(number: int) -> str:
    """A text of 64 KiB, most of which is one string of escapes. Each is another text."""
    start, end = '{ orders(first: 0, filter: {clerk: {eq: "', f'{number:06}"}}}}) {{ nodes {{ id }} }} }}'
    return start + '\\"' * ((65_536 - len(start) - len(end)) // 2) + end


def standard(_number: int) -> str:
    """The standard introspection query, always the same text."""
    return get_introspection_query()


def introspection(number: int) -> str:
    """The standard query. Each is another text, so no answer is remembered."""
    return f"{get_introspection_query()}# {number:06}"


def wide(number: int) -> str:
    """A document that takes long to validate: many fields, each with its own alias and arguments."""
    fields = " ".join(f"a{n}: statusChanges(first: 1) {{ nodes {{ version }} }}" for n in range(90))
    return f"{{ orders(first: 0) {{ nodes {{ {fields} }} }} }} # {number:06}"


def documents_of(write: Callable[[int], str]) -> Callable[[int], dict[str, Any]]:
    """The bodies of requests for these documents."""
    return lambda number: {"query": write(number)}


def many_values(_number: int) -> dict[str, Any]:
    """A thousand values that are converted and refused, one by one. The document is remembered."""
    document = "query ($keys: [BigInt!]) { orders(filter: {orderKey: {in: $keys}}) { nodes { id } } }"
    return {"query": document, "variables": {"keys": ["x" * 50] * 1_000}}


HEAVY: Final[dict[str, Callable[[int], dict[str, Any]]]] = {
    "different introspections": documents_of(introspection),
    "long texts": documents_of(escapes),
    "wide documents": documents_of(wide),
    "many values": many_values,
}


def request_of(server: Server, asked: dict[str, Any]) -> bytes:
    """A POST with this body."""
    body = json.dumps(asked).encode()
    head = (
        f"POST /api/graphql HTTP/1.1\r\nHost: {server.url.removeprefix('http://')}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def order_of_answers(server: Server, bodies: list[dict[str, Any]]) -> list[int]:
    """Send these requests at once, each on its own connection, and return their indexes as they are answered."""
    connections = [connect(server.url) for _ in bodies]
    waiting = selectors.DefaultSelector()
    answered: list[int] = []
    for index, (connection, asked) in enumerate(zip(connections, bodies, strict=True)):
        connection.sendall(request_of(server, asked))
        waiting.register(connection, selectors.EVENT_READ, index)
    while len(answered) < len(bodies):
        for key, _ in waiting.select():
            waiting.unregister(key.fileobj)
            answered.append(key.data)
    for connection in connections:
        _read(connection)
        connection.close()
    return answered


def seconds_of(connection: socket.socket, server: Server, asked: dict[str, Any]) -> float:
    """How long the answer to a request takes on this connection."""
    began = time.perf_counter()
    connection.sendall(request_of(server, asked))
    _read(connection)
    return time.perf_counter() - began


def _read(connection: socket.socket) -> None:
    with connection.makefile("rb") as stream:
        reply = read_reply(stream)
    assert reply is not None
    assert reply.status == 200, reply


@pytest.mark.parametrize("kind", HEAVY)
def test_a_page_does_not_wait_for_fifty_heavy_requests(orders_url: str, kind: str) -> None:
    """The page is sent after all of them, with a document that the server does not know yet, and is answered early."""
    with running_server(orders_url) as server:
        answered = order_of_answers(server, [*(HEAVY[kind](number) for number in range(CROWD)), PAGE])
    assert answered.index(CROWD) < FIRST


@pytest.mark.long
@pytest.mark.parametrize("kind", ["equal introspections", *HEAVY])
def test_a_page_waits_for_a_few_of_fifty_heavy_requests(orders_url: str, kind: str) -> None:
    """The page of 10 waits for at most five times the longest single one."""
    body_of = HEAVY.get(kind, documents_of(standard))
    with running_server(orders_url, patient=False) as server, connect(server.url) as mine:
        alone = max(seconds_of(mine, server, body_of(number)) for number in range(3))
        crowd = [connect(server.url) for _ in range(CROWD)]
        for number, connection in enumerate(crowd, 3):
            connection.sendall(request_of(server, body_of(number)))
        waited = seconds_of(mine, server, PAGE)
        for connection in crowd:
            connection.close()
    line = f"a page beside {CROWD} {kind}: {waited * 1000:.0f} ms, and one of them alone {alone * 1000:.0f} ms"
    held.append(line)
    assert waited <= TIMES * alone or not MEASURES, line
