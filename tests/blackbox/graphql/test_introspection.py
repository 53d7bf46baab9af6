"""Which callers may explore the schema, for each value of EXPLORING: on every transport, and in a browser."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.blackbox.graphql.test_persisted_documents import TRANSPORTS, reason
from tests.servers.issuer import Issuer, running_issuer
from tests.servers.process import NO_TLS, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.blackbox.graphql.test_persisted_documents import Ask
    from tests.servers.process import Server

SCHEMA = "{ __schema { queryType { name } } }"
SHOWN = {"data": {"__schema": {"queryType": {"name": "Query"}}}}
WRONG = "{ ordrs { nodes { id } } }"
BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(scope="module")
def closed(orders_url: str) -> Iterator[Server]:
    """A server with EXPLORING=off."""
    with running_server(orders_url, EXPLORING="off") as server:
        yield server


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    """The issuer of the server's tokens."""
    with running_issuer() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def guarded(orders_url: str, issuer: Issuer) -> Iterator[Server]:
    """A server in production without EXPLORING."""
    with running_server(orders_url, APP_ENV="production", **issuer.settings()) as server:
        yield server


@TRANSPORTS
def test_if_it_is_off_nothing_is_shown(closed: Server, server: Server, ask: Ask) -> None:
    """With `off` a caller sees neither the schema nor suggestions. With `on`, the default in development, both are shown."""
    status, response = ask(closed, {"query": SCHEMA})
    assert status in {200, 400, None}
    assert reason(response) == "INTROSPECTION_DISABLED"
    assert response["errors"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
    assert ask(closed, {"query": "{ __typename }"})[1] == {"data": {"__typename": "Query"}}
    assert ask(closed, {"query": WRONG})[1]["errors"][0]["message"] == "Cannot query field 'ordrs' on type 'Query'."
    assert ask(server, {"query": SCHEMA})[1] == SHOWN
    assert "Did you mean 'orders'" in ask(server, {"query": WRONG})[1]["errors"][0]["message"]


def test_a_client_of_the_newer_media_type_gets_an_error_status_too(closed: Server) -> None:
    """The status is 400, as for any invalid document."""
    accept = {"accept": "application/graphql-response+json"}
    assert httpx.post(closed.graphql, json={"query": SCHEMA}, headers=accept).status_code == 400


def test_in_production_it_is_for_admins(guarded: Server, issuer: Issuer) -> None:
    """Admins see it and writers do not, although the server has validated the document once for both."""

    def answer(roles: list[str], document: str) -> Any:
        headers = {"authorization": f"Bearer {issuer.token(roles=roles)}"}
        return httpx.post(guarded.graphql, json={"query": document}, headers=headers).json()

    for _ in range(2):
        assert answer(["admin"], SCHEMA) == SHOWN
        assert reason(answer(["writer"], SCHEMA)) == "INTROSPECTION_DISABLED"
        assert "Did you mean" in answer(["admin"], WRONG)["errors"][0]["message"]
        assert "Did you mean" not in answer(["writer"], WRONG)["errors"][0]["message"]


def test_graphiql_is_shown_to_callers_that_may_explore(
    closed: Server, server: Server, guarded: Server, issuer: Issuer
) -> None:
    """A browser without a token gets the reason why there is no page. For other clients nothing changes."""
    assert httpx.get(server.graphql, headers=BROWSER).headers["content-type"] == "text/html; charset=utf-8"
    reader, admin = ({"authorization": f"Bearer {issuer.token(roles=[role])}"} for role in ("reader", "admin"))
    for refused in (
        httpx.get(closed.graphql, headers=BROWSER),
        httpx.get(closed.url, headers=BROWSER, follow_redirects=True),
        httpx.get(guarded.graphql, headers=BROWSER),
        httpx.get(guarded.graphql, headers=BROWSER | {"authorization": "Bearer x"}),
        httpx.get(guarded.graphql, headers=BROWSER | reader),
    ):
        assert (refused.status_code, reason(refused.json())) == (406, "NOT_ACCEPTABLE")
        assert "EXPLORING" in refused.json()["errors"][0]["message"]
    shown = httpx.get(guarded.graphql, headers=BROWSER | admin)
    assert shown.headers["content-type"] == "text/html; charset=utf-8"
    assert httpx.get(closed.graphql, params={"query": "{ __typename }"}, headers=BROWSER).status_code == 200


def test_its_files_are_served_to_the_same_callers(
    closed: Server, server: Server, guarded: Server, issuer: Issuer
) -> None:
    """Our script has examples, which name fields of the schema. Without the page nobody needs the files."""
    get = functools.partial(httpx.get, verify=NO_TLS)
    reader, admin = ({"authorization": f"Bearer {issuer.token(roles=[role])}"} for role in ("reader", "admin"))
    page = get(guarded.graphql, headers=BROWSER | admin).text
    addresses = re.findall(r'"(/static/[^"]+)"', page)
    assert len(addresses) > 1
    for address in addresses:
        for other in (closed, guarded):
            assert get(f"{other.url}{address}").status_code == 404
        assert get(f"{guarded.url}{address}", headers=reader).status_code == 404
        shown = [get(f"{guarded.url}{address}", headers=admin), get(f"{server.url}{address}")]
        assert [answer.status_code for answer in shown] == [200, 200]
        refused = get(f"{closed.url}{address}")
        assert reason(refused.json()) == "PATH_UNKNOWN"
        assert refused.headers["cache-control"] == "no-store"


def test_with_tokens_graphiql_is_shown_to_everybody_if_a_setting_says_so(orders_url: str, issuer: Issuer) -> None:
    """The page contains no data, and it is where a person enters a token."""
    with running_server(orders_url, APP_ENV="production", EXPLORING="on", **issuer.settings()) as server:
        shown = httpx.get(server.graphql, headers=BROWSER)
        assert shown.headers["content-type"] == "text/html; charset=utf-8"
        assert httpx.post(server.graphql, json={"query": SCHEMA}).status_code == 401
