"""Every secret is a canary: whatever a client asks and whatever fails, none is in a log, a response or a metric."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx
import pytest

from tests.servers.operator import HASTY
from tests.servers.process import NO_TLS, free_port, running_server, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.local.cluster import Cluster
    from tests.servers.process import Server

ROLE = "canaries"
# Characters that a URL, JSON and Python's strings each write differently.
PASSWORD = "canary'pass\"word\\1/@ü"  # noqa: S105 # a test's
WRONG = "canary-wrong-password"
TOKEN = "canary-platform-token"  # noqa: S105 # as above
CLIENT_SECRET = "canary-client-secret"  # noqa: S105 # as above
METRICS = "canary-metrics-token"
CALLERS = "canary-of-a-caller"
_PLANTED = (PASSWORD, WRONG, TOKEN, CLIENT_SECRET, METRICS, CALLERS)

DOCUMENTS = [
    "query Good { orders(first: 2) { totalCount nodes { orderKey status } } }",
    "{ orders(first: 100000) { nodes { orderKey } } }",
    "{ order(orderKey: 0) { orderKey } }",
    "{ nothing }",
    "{",
    'mutation { setOrderStatus(input: {orderKey: 1, status: FULFILLED, note: "\\u0000"}) { replayed } }',
    "mutation { setOrderStatus(input: {orderKey: 1, status: FULFILLED}) { userErrors { message } } }",
]
# Calls are retried for a while when the platform does not answer.
ADMIN_DOCUMENTS = [
    "{ databaseInstances(first: 5) { nodes { name } } }",
    'mutation { createDatabaseInstance(input: {name: "canaries", capacity: CU_1, acknowledgeCost: true}) { userErrors { message } } }',
    "mutation { provisionLakebase(input: {acknowledgeCost: true}) { operation { id } userErrors { message } } }",
]


@pytest.fixture
def role(cluster: Cluster, orders_url: str) -> Iterator[str]:
    """A role that may read and whose password is a canary."""
    assert orders_url
    sql_password = PASSWORD.replace("'", "''")
    cluster.run_sql(
        f"CREATE ROLE {ROLE} LOGIN PASSWORD '{sql_password}'; GRANT SELECT ON orders_synced TO {ROLE};"
        f"GRANT CREATE ON DATABASE orders TO {ROLE}"
    )
    yield ROLE
    cluster.run_sql(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{ROLE}'; DROP OWNED BY {ROLE}; DROP ROLE {ROLE}"
    )


def url(port: int, password: str = PASSWORD) -> str:
    """The database's URL with a canary in it."""
    return f"postgresql://{ROLE}:{quote(password, safe='')}@127.0.0.1:{port}/orders"


def responses(server: Server, *documents: str) -> str:
    """The server's responses to all kinds of requests, headers included."""
    headers = {"authorization": f"Bearer {CALLERS}", "accept": "application/json"}
    with httpx.Client(verify=NO_TLS, headers=headers) as client:
        answers = [client.post(server.graphql, json={"query": document}) for document in (*DOCUMENTS, *documents)]
        answers += [
            client.get(server.graphql, params={"query": DOCUMENTS[0]}),
            client.post(server.graphql, content=b"\xff{", headers={"content-type": "application/json"}),
            client.post(f"{server.graphql}/stream", json={"query": DOCUMENTS[0]}),
            client.post(
                f"{server.graphql}/stream",
                json={"query": DOCUMENTS[0]},
                headers={"accept": "text/event-stream"},
            ),
            client.get(f"{server.url}/readyz"),
            client.get(f"{server.url}/livez"),
            client.get(f"{server.url}/nowhere"),
            client.get(f"{server.url}/api/metrics"),
            client.get(f"{server.url}/api/metrics", headers={"authorization": f"Bearer {METRICS}"}),
        ]
    answered = [f"{answer.status_code} {answer.headers} {answer.text}" for answer in answers]
    assert "orders_api_requests_total" in answered[-1]
    return "\n".join(answered)


def forms(canary: str) -> set[str]:
    """The forms in which a canary may be in a text."""
    spoken = {canary, quote(canary, safe=""), repr(canary)[1:-1]}
    return spoken | {json.dumps(form)[1:-1] for form in spoken}


def found(text: str) -> list[str]:
    """The canaries in a text."""
    return [form for canary in _PLANTED for form in forms(canary) if form in text]


def test_no_canary_is_seen(cluster: Cluster, role: str) -> None:
    """At DEBUG, while all is well, with a wrong password, and with a platform that does not answer."""
    with running_server(
        url(cluster.port),
        DATABRICKS_HOST=f"http://127.0.0.1:{free_port()}",
        DATABRICKS_TOKEN=TOKEN,
        METRICS_TOKEN=METRICS,
        module=HASTY,
        altered={"server.lakebase.platform.sdk_client._RETRY_SECONDS": 1},
        LOG_LEVEL="DEBUG",
    ) as server:
        answered = responses(server, *ADMIN_DOCUMENTS)
        assert '"totalCount"' in answered
        assert "CONTROL_PLANE_UNAVAILABLE" in answered
        cluster.run_sql(
            f"ALTER ROLE {role} PASSWORD '{WRONG}'; "
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
        )
        refused = responses(server)
        assert "DATABASE_UNAVAILABLE" in refused
        wait_for(lambda: "not ready" in server.log(), what=server.log)
        log = server.log()
    assert "password authentication failed" in log
    assert found(answered + refused) == []
    assert found(log) == []


def test_no_canary_is_seen_if_nothing_answers() -> None:
    """Neither the database nor the platform answers from the start on."""
    with running_server(
        url(free_port(), WRONG),
        ready=False,
        DATABRICKS_HOST=f"http://127.0.0.1:{free_port()}",
        DATABRICKS_CLIENT_ID="canaries",
        DATABRICKS_CLIENT_SECRET=CLIENT_SECRET,
        METRICS_TOKEN=METRICS,
        module=HASTY,
        altered={"server.lakebase.platform.sdk_client._RETRY_SECONDS": 1},
        LOG_LEVEL="DEBUG",
        LOG_FORMAT="console",
    ) as server:
        answered = responses(server, ADMIN_DOCUMENTS[0])
        wait_for(lambda: "not ready" in server.log(), what=server.log)
        log = server.log()
    assert "DATABASE_UNAVAILABLE" in answered
    assert found(answered) == []
    assert found(log) == []


def test_no_canary_is_seen_if_the_settings_are_wrong() -> None:
    """The message that refuses a setting does not repeat its value."""
    with pytest.raises(TimeoutError) as raised, running_server(f"mysql://u:{WRONG}@h/db", METRICS_TOKEN="canary"):  # noqa: S106 # a test's
        pass
    assert "DATABASE_URL" in str(raised.value)
    assert "METRICS_TOKEN" in str(raised.value)
    assert "canary" not in str(raised.value)
