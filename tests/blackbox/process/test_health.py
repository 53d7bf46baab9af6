"""Health checks in production: strangers are told states, and only operators the causes, which name the database's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest

from tests.servers.issuer import Issuer, running_issuer
from tests.servers.process import NO_TLS, Server, running_server, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.local.cluster import Cluster

TOKEN: Final = "metrics-token-0123456789"  # noqa: S105 # a test's
ROLE, PASSWORD, TABLE, SCHEMA = "porter", "sesame", "absent_orders", "porters_app"
# What only an operator may be told: names of the database's own, and what its owner has to run.
PRIVATE: Final = (ROLE, TABLE, SCHEMA, "GRANT", "public.")
STATES: Final = {
    "orders": "unavailable",
    "changes": "unavailable",
    "token": "none is needed",
    "replica": "there is none",
    "memory": "ok",
}
ORDER, CHANGE, HISTORY = (
    "{ order(orderKey: 1) { orderKey } }",
    "mutation { setOrderStatus(input: {orderKey: 1, status: OPEN}) { replayed } }",
    "{ order(orderKey: 1) { statusChanges { nodes { id } } } orderStatusChanges { nodes { id } } }",
)


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    """The issuer of the server's tokens."""
    with running_issuer() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def failing(cluster: Cluster, orders_url: str, issuer: Issuer) -> Iterator[Server]:
    """A server in production without an orders table, whose role may not create the server's own tables."""
    cluster.run_sql(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")
    parts = urlsplit(orders_url)
    url = urlunsplit(parts._replace(netloc=f"{ROLE}:{PASSWORD}@{parts.hostname}:{parts.port}"))
    names: dict[str, Any] = {
        "ORDERS_TABLE": TABLE,
        "APP_SCHEMA": SCHEMA,
        "METRICS_TOKEN": TOKEN,
        "APP_ENV": "production",
    }
    try:
        with running_server(url, ready=False, **names, **issuer.settings()) as server:
            wait_for(lambda: "not ready" in server.log() and "changes cannot" in server.log(), what=server.log)
            yield server
    finally:
        cluster.run_sql(f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")


def health(server: Server, token: str | None) -> httpx.Response:
    """The answer of `/readyz` to the bearer of a token."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return httpx.get(f"{server.url}/readyz", headers=headers, verify=NO_TLS)


def told(response: httpx.Response) -> list[str]:
    """What a response says that only an operator may be told. Its headers count too."""
    text = f"{response.headers} {response.text}"
    return [word for word in PRIVATE if word in text]


@pytest.mark.parametrize("roles", [None, ["reader"], ["writer"], "wrong", "expired"])
def test_a_stranger_is_told_states(failing: Server, issuer: Issuer, roles: Any) -> None:
    """So is a caller with a token of another role, or with one that is not accepted. The status is for everybody."""
    tokens = {"wrong": f"{TOKEN}x", "expired": issuer.token(exp=1, roles=["admin"])}
    token = tokens.get(roles) if isinstance(roles, str) else roles and issuer.token(roles=roles)
    response = health(failing, token)
    assert response.status_code == 503
    found = response.json()
    assert found.pop("causes").startswith("The log has the causes")
    assert found.pop("copy") in {"no", "not looked up yet"}
    assert found == {"status": "not ready", **STATES, "draining": "no"}
    assert told(response) == []


@pytest.mark.parametrize("role", ["admin", None])
def test_an_operator_is_told_the_causes(failing: Server, issuer: Issuer, role: str | None) -> None:
    """An admin is, and the bearer of the metrics token. The log has the same."""
    found = health(failing, issuer.token(roles=[role]) if role else TOKEN).json()
    assert f"public.{TABLE}" in found["orders"]
    assert f'GRANT CREATE ON DATABASE "orders" TO "{ROLE}"' in found["changes"]
    logged = {json.loads(line).get("reason") for line in failing.log().splitlines()}
    assert {found["orders"], found["changes"]} <= logged


def test_a_copy_says_so_and_tells_operators_of_what(cluster: Cluster, orders_url: str, issuer: Issuer) -> None:
    """Without a platform, too: the rows of the original are in the database."""
    names: dict[str, Any] = {"APP_SCHEMA": "copied_app", "METRICS_TOKEN": TOKEN, "APP_ENV": "production"}
    with running_server(orders_url, **names, **issuer.settings()) as server:
        wait_for(lambda: health(server, None).json()["copy"] == "no", what=server.log)
        cluster.run_sql(
            "INSERT INTO copied_app.lineage (home, number, database, epoch) VALUES ('elsewhere/1/2/3', 0, 'sales', 0)"
        )
        answer = httpx.post(
            server.graphql,
            json={"query": "{ lakebase { copyOf { instanceName branch databaseName message } } }"},
            headers={"authorization": f"Bearer {issuer.token(roles=['admin'])}"},
            verify=NO_TLS,
        )
        copy = answer.json()["data"]["lakebase"]["copyOf"]
        assert (copy["instanceName"], copy["branch"], copy["databaseName"]) == (None, None, "sales")
        assert "a copy of the database sales at elsewhere since" in copy["message"]
        strangers, operators = health(server, None), health(server, TOKEN)
        assert (strangers.status_code, strangers.json()["status"], strangers.json()["copy"]) == (200, "ready", "yes")
        assert operators.json()["copy"] == copy["message"]


def test_no_other_answer_tells_a_stranger(failing: Server) -> None:
    """Neither health, metrics and pages do, nor a refusal."""
    bodies: tuple[dict[str, str], ...] = ({"query": ORDER}, {"query": CHANGE}, {"query": "{"}, {})
    answers = [
        *(httpx.get(f"{failing.url}{path}", verify=NO_TLS) for path in ("/livez", "/api/metrics", "/", "/nothing")),
        *(
            httpx.post(f"{failing.url}{path}", json=body, verify=NO_TLS)
            for path in ("/api/graphql", "/api/graphql/stream", "/readyz", "/api/metrics")
            for body in bodies
        ),
        httpx.get(failing.graphql, headers={"accept": "text/html"}, verify=NO_TLS),
    ]
    assert {answer.status_code for answer in answers} == {200, 307, 401, 404, 405, 406}
    assert [found for answer in answers if (found := told(answer))] == []


@pytest.mark.parametrize("document", [ORDER, CHANGE, HISTORY])
def test_an_error_names_the_database_s_own_to_admins_only(failing: Server, issuer: Issuer, document: str) -> None:
    """A reader or a writer is told what has failed, and whether to try again."""

    def answer(role: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {issuer.token(roles=[role])}"}
        return httpx.post(failing.graphql, json={"query": document}, headers=headers, verify=NO_TLS)

    own, others = answer("admin"), answer("writer")
    assert told(own) != []
    assert told(others) == []
    (error, *_) = others.json()["errors"]
    assert error["extensions"] == own.json()["errors"][0]["extensions"]
    assert error["extensions"]["retryable"] is True
