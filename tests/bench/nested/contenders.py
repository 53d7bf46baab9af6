"""The servers that answer the nested query: how each is started, and how it is asked."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.bench.contenders import (
    MERCURIUS,
    OURS,
    POSTGRAPHILE,
    STRAWBERRY,
    cursor_like,
    running_ours,
    running_process,
    running_python,
)
from tests.bench.dialects import our_cursor, plain_cursor
from tests.bench.nested.query import Graph
from tests.bench.node import HERE, node
from tests.servers.tpch_graph import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.bench.contenders import Setup
    from tests.servers.process import Server

BARE: Final = "bare"
BARE_TEXT: Final = "bare-text"


@dataclass(frozen=True, slots=True)
class Running:
    """A running contender. `server` is set if it is ours."""

    name: str
    url: str
    process_id: int
    graph: Graph
    server: Server | None = None


@dataclass(frozen=True, slots=True)
class Contender:
    """A server that can be measured.

    Attributes:
        name: the short name.
        title: what it is.
        start: starts it.
        target: the least ratio of our requests per second to this server's.
    """

    name: str
    title: str
    start: Callable[[Setup], AbstractContextManager[Running]]
    target: float | None = None


@contextlib.contextmanager
def ours(setup: Setup) -> Iterator[Running]:
    """Our server, which serves the tables around the orders too."""
    with running_ours(setup, TABLES=TABLES) as running:
        yield Running(OURS, running.url, running.process_id, Graph("/api/graphql", our_cursor), running.server)


@contextlib.contextmanager
def _bare(setup: Setup) -> Iterator[Running]:
    with _bare_form(setup, "json") as (url, process_id):
        yield Running(BARE, url, process_id, Graph("/", our_cursor))


@contextlib.contextmanager
def bare_text(setup: Setup) -> Iterator[Running]:
    """The bare statement that concatenates strings."""
    with _bare_form(setup, "text") as (url, process_id):
        yield Running(BARE_TEXT, url, process_id, Graph("/", our_cursor))


def _bare_form(setup: Setup, form: str) -> AbstractContextManager[tuple[str, int]]:
    return running_process([sys.executable, "-m", "tests.bench.nested.bare", form], setup)


@contextlib.contextmanager
def _mercurius(setup: Setup) -> Iterator[Running]:
    with running_process([str(node()), str(HERE / "graph" / "mercurius.mjs")], setup) as (url, process_id):
        yield Running(MERCURIUS, url, process_id, Graph("/graphql", plain_cursor))


@contextlib.contextmanager
def _postgraphile(setup: Setup) -> Iterator[Running]:
    with running_process([str(node()), str(HERE / "graph" / "postgraphile.mjs")], setup) as (url, process_id):
        root = "mergedOrders"
        yield Running(
            POSTGRAPHILE, url, process_id, Graph("/graphql", cursor_like(f"{url}/graphql", root), "Cursor", root)
        )


@contextlib.contextmanager
def _strawberry(setup: Setup) -> Iterator[Running]:
    with running_python("graph.strawberry_orm", setup) as (url, process_id):
        yield Running(STRAWBERRY, url, process_id, Graph("/", plain_cursor))


# Ours is the first, because the others read its status changes.
CONTENDERS: Final = (
    Contender(OURS, "this server as shipped, with the tables around the orders", ours),
    Contender(BARE, "a bare ASGI function and one LATERAL statement with PostgreSQL's JSON functions", _bare, 0.85),
    Contender(BARE_TEXT, "the same, with the JSON put together from strings", bare_text, 0.85),
    Contender(MERCURIUS, "Mercurius 16 with jit, a batching loader for each relation", _mercurius, 2.2),
    Contender(POSTGRAPHILE, "PostGraphile 5 on Node's http, with foreign keys as smart tags", _postgraphile, 2.2),
    Contender(STRAWBERRY, "plain Strawberry and SQLAlchemy's ORM, a dataloader for each relation", _strawberry, 15),
)
