"""Tests of GraphQL over WebSocket with graphql-ws, the reference client of the protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.clients import node

if TYPE_CHECKING:
    from tests.servers.process import Server


@pytest.fixture(scope="module")
def seen(shop: Server) -> Any:
    """The results of the client."""
    return node.run("graphql_ws.mjs", shop.url)


def test_one_socket_serves_all_operations(seen: Any) -> None:
    """Two subscriptions, mutations, queries and mistakes share one socket, and none of them closes it."""
    shared = seen["shared"]
    assert shared["opened"] == 1
    assert shared["order"] == {"orderKey": "32", "status": "OPEN"}


def test_every_change_is_heard_once_and_in_order(seen: Any) -> None:
    """A subscription gets concurrent changes in the history's order. One that is filtered gets only its own."""
    shared = seen["shared"]
    assert len(shared["made"]) == 9
    assert shared["all"] == shared["made"]
    assert shared["some"] == [change for change in shared["made"] if change["orderKey"] == "32"]
    assert len(shared["some"]) == 3


@pytest.mark.parametrize(
    ("mistake", "reason"),
    [
        ("syntax", "SYNTAX"),
        ("name", "OPERATION_UNDETERMINED"),
        ("field", "DOCUMENT_INVALID"),
        ("cursor", "CURSOR_INVALID"),
    ],
)
def test_a_mistake_ends_its_own_operation_only(seen: Any, mistake: str, reason: str) -> None:
    """A failing operation ends with an error that gives the reason. Other subscriptions on the socket go on."""
    assert seen["shared"]["refused"][mistake] == [reason]


def test_after_a_cut_it_goes_on_where_it_stopped(seen: Any) -> None:
    """After a network failure the client subscribes after its last cursor, and gets each missed change once."""
    cut = seen["cut"]
    assert cut["sockets"] == 2
    assert len(cut["made"]) == 8
    assert cut["heard"] == cut["made"]


def test_every_greeting_is_good(seen: Any) -> None:
    """Connection parameters may be absent, null, empty or given. The server acknowledges them all, and answers."""
    assert len(seen["greeted"]) == 5
    for name, answers in seen["greeted"].items():
        assert answers == [{"data": {"__typename": "Query"}}], name


def test_pings_are_answered(seen: Any) -> None:
    """Each ping of the client gets a pong."""
    assert seen["pongs"] == 3
