"""Fixtures of the graph: its tables with the types that a sync gives them, and with others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.servers.graph_tables import make_graph, orders_of, served

if TYPE_CHECKING:
    import asyncpg

    from schema.context import Context
    from tests.server.conftest import OpenStore

USUAL, UNUSUAL = "graph_usual", "graph_unusual"


@pytest.fixture(scope="package")
async def graphs(database: asyncpg.Connection) -> tuple[str, ...]:
    """The schemas of the two graphs."""
    await make_graph(database, USUAL)
    await make_graph(database, UNUSUAL, unusual=True)
    return USUAL, UNUSUAL


@pytest.fixture(params=[USUAL, UNUSUAL])
def context(request: pytest.FixtureRequest, graphs: tuple[str, ...], open_store: OpenStore) -> Context:
    """The context of operations on one of the graphs."""
    assert request.param in graphs
    return open_store(orders_of(request.param), tables=served(request.param))[1]


def reasons(answer: dict[str, Any]) -> list[tuple[str, list[Any]]]:
    """The reason and the path of each error."""
    return [(error["extensions"]["reason"], error["path"]) for error in answer.get("errors", ())]
