"""Tests of GraphQL over server-sent events with graphql-sse, the reference client of the protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.clients import node

if TYPE_CHECKING:
    from tests.servers.process import Server


@pytest.fixture(scope="module")
def seen(shop: Server) -> Any:
    """The results of the client in its distinct connections mode."""
    return node.run("graphql_sse.mjs", shop.url)


def test_every_kind_of_operation_is_served(seen: Any) -> None:
    """Queries and mutations have one result and end. A subscription gets the changes that the mutations made."""
    (query,) = seen["query"]
    changed = [result["data"]["setOrderStatus"] for (result,) in seen["set"].values()]
    assert [payload["userErrors"] for payload in changed] == [[], []]
    assert seen["first"] == [payload["change"] for payload in changed]
    assert query["data"]["orderStatusChanges"]["nodes"] == seen["first"] + seen["second"]


def test_a_second_subscription_goes_on_where_the_first_stopped(seen: Any) -> None:
    """With its last cursor as `after`, a subscription gets the changes made meanwhile, and then the new ones."""
    assert [change["status"] for change in seen["first"] + seen["second"]] == [
        "PARTIAL",
        "OPEN",
        "FULFILLED",
        "PARTIAL",
    ]
    versions = [change["version"] for change in seen["first"] + seen["second"]]
    assert versions == list(range(versions[0], versions[0] + 4))


@pytest.mark.parametrize(
    ("mistake", "reason"),
    [
        ("syntax", "SYNTAX"),
        ("name", "OPERATION_UNDETERMINED"),
        ("field", "DOCUMENT_INVALID"),
        ("cursor", "CURSOR_INVALID"),
        ("page", "PAGE_SIZE_INVALID"),
    ],
)
def test_a_mistake_is_a_result(seen: Any, mistake: str, reason: str) -> None:
    """A failing operation gives one result with the error and ends. The client does not retry."""
    (result,) = seen["refused"][mistake]
    assert [error["extensions"]["reason"] for error in result["errors"]] == [reason]
