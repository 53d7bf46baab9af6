"""A platform that refuses the server's logins: callers get a plain 503, and operators the cause and the grant."""

from __future__ import annotations

import asyncio
import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import httpx
import pytest

from tests.blackbox.feed_clients import Subscriber, following, head, over_sse
from tests.servers.forkserver import fork_server
from tests.servers.operator import DATABASE, HASTE, HASTY, INSTANCE, Operator, operated
from tests.servers.platform import AT_ONCE, platform_directory, running_platform
from tests.servers.process import PATIENCE_SECONDS, environment, until, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.platform import LocalPlatform

CREDENTIALS: Final = "/api/2.0/(database|postgres)/credentials"
ENDPOINT: Final = f"projects/{INSTANCE}/branches/production/endpoints/primary"
# What callers may ask of the database: pages, orders, counts, changes and their history.
READS: Final = (
    "{ orders(first: 1) { nodes { orderKey } } }",
    "{ order(orderKey: 1) { orderKey } }",
    "{ orderCount { count } }",
    "{ orderStatusChanges(first: 1) { headCursor } }",
)
CHANGE: Final = "mutation { setOrderStatus(input: {orderKey: 1, status: OPEN}) { change { version } } }"
SUBSCRIPTION: Final = "subscription { orderStatusChanged { orderKey } }"
LISTENING: Final = """
SELECT count(*) FROM pg_stat_activity WHERE application_name = 'lakebase-orders-graphql feed' AND state = 'idle'
"""
END_ALL: Final = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE application_name LIKE 'lakebase-orders-graphql%' AND pid <> pg_backend_pid()
"""
# A server that asks again at once, and whose SDK gives up after one attempt.
IMPATIENT: Final = MappingProxyType(
    {
        **HASTE,
        "server.lakebase.platform.sdk_client._RETRY_SECONDS": 1,
        "server.lakebase.login.tokens._LEAST_SECONDS": 0.0,
        "server.lakebase.login.tokens._FIRST_PAUSE_SECONDS": 0.05,
        "server.lakebase.login.tokens._LAST_PAUSE_SECONDS": 0.05,
        "server.tables.reading.readiness._LAST_RETRY_SECONDS": 0.1,
    }
)


class Refusal(NamedTuple):
    """How the platform refuses: a fault, its options, and a part of what `/readyz` then says."""

    fault: str
    options: dict[str, Any]
    said: str


def replied(status: int, body: str, said: str, media_type: str = "application/json") -> Refusal:
    """A refusal by this reply."""
    return Refusal("answer", {"status": status, "body": body, "media_type": media_type}, said)


def error(code: str) -> str:
    """The body of the platform's errors."""
    return json.dumps({"error_code": code, "message": "A message of the platform."})


MINTING: Final = {
    "403": replied(403, error("PERMISSION_DENIED"), "It needs: CAN USE on the database instance."),
    "404": replied(404, error("NOT_FOUND"), "or grant the server's identity CAN USE on it"),
    "404-html": replied(404, "<html>no</html>", "or grant the server's identity CAN USE on it", "text/html"),
    "400": replied(400, error("INVALID_PARAMETER_VALUE"), "INVALID_PARAMETER_VALUE, A message of the platform."),
    "400-text": replied(400, "no", "The platform refuses this (getting a credential for the database).", "text/plain"),
    "401": replied(401, error("UNAUTHENTICATED"), "Check DATABRICKS_TOKEN"),
    "409": replied(409, error("RESOURCE_CONFLICT"), "The platform reports a conflict"),
    "429": Refusal("too_many_requests", {}, "The platform limits the rate of requests"),
    "429-for-an-hour": Refusal("too_many_requests", {"retry_after": 3600}, "The platform limits the rate of requests"),
    "500": Refusal("internal_error", {}, "The platform failed"),
    "503": Refusal("unavailable", {}, "The platform failed"),
    "502-html": replied(502, "<html>no</html>", "The platform failed", "text/html"),
    "not-json": replied(200, "<html>log in</html>", "its answers cannot be read", "text/html"),
    "no-object": replied(200, "[]", "its answers cannot be read"),
    "no-token": replied(200, "{}", "a credential without a token"),
    "token-of-another-type": replied(200, '{"token": 5, "expiration_time": 7}', "a credential without a token"),
    "connection-reset": Refusal("connection_reset", {}, "The platform cannot be reached"),
}


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform with orders."""
    with platform_directory() as directory, running_platform(directory, **AT_ONCE) as platform:
        with operated(platform) as operator:
            operator.provisioned()
        yield platform


@pytest.fixture(scope="module")
def never_logged_in(platform: LocalPlatform) -> Iterator[Operator]:
    """A server that has never got a credential."""
    refuse(platform, MINTING["500"])
    with operated(platform, module=HASTY, altered=IMPATIENT) as operator:
        yield operator
    platform.clear_faults()


def refuse(platform: LocalPlatform, refusal: Refusal, path: str = CREDENTIALS) -> None:
    """Refuse all requests to the path from now on, in this way only."""
    platform.fault(refusal.fault, path=path, times=None, alone=True, **refusal.options)


def ready(operator: Operator) -> dict[str, Any]:
    """The answer of `/readyz`."""
    found: dict[str, Any] = httpx.get(f"{operator.server.url}/readyz").json()
    return found


def wait_until_said(operator: Operator, said: str) -> None:
    """Wait until `/readyz` says why orders cannot be read."""
    wait_for(lambda: said in ready(operator)["orders"], what=lambda: f"{said!r} in {ready(operator)}")


def check_callers(operator: Operator) -> None:
    """Reads, changes and subscriptions are 503s that say nothing of the platform."""
    for document in (*READS, CHANGE):
        answer = httpx.post(operator.server.graphql, json={"query": document})
        (failure,) = answer.json()["errors"]
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1"), answer.text
        assert failure["extensions"]["reason"] == "DATABASE_UNAVAILABLE"
        assert failure["extensions"]["code"] == "SERVICE_UNAVAILABLE"
        assert failure["extensions"]["retryable"] is True
        assert failure["message"] == "The server cannot log in to its database. Try again shortly."
    headers = {"accept": "text/event-stream"}
    events = httpx.post(f"{operator.server.graphql}/stream", json={"query": SUBSCRIPTION}, headers=headers).text
    assert '"reason":"DATABASE_UNAVAILABLE"' in events


def check_words(operator: Operator) -> None:
    """Neither `/readyz` nor the log repeats the SDK's own words, and the log has no traceback."""
    for text in (json.dumps(ready(operator)), operator.server.log()):
        for word in ("Databricks SDK", "unable to parse", "Config:", "Env:", "Traceback", "fault"):
            assert word not in text, text


@pytest.mark.parametrize("refusal", MINTING.values(), ids=MINTING)
def test_a_refused_credential_is_a_503_and_readyz_says_what_fixes_it(
    platform: LocalPlatform, never_logged_in: Operator, refusal: Refusal
) -> None:
    """This holds however the platform refuses it. The log has one line for each cause, not one for each attempt."""
    operator = never_logged_in
    before = len(operator.server.log())
    refuse(platform, refusal)
    wait_until_said(operator, refusal.said)
    mints = platform.counters()["requests"]["POST /api/2.0/database/credentials"]
    check_callers(operator)
    wait_for(
        lambda: platform.counters()["requests"]["POST /api/2.0/database/credentials"] > mints + 2,
        what=lambda: "more attempts to get a credential",
    )
    assert ready(operator)["token"].partition(":")[0].isupper()
    check_words(operator)
    lines = [line for line in operator.server.log()[before:].splitlines() if '"event":"request"' not in line]
    assert sum(refusal.said in line for line in lines) <= 1, lines


def test_the_log_says_when_it_is_over(platform: LocalPlatform, never_logged_in: Operator) -> None:
    """As soon as the platform gives a credential, orders are served."""
    refuse(platform, MINTING["403"])
    wait_until_said(never_logged_in, MINTING["403"].said)
    platform.clear_faults()
    wait_for(lambda: ready(never_logged_in)["status"] == "ready", what=never_logged_in.server.log)
    for document in (*READS, CHANGE):
        never_logged_in.ask(document)
    log = never_logged_in.server.log()
    assert '"event":"new token again"' in log
    assert '"event":"ready"' in log


@pytest.mark.parametrize(
    ("path", "refusal", "settings"),
    [
        pytest.param(
            f"/api/2.0/database/instances/{INSTANCE}",
            replied(403, error("PERMISSION_DENIED"), "CAN USE on the database instance"),
            {},
            id="instance",
        ),
        pytest.param(
            f"/api/2.0/postgres/{ENDPOINT}",
            replied(403, error("PERMISSION_DENIED"), "CAN USE on the database's project"),
            {"LAKEBASE_ENDPOINT": ENDPOINT, "LAKEBASE_INSTANCE_NAME": ""},
            id="endpoint",
        ),
        pytest.param(
            CREDENTIALS,
            replied(403, error("PERMISSION_DENIED"), "CAN USE on the database's project"),
            {"LAKEBASE_ENDPOINT": ENDPOINT, "LAKEBASE_INSTANCE_NAME": ""},
            id="credential-of-an-endpoint",
        ),
        pytest.param(
            "/api/2.0/preview/scim/v2/Me",
            replied(404, "<html>no</html>", "reading the server's own identity", "text/html"),
            {},
            id="identity",
        ),
        pytest.param(
            "/oidc/v1/token",
            replied(401, '{"error": "invalid_client"}', "DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET"),
            {"DATABRICKS_TOKEN": "", "DATABRICKS_CLIENT_ID": "c0ffee", "DATABRICKS_CLIENT_SECRET": "no"},
            id="login-to-the-platform",
        ),
    ],
)
def test_so_is_every_other_refusal_on_the_way_to_the_database(
    platform: LocalPlatform, path: str, refusal: Refusal, settings: dict[str, Any]
) -> None:
    """The platform refuses to show the instance or endpoint or the server's own identity, or refuses its login."""
    refuse(platform, refusal, path)
    with operated(platform, module=HASTY, altered=IMPATIENT, **settings) as operator:
        wait_until_said(operator, refusal.said)
        check_callers(operator)
        check_words(operator)
    platform.clear_faults()


async def test_the_feed_logs_once_that_it_is_interrupted_and_then_that_it_is_resumed(platform: LocalPlatform) -> None:
    """It logs each once, however often it tries to connect meanwhile. Its subscriber stays, and misses nothing."""
    platform.clear_faults()
    altered = {
        **IMPATIENT,
        "server.changes.feed._FIRST_RETRY_SECONDS": 0.05,
        "server.changes.feed._LAST_RETRY_SECONDS": 0.05,
    }
    with operated(platform, module=HASTY, altered=altered) as operator:
        wait_for(lambda: ready(operator)["status"] == "ready", what=operator.server.log)
        url = operator.server.url
        host = operator.ask("{ lakebase { instance { host } } }")["lakebase"]["instance"]["host"]
        connection = await platform.connect(host, database=DATABASE)
        subscriber = Subscriber(over_sse, url, await head(url))
        async with following(subscriber):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not await connection.fetchval(LISTENING):  # noqa: ASYNC110 # the feed is in another process
                    await asyncio.sleep(0.01)  # between two looks
            refuse(platform, MINTING["403"])
            platform.revoke(INSTANCE)
            await connection.execute(END_ALL)
            await until(lambda: "feed interrupted" in operator.server.log())
            mints = platform.counters()["requests"]["POST /api/2.0/database/credentials"]
            await until(lambda: platform.counters()["requests"]["POST /api/2.0/database/credentials"] > mints + 3)
            check_words(operator)
            platform.clear_faults()
            await until(lambda: "feed resumed" in operator.server.log())
            operator.insist(CHANGE.replace("OPEN", "PARTIAL"))
            await subscriber.hear(1)
        await connection.close()
        causes = [line for line in operator.server.log().splitlines() if "feed interrupted" in line]
        # The connection may have been lost for a reason of its own before the first login was refused.
        assert len(causes) == len(set(map(cause_of, causes))) <= 2


def cause_of(line: str) -> str:
    """The cause in a line of the log."""
    cause: str = json.loads(line)["cause"]
    return cause


def test_a_command_says_it_too(platform: LocalPlatform) -> None:
    """Commands are run by an operator, so their message has the cause."""
    refuse(platform, MINTING["403"])
    env = environment(
        DATABRICKS_HOST=platform.host,
        DATABRICKS_TOKEN=platform.token,
        LAKEBASE_INSTANCE_NAME=INSTANCE,
        LAKEBASE_PORT=str(platform.pg_port),
    )
    done = fork_server().run("server", "migrate", env=env, seconds=PATIENCE_SECONDS)
    platform.clear_faults()
    assert done.returncode == 1
    assert done.stderr == (
        "migrate: The server cannot log in to its database. Try again shortly. The platform does not let the server's "
        "identity do this (getting a credential for the database). It needs: CAN USE on the database instance.\n"
    )
