"""Tests of connections: kept alive, with responses in order, served by uvloop and httptools."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.blackbox.raw_connection import Wire, request

if TYPE_CHECKING:
    from tests.servers.process import Server


def test_a_connection_is_kept_for_the_next_request(server: Server) -> None:
    """HTTP/1.1 keeps connections by default, also after a 304 and after a refusal."""
    with Wire(server) as wire:
        for key in (1, 2, 3):
            wire.send(request(key))
            status, headers, body = wire.answer()
            assert status == "HTTP/1.1 200 OK"
            assert "connection" not in headers
            assert json.loads(body) == {"data": {"order": {"orderKey": str(key)}}}
        get = b"GET /api/graphql?query={__typename} HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: %s\r\n\r\n"
        for tag, status in ((b"*", "HTTP/1.1 304 Not Modified"), (b'"x"', "HTTP/1.1 200 OK")):
            wire.send(get % tag)
            assert wire.answer()[0] == status
        wire.send(request(1, "Accept: text/plain"), request(1))
        assert wire.answer()[0] == "HTTP/1.1 406 Not Acceptable"
        assert wire.answer()[0] == "HTTP/1.1 200 OK"


def test_requests_that_are_sent_at_once_are_answered_in_their_order(server: Server) -> None:
    """Fifty requests on one connection."""
    keys = [1, 2, 3, 4, 5, 6, 7, 32, 33, 34] * 5
    with Wire(server) as wire:
        wire.send(*(request(key) for key in keys))
        answered = [json.loads(wire.answer()[2])["data"]["order"]["orderKey"] for _ in keys]
    assert answered == [str(key) for key in keys]


@pytest.mark.parametrize(
    "last", [request(1, "Connection: close"), request(1, version="1.0")], ids=["asked to close", "HTTP/1.0"]
)
def test_a_connection_that_is_not_to_be_kept_is_closed(server: Server, last: bytes) -> None:
    """The server closes it after the response."""
    with Wire(server) as wire:
        wire.send(last)
        assert wire.answer()[0] == "HTTP/1.1 200 OK"
        assert wire.ended()


def test_uvloop_and_httptools_serve(server: Server) -> None:
    """The process has loaded both. uvicorn loads a loop only to run it."""
    maps = Path(f"/proc/{server.process.pid}/maps")
    if not maps.exists():
        # CI runs on Linux, so the test is not skipped there.
        pytest.skip("only Linux tells what a process has loaded")
    loaded = maps.read_text()
    assert re.search(r"/uvloop/loop\.\S+\.so", loaded)
    assert re.search(r"/httptools/parser/parser\.\S+\.so", loaded)
