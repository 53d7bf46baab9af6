"""Tests of a server restart as its subscribers see it: no event is lost, and none comes twice."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.clients import node
from tests.clients.conftest import APP_SCHEMA
from tests.servers.process import PATIENCE_SECONDS, free_port, running_server
from tests.support.calibration import hold

if TYPE_CHECKING:
    from tests.clients.changes import Changes

# The last three run the recipes of schema/CLIENTS.md.
_FOLLOWERS = ("graphql-ws", "graphql-sse", "Apollo", "urql", "Relay")
_CLIENTS = (*_FOLLOWERS, "EventSource")
_ON_SOCKETS = {"graphql-ws", "Apollo", "urql", "Relay"}
# uvicorn gives open connections ten seconds, and then logs that it has stopped waiting.
_PROMPT_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Restart:
    """The changes made before, during and after the restart, what each client got, and its `last` line."""

    made: list[Any]
    heard: dict[str, list[Any]]
    last: dict[str, list[Any]]
    stop_seconds: float
    log: str


@pytest.fixture(scope="module")
def restart(orders_url: str, changes: Changes) -> Restart:
    """A restart on the same port with all clients listening. The changes are made through another server."""
    port = free_port()
    with ExitStack() as subscribed:
        with running_server(orders_url, port=port, APP_SCHEMA=APP_SCHEMA) as server:
            where = (server.url, changes.head())
            followers = [
                *(node.started("follow.mjs", client, *where) for client in _FOLLOWERS),
                node.started("event_source.mjs", node.tool("chromium"), *where),
            ]
            scripts = dict(zip(_CLIENTS, map(subscribed.enter_context, followers), strict=True))
            made = changes.make(3)
            heard = {client: [script.next() for _ in made] for client, script in scripts.items()}
            stopped_at = time.perf_counter()
            server.process.terminate()
            server.process.wait(PATIENCE_SECONDS)
            stop_seconds, log = time.perf_counter() - stopped_at, server.log()
        made += changes.make(3)
        with running_server(orders_url, port=port, APP_SCHEMA=APP_SCHEMA):
            made += changes.make(3)
            for client, script in scripts.items():
                heard[client] += [script.next() for _ in made[3:]]
            last = {client: script.finish() for client, script in scripts.items()}
            return Restart(made, heard, last, stop_seconds, log)


@pytest.mark.parametrize("client", _CLIENTS)
def test_a_restart_loses_nothing(restart: Restart, client: str) -> None:
    """Each client reconnects by itself, and gets the changes made meanwhile and later, each once and in order."""
    assert restart.heard[client] == restart.made


def test_a_stop_says_that_the_service_restarts(restart: Restart) -> None:
    """The server closes sockets with 1012, which makes clients reconnect. No subscription gets a `complete`."""
    assert restart.last == {client: [{"closed": 1012}] if client in _ON_SOCKETS else [] for client in _CLIENTS}


def test_a_stop_does_not_wait_for_subscribers(restart: Restart) -> None:
    """The server does not wait until its time limit for open connections, which would be in the log."""
    levels = {json.loads(line)["level"] for line in restart.log.splitlines()}
    assert levels == {"info"}


@pytest.mark.long
def test_a_stop_is_prompt(restart: Restart) -> None:
    """Clients that would listen for ever delay the stop only briefly."""
    hold("a stop with three subscribers", restart.stop_seconds, computing_seconds=_PROMPT_SECONDS)
