"""Owns the server that these tests attack: as it stands in production, with callers who bring tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.issuer import Issuer, running_issuer
from tests.process import NO_TLS, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.process import Server


@dataclass(frozen=True)
class Caller:
    """Somebody who asks a server, by a token or without one."""

    server: Server
    headers: dict[str, str]

    def send(self, method: str = "POST", *, path: str = "/api/graphql", **request: Any) -> httpx.Response:
        """One request, with these headers beside those that say who calls."""
        headers = {**self.headers, **request.pop("headers", {})}
        url = f"{self.server.url}{path}"
        return httpx.request(method, url, headers=headers, verify=NO_TLS, **request)

    def answer(self, query: str, **variables: Any) -> dict[str, Any]:
        """The answer to a document."""
        answer: dict[str, Any] = self.send(json={"query": query, "variables": variables}).json()
        return answer

    def refused(self, query: str, **variables: Any) -> str:
        """The reason for which a document, or its only field, is not run."""
        answer = self.answer(query, **variables)
        assert not any((answer.get("data") or {}).values()), answer
        reasons = {error["extensions"]["reason"] for error in answer["errors"]}
        (reason,) = reasons
        return str(reason)


@dataclass(frozen=True)
class Attacked:
    """A server in production, and who may call it."""

    server: Server
    issuer: Issuer

    def caller(self, *roles: str, name: str = "ann") -> Caller:
        """Somebody who has these roles."""
        token = self.issuer.token(sub=name, roles=list(roles))
        return Caller(self.server, {"authorization": f"Bearer {token}"})

    @property
    def nobody(self) -> Caller:
        """Somebody without a token."""
        return Caller(self.server, {})


@pytest.fixture(scope="session")
def attacked(orders_url: str) -> Iterator[Attacked]:
    """The real process with the settings of production, and everything that is not set as it is by default."""
    with (
        running_issuer() as issuer,
        running_server(orders_url, **issuer.settings(APP_ENV="production", APP_SCHEMA="attacked")) as server,
    ):
        yield Attacked(server, issuer)
