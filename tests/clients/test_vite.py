"""Tests of a frontend in development: a page of Vite's own server, which forwards `/api` as the README says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.clients import node
from tests.servers.process import ROOT, free_port, running_server

if TYPE_CHECKING:
    from pathlib import Path

_ANSWER = {"data": {"__typename": "Query"}}
_RECIPE = re.compile(r"^```js\n(// vite\.config\.js\n.*?)^```$", re.MULTILINE | re.DOTALL)
_TARGET = "http://127.0.0.1:8000"
_WAYS = ("as written", "changeOrigin", "changeOrigin, allowed")


def _configurations(place: Path, url: str) -> list[str]:
    """The README's configuration for this server, and the same with `changeOrigin`, each in a file."""
    found = _RECIPE.search((ROOT / "server" / "graphql" / "README.md").read_text())
    assert found
    recipe = found[1].replace(_TARGET, url)
    assert url in recipe
    written, changed = place / "vite.config.mjs", place / "changed.config.mjs"
    written.write_text(recipe)
    changed.write_text(recipe.replace("ws: true", "ws: true, changeOrigin: true"))
    assert written.read_text() != changed.read_text()
    return [str(written), str(changed), str(changed)]


@pytest.fixture(scope="module")
def seen(orders_url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The answers that a page got through Vite, by transport; and under `message` each refusal of a WebSocket."""
    chromium = node.tool("chromium")
    place = tmp_path_factory.mktemp("vite")
    (place / "index.html").write_text("<!doctype html><title>A frontend</title>")
    ports = [free_port() for _ in _WAYS]
    origins = [f"http://127.0.0.1:{port}" for port in ports]
    with running_server(orders_url, ALLOWED_ORIGINS=origins[2]) as server:
        files = _configurations(place, server.url)
        pairs = (part for file, port in zip(files, ports, strict=True) for part in (file, str(port)))
        with node.started("vite.mjs", str(place), *pairs) as vite:
            assert vite.next() == {"listening": len(ports)}
            results = node.run("origins.mjs", chromium, *(origin for origin in origins for _ in range(2)))
            handshake = {
                "connection": "Upgrade",
                "upgrade": "websocket",
                "sec-websocket-version": "13",
                "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
                "sec-websocket-protocol": "graphql-transport-ws",
                "origin": origins[1],
            }
            refused = httpx.get(f"{origins[1]}/api/graphql", headers=handshake)
            vite.finish()
    message = refused.json()["errors"][0]["message"].replace(origins[1], "<origin>")
    return {**dict(zip(_WAYS, results, strict=True)), "message": message}


@pytest.mark.parametrize("way", ["as written", "changeOrigin, allowed"])
def test_a_page_in_development_may_call_on_every_transport(seen: dict[str, Any], way: str) -> None:
    """With the README's configuration, and with `changeOrigin: true` once ALLOWED_ORIGINS names the page's origin."""
    assert seen[way] == {"post": _ANSWER, "eventSource": _ANSWER, "webSocket": _ANSWER}


def test_a_proxy_that_changes_the_host_needs_the_setting_for_websockets(seen: dict[str, Any]) -> None:
    """In all other requests the browser says that they come from the page's own origin. The error names the setting."""
    assert seen["changeOrigin"] == {"post": _ANSWER, "eventSource": _ANSWER, "webSocket": 403}
    assert "start the server with ALLOWED_ORIGINS=<origin>" in seen["message"]
