"""Tests of GraphiQL for operators: plans, provisioning and deletion, with their progress streaming."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from graphql import OperationDefinitionNode, parse, validate

from schema import build_schema
from server.graphql.graphiql import vendor
from tests.clients import node
from tests.servers.flavours import AUTOSCALING
from tests.servers.operator import INSTANCE, TABLE, operated
from tests.servers.platform import AT_ONCE, platform_directory, running_platform
from tests.servers.process import ROOT, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.platform import LocalPlatform
    from tests.servers.process import Server

# The platform calls at which each operation is held until the page shows its progress.
_HELD_AT = {
    "refreshSyncedTable": [
        ("POST", "/api/2.0/pipelines/[^/]+/updates"),
        ("GET", f"{AUTOSCALING.api}/synced_tables/.*"),
    ],
    "teardownLakebase": [
        ("DELETE", f"{AUTOSCALING.api}/catalogs/.*"),
        ("DELETE", f"{AUTOSCALING.api}/projects/.*"),
    ],
    "provisionLakebase": [
        ("POST", f"{AUTOSCALING.api}/catalogs"),
        ("POST", f"{AUTOSCALING.api}/synced_tables"),
    ],
}
_ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")
# The schema of a server without the tables around the orders, as operators have it here.
ORDERS_ALONE = build_schema()._schema  # noqa: SLF001 # Strawberry has no public way to it
_BLOCK = re.compile(r"^```graphql\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples(*, of_graph: bool = False) -> list[dict[str, Any]]:
    """The GraphQL documents of every README, with the names of their operations.

    Those `of_graph` are valid only where the tables around the orders are served.
    """
    texts = [
        text
        for file in sorted(ROOT.glob("**/*.md"))
        if not {".venv", ".local", "node_modules"} & set(file.relative_to(ROOT).parts)
        for text in _BLOCK.findall(file.read_text())
    ]
    return [
        {
            "text": text,
            "names": [
                one.name.value if one.name else None
                for one in parse(text).definitions
                if isinstance(one, OperationDefinitionNode)
            ],
        }
        for text in texts
        if bool(validate(ORDERS_ALONE, parse(text))) is of_graph
    ]


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The results of the browser script."""
    node.tool("npm")
    assert vendor.main([]) == 0
    screenshots = tmp_path_factory.mktemp("graphiql_operator")
    with (
        platform_directory() as directory,
        running_platform(directory, **AT_ONCE) as platform,
        operated(platform, **AUTOSCALING.settings) as operator,
    ):
        operator.provisioned()
        arguments = (operator.server.url, node.tool("chromium"), str(screenshots), json.dumps(examples()))
        with node.started("graphiql_operator.mjs", *arguments) as script:
            seen = {**script.next(), "watched": {}}
            for mutation, calls in _HELD_AT.items():
                seen["watched"][mutation] = watched(platform, script, calls)
            (last,) = script.finish()
            yield {**seen, **last}
    print(f"screenshots: {screenshots}")  # noqa: T201 # shown by pytest -s and on failure


def watched(platform: LocalPlatform, script: node.Script, calls: list[tuple[str, str]]) -> list[Any]:
    """What the page shows of an operation that is held at each of these calls until the page has caught up."""
    seen: list[Any] = []
    hold(platform, *calls[0])
    script.tell("begin")
    for following in [*calls[1:], None]:
        wait_for(lambda: platform.held() != [], what=lambda: f"a call to be held: {calls}")
        before = seen[-1]["progress"] if seen else -1
        if following:
            hold(platform, *following)
        while not seen or seen[-1]["progress"] <= before:
            seen.append(script.next())
        platform.release()
    while seen[-1]["state"] not in _ENDED:
        seen.append(script.next())
    return seen


def hold(platform: LocalPlatform, method: str, path: str) -> None:
    """Hold the next call of this kind before it is executed."""
    platform.fault("hold_before", method=method, path=path)


def test_the_resources_are_seen_at_a_glance(visit: Any) -> None:
    """The example shows the instance, catalog and table, the operation that made them, and its audit."""
    found = visit["glance"]["data"]
    assert found["lakebase"]["instance"]["name"] == INSTANCE
    assert found["lakebase"]["syncedTable"]["name"] == TABLE
    assert [one["kind"] for one in found["operations"]["nodes"]] == ["PROVISION"]
    assert {one["action"] for one in found["adminAudit"]["nodes"]} == {"provisionLakebase"}
    assert visit["complaints"] == []


def test_a_plan_is_seen_before_anything_is_done(visit: Any) -> None:
    """The plan lists what would be deleted, in order. Nothing is started."""
    planned = visit["plan"]["data"]["teardownLakebase"]
    assert [step["action"] for step in planned["plan"]["steps"]] == ["DELETE"] * 3
    assert (planned["operation"], planned["userErrors"]) == (None, [])


@pytest.mark.parametrize("mutation", ["refreshSyncedTable", "teardownLakebase", "provisionLakebase"])
def test_percentages_stream_to_the_end(visit: Any, mutation: str) -> None:
    """The percentages rise from event to event, and the last event says that the operation succeeded."""
    seen = visit["watched"][mutation]
    progress = [event["progress"] for event in seen]
    assert progress == sorted(progress)
    assert len(set(progress)) > 2
    assert (seen[-1]["state"], seen[-1]["progress"]) == ("SUCCEEDED", 1)


def test_every_example_of_the_readmes_runs_as_pasted(visit: Any) -> None:
    """A reader pastes a document into GraphiQL, chooses each operation by its name, and gets data without errors.

    What a mutation begins succeeds. The examples of operating are not only dry runs.
    """
    assert [one["name"] for one in visit["pasted"]] == [name for example in examples() for name in example["names"]]
    assert None not in {one["name"] for one in visit["pasted"]}
    for one in visit["pasted"]:
        assert "errors" not in one["answer"], one
        assert one["answer"].get("ended", {"state": "SUCCEEDED"})["state"] == "SUCCEEDED", one
        for payload in one["answer"]["data"].values():
            assert not (payload or {}).get("userErrors"), one
    carried_out = {one["name"] for one in visit["pasted"] if "ended" in one["answer"]}
    assert {"Resize", "Stop", "Start", "Branch", "DeleteBranch", "Restore", "GoBack"} <= carried_out


def test_every_example_of_the_graph_runs_as_written(server: Server) -> None:
    """Where its tables are served, for the first order."""
    found = [(example["text"], name) for example in examples(of_graph=True) for name in example["names"]]
    assert "OrderDetails" in {name for _, name in found}
    for text, name in found:
        asked = {"query": text, "operationName": name, "variables": {"orderKey": "1"}}
        answer = httpx.post(server.graphql, json=asked).json()
        assert "errors" not in answer, answer
        assert all(answer["data"].values())
