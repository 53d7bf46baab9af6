"""Tests of GraphiQL in a real browser: what a person does with the page, on a machine without internet."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from server.graphql.graphiql import vendor
from tests.clients import node

if TYPE_CHECKING:
    from tests.servers.process import Server


@pytest.fixture(scope="module")
def visit(shop: Server, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The results of the browser script."""
    node.tool("npm")
    assert vendor.main([]) == 0
    screenshots = tmp_path_factory.mktemp("graphiql")
    seen = node.run("graphiql.mjs", shop.url, node.tool("chromium"), str(screenshots))
    print(f"screenshots: {screenshots}")  # noqa: T201 # shown by pytest -s and on failure
    return seen


def test_the_home_page_is_graphiql(visit: Any) -> None:
    """A user who opens the server's address gets GraphiQL, with a tab for each example, also on a second visit."""
    assert visit["title"] == "Orders · GraphiQL"
    assert visit["tabs"] == [
        "OrdersPage",
        "MostExpensiveOrders",
        "ChangedLately",
        "ChangedLast",
        "OneOrder",
        "OrderDetails",
        "StatsByStatus",
        "YearByMonthAndStatus",
        "HowFresh",
        "ChangeStatus",
        "StatusHistory",
        "StatusChanges",
        "Lakebase",
    ]


def test_every_request_is_to_our_origin(visit: Any, shop: Server) -> None:
    """No request and no WebSocket goes anywhere but to the server that the page came from."""
    elsewhere = [request for request in visit["requests"] if not request["url"].startswith(f"{shop.url}/")]
    assert visit["requests"]
    assert elsewhere == []
    assert visit["subscription"]["url"] == shop.graphql.replace("http", "ws")


def test_the_browser_has_nothing_to_complain_of(visit: Any) -> None:
    """The console and the scripts have no errors, no request fails, and nothing violates the security policy."""
    assert visit["complaints"] == []


def test_every_example_says_what_it_shows_and_runs(visit: Any) -> None:
    """Each example begins with an explanation, and runs without errors."""
    for example in visit["examples"].values():
        assert example["query"].startswith("# ")
        assert "errors" not in example
    assert visit["subscription"]["query"].startswith("# ")


def test_the_examples_show_orders(visit: Any) -> None:
    """Each response has orders: a page, the most expensive of a month, one order twice, and statistics."""
    answers = {name: example["data"] for name, example in visit["examples"].items()}
    # The page size in the example's variables. Without them the page would have 50 orders.
    assert len(answers["OrdersPage"]["orders"]["nodes"]) == 10
    expensive = answers["MostExpensiveOrders"]["orders"]
    prices = [float(order["totalPrice"]) for order in expensive["nodes"]]
    assert len(prices) == 10
    assert prices == sorted(prices, reverse=True)
    assert expensive["totalCount"] > 10
    assert answers["OneOrder"]["node"] == {"__typename": "Order", **answers["OneOrder"]["order"]}
    details = answers["OrderDetails"]["order"]
    lines = details["lineItems"]["nodes"]
    assert details["customer"]["nation"]["region"]["name"]
    assert len(lines) == details["lineItems"]["totalCount"] > 1
    assert all(line["part"]["name"] for line in lines)
    year = answers["YearByMonthAndStatus"]["orderGroups"]
    assert {group["orderMonth"] for group in year["groups"]} == {f"1996-{month:02}-01" for month in range(1, 13)}
    assert not year["truncated"]
    by_status = answers["StatsByStatus"]["orderStats"]["byStatus"]
    assert [group["status"] for group in by_status] == ["OPEN", "FULFILLED", "PARTIAL"]
    # The orders were not synced by a platform.
    assert len(answers["HowFresh"]["orders"].pop("nodes")) == 3
    assert answers["HowFresh"] == {"orders": {"freshness": None}, "now": None}


def test_the_change_of_a_status_is_safe_to_run_again(visit: Any) -> None:
    """The example changes a status with an idempotency key. Run again, also in another window, it is replayed."""
    first, again = visit["examples"]["ChangeStatus"]["data"], visit["subscription"]["again"]["data"]
    assert first["setOrderStatus"]["order"]["status"] == "PARTIAL"
    assert (first["setOrderStatus"]["replayed"], first["setOrderStatus"]["userErrors"]) == (False, [])
    assert again == {"setOrderStatus": {**first["setOrderStatus"], "replayed": True}}


def test_a_subscription_hears_what_another_window_changes(visit: Any) -> None:
    """From the feed's head on, the subscription shows no past or replayed changes, and each new one as it is made."""
    assert visit["examples"]["StatusHistory"]["data"]["orderStatusChanges"]["nodes"]
    changed = visit["subscription"]["changed"]["data"]["setOrderStatus"]
    heard = visit["subscription"]["heard"]["data"]["orderStatusChanged"]
    assert (heard["orderKey"], heard["previousStatus"], heard["status"]) == ("1", "PARTIAL", "FULFILLED")
    assert changed["order"]["status"] == "FULFILLED"
    assert heard["cursor"]


def test_the_schema_is_explained(visit: Any) -> None:
    """The documentation explorer shows a field with its description, arguments and type."""
    for part in ("page by page (Relay)", "OrderConnection", "pageInfo.endCursor"):
        assert part in visit["documentation"]


def test_a_field_is_added_by_a_click(visit: Any) -> None:
    """The explorer plugin writes the ticked field into the query."""
    assert "clerk" not in visit["examples"]["OrdersPage"]["query"]
    assert "clerk" in visit["explored"]


def test_one_of_several_operations_is_chosen(visit: Any) -> None:
    """GraphiQL runs the operation chosen from the menu."""
    assert list(visit["chosen"]["data"]["orderCount"]) == ["asOf"]


def test_a_wrong_query_is_answered_with_the_reason(visit: Any) -> None:
    """The page shows the server's message about a field that does not exist."""
    assert [error["message"] for error in visit["wrong"]["errors"]] == [
        "Cannot query field 'noSuchField' on type 'Query'."
    ]


def test_a_token_is_sent_and_never_stored(visit: Any) -> None:
    """A header goes out with the request. Tabs, history and favourites do not store it, nor can a user make them."""
    token = visit["token"]
    assert token["sent"] == token["secret"]
    assert {"orders:graphiql:tabState", "orders:graphiql:queries", "orders:graphiql:favorites"} <= set(token["stored"])
    assert token["secret"] not in json.dumps(token["stored"])
    assert "Persist headers" not in visit["settings"]


def test_a_reload_finds_the_tabs_as_they_were(visit: Any) -> None:
    """After a reload the same tabs are there with their content, except for the headers."""
    reloaded = visit["reloaded"]
    assert reloaded["found"] == reloaded["left"]
    assert (reloaded["query"], reloaded["headers"]) == ("{ noSuchField }", "")
