"""Fixtures of the black-box tests: an HTTP client of the real server process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.process import Server


@pytest.fixture(scope="session")
def http(server: Server) -> Iterator[httpx.Client]:
    """A client of the server."""
    with httpx.Client(base_url=server.url) as client:
        yield client


@pytest.fixture(scope="session")
def ask(http: httpx.Client) -> Callable[..., dict[str, Any]]:
    """Run a document and return its response, which has to be JSON."""

    def ask_(document: str, **variables: object) -> dict[str, Any]:
        answer = http.post("/api/graphql", json={"query": document, "variables": variables}).json()
        assert isinstance(answer, dict)
        return answer

    return ask_
