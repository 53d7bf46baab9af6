"""How the server logs in to an instance: with minted tokens that end, and at an instance that sleeps."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import asyncpg
import httpx
import pytest

from tests.operator import DATABASE, INSTANCE, Operator, operated
from tests.platform import AT_ONCE, platform_directory, running_platform
from tests.process import PATIENCE_SECONDS, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.platform import LocalPlatform

    Brief = tuple[LocalPlatform, Operator]

# The shortest time that passes between two tokens; a server that is slow comes too late with one, and has another minted.
LIFETIME_SECONDS = 1
# Longer than for what the server takes a token to be one that has just been minted.
YOUNG_SECONDS = 0.6
ORDER = '{ order(orderKey: "1") { orderKey } }'
END_ALL = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE application_name LIKE 'lakebase-orders-graphql%' AND pid <> pg_backend_pid()
"""


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform whose tokens outlive every test."""
    with platform_directory() as directory, running_platform(directory, **AT_ONCE) as platform:
        yield platform


@pytest.fixture(scope="module")
def operator(platform: LocalPlatform) -> Iterator[Operator]:
    """A server whose orders are there."""
    with operated(platform) as operator:
        operator.provisioned()
        yield operator


@pytest.fixture(scope="module")
def brief() -> Iterator[Brief]:
    """A platform whose tokens live for a second, and the operator of a server whose orders are there."""
    options = {**AT_ONCE, "token_lifetime": LIFETIME_SECONDS}
    with (
        platform_directory() as directory,
        running_platform(directory, **options) as platform,
        operated(platform) as operator,
    ):
        operator.provisioned()
        yield platform, operator


async def cut(platform: LocalPlatform, operator: Operator) -> None:
    """End every connection that the server has."""
    connection = await platform.connect(host_of(operator), database=DATABASE)
    await connection.execute(END_ALL)
    await connection.close()


def host_of(operator: Operator) -> str:
    """Where the instance is."""
    host: str = operator.ask(f'{{ databaseInstance(name: "{INSTANCE}") {{ host }} }}')["databaseInstance"]["host"]
    return host


def crowd(operator: Operator) -> None:
    """Thirty requests at once, for ten connections, all of which are answered."""
    with ThreadPoolExecutor(10) as threads:
        list(threads.map(lambda _: asked_until_answered(operator), range(30)))


async def test_a_token_is_refused_after_its_end(brief: Brief) -> None:
    """By PostgreSQL itself, at login; so that the tests below mean something."""
    platform, operator = brief
    host, was_good = host_of(operator), False
    async with asyncio.timeout(PATIENCE_SECONDS):
        # On a slow machine it may have ended before it is shown.
        while not was_good:
            token = minted(platform)
            was_good = await is_good(platform, host, token)
        while await is_good(platform, host, token):
            pass


def minted(platform: LocalPlatform) -> str | None:
    """A new token."""
    return platform.workspace().database.generate_database_credential(instance_names=[INSTANCE]).token


async def is_good(platform: LocalPlatform, host: str, token: str | None) -> bool:
    """Whether somebody is let in with the token."""
    try:
        connection = await platform.connect(host, token)
    except asyncpg.InvalidAuthorizationSpecificationError:
        return False
    await connection.execute("SELECT pg_sleep(0.1)")
    await connection.close()
    return True


async def test_orders_are_served_long_after_the_first_token_has_ended(brief: Brief) -> None:
    """Connections that are cut are opened anew with a token that is good, three tokens later too."""
    platform, operator = brief
    for _ in range(3):
        newest = minted(platform)
        # When it has ended, so has every one before it.
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await is_good(platform, host_of(operator), newest):
                pass
        await cut(platform, operator)
        crowd(operator)


async def test_a_crowd_shares_one_minting(platform: LocalPlatform, operator: Operator) -> None:
    """Not one for each of ten connections, when the token that they had is refused."""
    # One that is refused as soon as it is minted is refused for another reason.
    wait_for(
        lambda: time.time() - platform.counters()["mint_times"][-1] > YOUNG_SECONDS,
        what=lambda: "the server's token to have been good for a while",
    )
    mints = platform.counters()["mints"]
    platform.revoke(INSTANCE)
    await cut(platform, operator)
    crowd(operator)
    # The server's, and the one of who cut.
    assert platform.counters()["mints"] - mints == 2
    assert platform.counters()["mints_at_once"] == 1


def asked_until_answered(operator: Operator) -> None:
    """Ask as a client does: again, as long as it is told that this may help. Of ten dead connections one may be met."""
    while (answer := operator.answer(ORDER)) != {"data": {"order": {"orderKey": "1"}}}:
        assert answer["errors"][0]["extensions"]["retryable"] is True, answer
        assert "token" not in str(answer)


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
    said: list[str] = []

    def told() -> bool:
        # Who asks first may be told that it cannot be reached: why, is found out then.
        (error,) = operator.answer(ORDER)["errors"]
        assert error["extensions"]["reason"] == "DATABASE_UNAVAILABLE"
        said.append(error["message"])
        return "stopped" in said[-1]

    wait_for(told, what=lambda: f"it to be said that it is stopped: {said[-1]}")
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
