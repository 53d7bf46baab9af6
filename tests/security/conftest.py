"""The server under attack: a production configuration, and callers with and without tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.servers.issuer import Issuer, running_issuer
from tests.servers.process import NO_TLS, running_server
from tests.servers.tpch_graph import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.process import Server


@dataclass(frozen=True)
class Caller:
    """A client of the server, with a token or without one."""

    server: Server
    headers: dict[str, str]

    def send(self, method: str = "POST", *, path: str = "/api/graphql", **request: Any) -> httpx.Response:
        """Send a request with these headers and the token."""
        headers = {**self.headers, **request.pop("headers", {})}
        url = f"{self.server.url}{path}"
        return httpx.request(method, url, headers=headers, verify=NO_TLS, **request)

    def answer(self, query: str, **variables: Any) -> dict[str, Any]:
        """The response to a document."""
        answer: dict[str, Any] = self.send(json={"query": query, "variables": variables}).json()
        return answer

    def refused(self, query: str, **variables: Any) -> str:
        """The reason why a document, or its only field, is not executed."""
        answer = self.answer(query, **variables)
        assert not any((answer.get("data") or {}).values()), answer
        reasons = {error["extensions"]["reason"] for error in answer["errors"]}
        (reason,) = reasons
        return str(reason)


@dataclass(frozen=True)
class Attacked:
    """A server in production, and its callers."""

    server: Server
    issuer: Issuer

    def caller(self, *roles: str, name: str = "ann") -> Caller:
        """A caller with these roles."""
        token = self.issuer.token(sub=name, roles=list(roles))
        return Caller(self.server, {"authorization": f"Bearer {token}"})

    @property
    def nobody(self) -> Caller:
        """A caller without a token."""
        return Caller(self.server, {})


@pytest.fixture(scope="session")
def attacked(orders_url: str) -> Iterator[Attacked]:
    """The real process with APP_ENV=production, all tables and defaults for all other settings."""
    with (
        running_issuer() as issuer,
        running_server(
            orders_url, **issuer.settings(APP_ENV="production", APP_SCHEMA="attacked", TABLES=TABLES)
        ) as server,
    ):
        yield Attacked(server, issuer)
