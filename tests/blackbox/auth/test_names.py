"""Tests of users whose names resemble each other: the real process, as on the platform."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import cycle
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.servers.process import running_server, wait_for
from tests.support.lookalikes import LOOKALIKES, USER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.process import Server

BOSS = "boss@example.com"
OTHERS = tuple(LOOKALIKES.values())
KEYED = """
mutation {
  setOrderStatus(input: {orderKey: 4, status: %s, idempotencyKey: "0b5d4c3e-0000-4000-8000-1234567890ab"}) {
    replayed userErrors { code } change { changedBy }
  }
}
"""
ORDER = "{ order(orderKey: 1) { orderKey } }"
PAGE = "{ orders(first: 100) { nodes { orderKey clerk } } }"
FEED = "subscription { orderStatusChanged { version } }"
INSTANCES = "{ databaseInstances { nodes { name } } }"
AUDIT = "{ adminAudit(first: 100) { nodes { principal count } } }"


@pytest.fixture(scope="module")
def server(orders_url: str) -> Iterator[Server]:
    """A server where each caller has a few points, which do not come back, and one subscription."""
    settings: dict[str, Any] = {
        "AUTH_MODE": "databricks-app",
        "DATABRICKS_APP_NAME": "orders",
        "WRITER_USERS": "*",
        "ADMIN_USERS": BOSS.upper(),
        "RATE_LIMIT": "0.0001",
        "RATE_BURST": "1000",
        "MAX_SUBSCRIPTIONS_PER_CALLER": "1",
    }
    with running_server(orders_url, APP_SCHEMA="names", **settings) as server:
        yield server


def ask(server: Server, user: str, document: str) -> Any:
    """A user's answer."""
    headers = {b"x-forwarded-email": user.encode()}
    return httpx.post(server.graphql, json={"query": document}, headers=headers).json()


def reasons(answer: Any) -> list[str]:
    """The reasons of an answer's errors."""
    return [error["extensions"]["reason"] for error in answer.get("errors", ())]


def ascii_lower(user: str) -> str:
    """The one spelling of a name."""
    return user.encode().lower().decode()


def first_words(server: Server, user: str, stack: ExitStack) -> str:
    """Begin a subscription, which stays open as long as the stack, and return the beginning of its events."""
    url = f"{server.graphql}/stream"
    headers = {b"x-forwarded-email": user.encode(), b"accept": b"text/event-stream"}
    stream = stack.enter_context(httpx.stream("GET", url, params={"query": FEED}, headers=headers))
    # Without a reference to the iterator, httpx would close the stream.
    pieces = stream.iter_text()
    stack.callback(pieces.close)  # type: ignore[attr-defined] # it is a generator
    text = ""
    for piece in pieces:
        text += piece
        # The id of an event says that the subscription has begun, and an event that it has ended.
        if "id:" in text or "event:" in text:
            break
    return text


def test_a_key_is_its_users_own(server: Server) -> None:
    """In any case of ASCII's letters, and nobody else's. The change is recorded for the same spelling."""
    same = [(USER.title(), "PARTIAL", False), (USER, "PARTIAL", True), (USER.upper(), "PARTIAL", True)]
    others = [(user, status, False) for user, status in zip(OTHERS, cycle(("OPEN", "PARTIAL")), strict=False)]
    for user, status, replayed in same + others:
        answer = ask(server, user, KEYED % status)["data"]["setOrderStatus"]
        assert (answer["userErrors"], answer["replayed"]) == ([], replayed), user
        assert answer["change"] == {"changedBy": ascii_lower(user)}


def test_a_limit_of_subscriptions_is_its_users_own(server: Server) -> None:
    """However the name is spelled, it is one limit; and no other user uses it up."""
    with ExitStack() as stack:
        for user in (USER, *OTHERS):
            assert "id:" in first_words(server, user, stack), user
        for user in (USER.upper(), USER.title(), OTHERS[0]):
            assert "TOO_MANY_SUBSCRIPTIONS" in first_words(server, user, stack), user


def test_the_audit_tells_users_apart(server: Server) -> None:
    """It has one spelling for each user, and counts what the user was refused in another."""
    for user in (USER, USER.upper(), *OTHERS):
        assert reasons(ask(server, user, INSTANCES)) == ["ROLE_MISSING"]
    expected = {USER: 2} | {ascii_lower(user): 1 for user in OTHERS}
    found: dict[str, int] = {}

    def complete() -> bool:
        found.clear()
        for entry in ask(server, BOSS, AUDIT)["data"]["adminAudit"]["nodes"]:
            found[entry["principal"]] = found.get(entry["principal"], 0) + entry["count"]
        return found == expected

    wait_for(complete, what=lambda: f"{expected}: {found}")


def test_points_are_their_users_own(server: Server) -> None:
    """A user has as many in any case, and does not spend another's."""
    wait_for(lambda: bool(reasons(ask(server, USER.title(), PAGE))), what=lambda: "the points to be spent")
    for user in (USER, USER.upper()):
        assert reasons(ask(server, user, PAGE)) == ["RATE_LIMITED"]
    for user in OTHERS:
        assert reasons(ask(server, user, ORDER)) == []
