"""Owns the test of GraphiQL as an operator uses it: plans, provisioning and teardown, with their progress streaming."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from server import vendor
from tests.clients import node
from tests.operator import INSTANCE, TABLE, operated
from tests.platform import platform_directory, running_platform

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """What the browser saw."""
    node.tool("npm")
    assert vendor.main([]) == 0
    screenshots = tmp_path_factory.mktemp("graphiql_operator")
    with (
        platform_directory() as directory,
        running_platform(directory, start_delay=0.5, snapshot_delay=2) as platform,
        operated(platform) as operator,
    ):
        operator.provisioned()
        yield node.run("graphiql_operator.mjs", operator.server.url, node.tool("chromium"), str(screenshots))
    print(f"screenshots: {screenshots}")  # noqa: T201 # pytest -s and a failure show it


def test_what_stands_behind_the_api_is_seen_at_a_glance(visit: Any) -> None:
    """The example shows instance, catalog and table, and the operation that made them."""
    found = visit["glance"]["data"]
    assert found["lakebase"]["instance"]["name"] == INSTANCE
    assert found["lakebase"]["syncedTable"]["name"] == TABLE
    assert [one["kind"] for one in found["operations"]["nodes"]] == ["PROVISION"]
    assert visit["complaints"] == []


def test_a_plan_is_seen_before_anything_is_done(visit: Any) -> None:
    """What would be deleted, in its order; nothing is begun."""
    planned = visit["plan"]["data"]["teardownLakebase"]
    assert [step["action"] for step in planned["plan"]["steps"]] == ["DELETE"] * 3
    assert (planned["operation"], planned["userErrors"]) == (None, [])


@pytest.mark.parametrize("mutation", ["refreshSyncedTable", "teardownLakebase", "provisionLakebase"])
def test_percentages_stream_to_the_end(visit: Any, mutation: str) -> None:
    """They rise from event to event, and the last says that it succeeded."""
    seen = visit["watched"][mutation]
    progress = [event["progress"] for event in seen]
    assert progress == sorted(progress)
    assert len(set(progress)) > 2
    assert (seen[-1]["state"], seen[-1]["progress"]) == ("SUCCEEDED", 1)
