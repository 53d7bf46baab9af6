"""How the server logs in to an instance: with minted tokens that end, and at an instance that sleeps."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import asyncpg
import httpx
import pytest

from tests.operator import DATABASE, INSTANCE, Operator, operated
from tests.platform import platform_directory, running_platform
from tests.process import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.platform import LocalPlatform

LIFETIME_SECONDS = 2
ORDER = '{ order(orderKey: "1") { orderKey } }'
END_ALL = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE application_name LIKE 'lakebase-orders-graphql%' AND pid <> pg_backend_pid()
"""


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform whose tokens live for seconds."""
    with (
        platform_directory() as directory,
        running_platform(directory, start_delay=0, token_lifetime=LIFETIME_SECONDS) as platform,
    ):
        yield platform


@pytest.fixture(scope="module")
def operator(platform: LocalPlatform) -> Iterator[Operator]:
    """A server whose orders are there. Thirty requests at once wait for ten connections, each of them a new login."""
    with operated(platform, POOL_TIMEOUT="5") as operator:
        operator.provisioned()
        yield operator


async def cut(platform: LocalPlatform, operator: Operator) -> None:
    """End every connection that the server has."""
    host = operator.ask(f'{{ databaseInstance(name: "{INSTANCE}") {{ host }} }}')["databaseInstance"]["host"]
    connection = await platform.connect(host, database=DATABASE)
    await connection.execute(END_ALL)
    await connection.close()


async def test_a_token_is_refused_after_its_end(platform: LocalPlatform, operator: Operator) -> None:
    """By PostgreSQL itself, at login; so that the tests below mean something."""
    host = operator.ask(f'{{ databaseInstance(name: "{INSTANCE}") {{ host }} }}')["databaseInstance"]["host"]
    token = platform.workspace().database.generate_database_credential(instance_names=[INSTANCE]).token
    connection = await platform.connect(host, token)
    await connection.close()

    refused = False
    for _ in range(100):
        try:
            connection = await platform.connect(host, token)
        except asyncpg.InvalidAuthorizationSpecificationError:
            refused = True
            break
        await connection.execute("SELECT pg_sleep(0.1)")
        await connection.close()
    assert refused


async def test_orders_are_served_long_after_the_first_token_has_ended(
    platform: LocalPlatform, operator: Operator
) -> None:
    """Connections that are cut are opened anew with a token that is good, and crowds share one minting."""
    refused = platform.counters()["logins_refused"]
    for _ in range(3):
        await cut(platform, operator)
        mints = platform.counters()["mints"]
        with ThreadPoolExecutor(10) as threads:
            list(threads.map(lambda _: asked_until_answered(operator), range(30)))
        # Pages, the feed and the test's own: never one for each of ten connections.
        assert platform.counters()["mints"] - mints <= 2
        expired = platform.workspace().database.generate_database_credential(instance_names=[INSTANCE])
        assert expired.token
        await outlived(platform, operator, expired.token)
    assert platform.counters()["logins_refused"] - refused <= 3


def asked_until_answered(operator: Operator) -> None:
    """Ask as a client does: again, as long as it is told that this may help. Of ten dead connections one may be met."""
    while (answer := operator.answer(ORDER)) != {"data": {"order": {"orderKey": "1"}}}:
        assert answer["errors"][0]["extensions"]["retryable"] is True, answer
        assert "token" not in str(answer)


async def outlived(platform: LocalPlatform, operator: Operator, token: str) -> None:
    """Wait until a token that was minted just now has ended, and so has every one before it."""
    host = operator.ask(f'{{ databaseInstance(name: "{INSTANCE}") {{ host }} }}')["databaseInstance"]["host"]
    while True:
        try:
            connection = await platform.connect(host, token)
        except asyncpg.InvalidAuthorizationSpecificationError:
            return
        await connection.execute("SELECT pg_sleep(0.2)")
        await connection.close()


def test_an_instance_that_sleeps_is_woken_by_the_next_request(platform: LocalPlatform, operator: Operator) -> None:
    """Its backends are gone, and the first request afterwards is answered all the same."""
    assert operator.ask(ORDER)["order"] == {"orderKey": "1"}
    platform.suspend(INSTANCE)
    assert operator.ask(ORDER)["order"] == {"orderKey": "1"}
    assert operator.ask(f'{{ databaseInstance(name: "{INSTANCE}") {{ state }} }}') == {
        "databaseInstance": {"state": "AVAILABLE"}
    }


def test_a_stopped_instance_is_said_to_be_stopped_and_started_by_an_operator(operator: Operator) -> None:
    """Only the API starts it: requests are told so; starting it costs, which has to be acknowledged."""
    ended = operator.done("updateDatabaseInstance", name=INSTANCE, stopped=True)
    assert ended["durable"] is False
    error = operator.answer(ORDER)["errors"][0]
    assert error["extensions"]["reason"] == "DATABASE_UNAVAILABLE"
    assert "stopped" in error["message"]
    refused = operator.send("updateDatabaseInstance", name=INSTANCE, stopped=False)
    assert [one["code"] for one in refused["userErrors"]] == ["COST_NOT_ACKNOWLEDGED"]
    operator.done("updateDatabaseInstance", name=INSTANCE, stopped=False, acknowledgeCost=True)
    wait_for(lambda: "errors" not in operator.answer(ORDER), what=operator.server.log)


def test_a_resized_instance_is_found_again(operator: Operator) -> None:
    """Its PostgreSQL is restarted on the way; what is known of the operation outlives that."""
    ended = operator.done("updateDatabaseInstance", name=INSTANCE, capacity="CU_2", acknowledgeCost=True)
    assert ended["durable"] is True
    found = operator.ask(f'{{ databaseInstance(name: "{INSTANCE}") {{ capacity state }} }}')["databaseInstance"]
    assert found == {"capacity": "CU_2", "state": "AVAILABLE"}
    wait_for(lambda: "errors" not in operator.answer(ORDER), what=operator.server.log)
    assert httpx.get(f"{operator.server.url}/livez").status_code == 200
