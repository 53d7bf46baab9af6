"""Logins to an instance: with minted tokens that end, and while the instance sleeps."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import asyncpg
import httpx
import pytest

from tests.servers.operator import DATABASE, INSTANCE, Operator, operated
from tests.servers.platform import AT_ONCE, platform_directory, running_platform
from tests.servers.process import PATIENCE_SECONDS, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.platform import LocalPlatform

    Brief = tuple[LocalPlatform, Operator]

# A token's life, no shorter than the server's pause between two mints. A slow server may use a token too late, and mint
# another.
LIFETIME_SECONDS = 1
# The server regards a token as just minted for less than this, and does not blame it for a refusal then.
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
    """An operator who has provisioned."""
    with operated(platform) as operator:
        operator.provisioned()
        yield operator


@pytest.fixture(scope="module")
def brief() -> Iterator[Brief]:
    """A platform whose tokens live for a second, and an operator who has provisioned."""
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
    connection = await platform.connect(operator.instance_host(), database=DATABASE)
    await connection.execute(END_ALL)
    await connection.close()


def crowd(operator: Operator) -> None:
    """Thirty requests at once, for ten connections; all are answered."""
    with ThreadPoolExecutor(10) as threads:
        list(threads.map(lambda _: ask_until_answered(operator), range(30)))


async def test_a_token_is_refused_after_its_end(brief: Brief) -> None:
    """PostgreSQL itself refuses it at login. The tests below rely on that."""
    platform, operator = brief
    host, was_good = operator.instance_host(), False
    async with asyncio.timeout(PATIENCE_SECONDS):
        # On a slow machine a token may have ended before its first use.
        while not was_good:
            token = minted(platform)
            was_good = await is_good(platform, host, token)
        while await is_good(platform, host, token):
            pass


def minted(platform: LocalPlatform) -> str | None:
    """Mint a token."""
    return platform.workspace().database.generate_database_credential(instance_names=[INSTANCE]).token


async def is_good(platform: LocalPlatform, host: str, token: str | None) -> bool:
    """Whether PostgreSQL accepts a login with the token."""
    try:
        connection = await platform.connect(host, token)
    except asyncpg.InvalidAuthorizationSpecificationError:
        return False
    await connection.execute("SELECT pg_sleep(0.1)")
    await connection.close()
    return True


async def test_orders_are_served_long_after_the_first_token_has_ended(brief: Brief) -> None:
    """The server opens new connections with a valid token, three tokens later too."""
    platform, operator = brief
    for _ in range(3):
        newest = minted(platform)
        # When this token has ended, so has every earlier one.
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await is_good(platform, operator.instance_host(), newest):
                pass
        await cut(platform, operator)
        crowd(operator)


async def test_a_crowd_shares_one_minting(platform: LocalPlatform, operator: Operator) -> None:
    """When the token of ten connections is refused, one new token is minted, not ten."""
    # If PostgreSQL refused a token that was just minted, the server would pause before the next.
    wait_for(
        lambda: time.time() - platform.counters()["mint_times"][-1] > YOUNG_SECONDS,
        what=lambda: "the server's token to have been good for a while",
    )
    mints = platform.counters()["mints"]
    platform.revoke(INSTANCE)
    await cut(platform, operator)
    crowd(operator)
    # One by the server, and one by this test to cut the connections.
    assert platform.counters()["mints"] - mints == 2
    assert platform.counters()["mints_at_once"] == 1


def ask_until_answered(operator: Operator) -> None:
    """Ask again while the error is retryable, as a client does: the pool may hand out a connection that was cut."""
    while (answer := operator.answer(ORDER)) != {"data": {"order": {"orderKey": "1"}}}:
        assert answer["errors"][0]["extensions"]["retryable"] is True, answer
        assert "token" not in str(answer)


def test_a_sleeping_instance_is_woken_by_the_next_request(platform: LocalPlatform, operator: Operator) -> None:
    """The first request after the instance fell asleep is answered."""
    assert operator.ask(ORDER)["order"] == {"orderKey": "1"}
    platform.suspend(INSTANCE)
    assert operator.ask(ORDER)["order"] == {"orderKey": "1"}
    assert operator.ask(f'{{ databaseInstance(name: "{INSTANCE}") {{ state }} }}') == {
        "databaseInstance": {"state": "AVAILABLE"}
    }


def test_a_stopped_instance_is_reported_and_started_by_an_operator(operator: Operator) -> None:
    """No request for orders starts it, and the error says that it is stopped. Starting it costs, so it needs the flag."""
    ended = operator.done("updateDatabaseInstance", name=INSTANCE, stopped=True)
    assert ended["durable"] is False
    messages: list[str] = []

    def reported() -> bool:
        # The first error may only say that the database cannot be reached; the server then looks up why.
        (error,) = operator.answer(ORDER)["errors"]
        assert error["extensions"]["reason"] == "DATABASE_UNAVAILABLE"
        messages.append(error["message"])
        return "stopped" in messages[-1]

    wait_for(reported, what=lambda: f"an error that says that it is stopped: {messages[-1]}")
    refused = operator.send("updateDatabaseInstance", name=INSTANCE, stopped=False)
    assert [one["code"] for one in refused["userErrors"]] == ["COST_NOT_ACKNOWLEDGED"]
    operator.done("updateDatabaseInstance", name=INSTANCE, stopped=False, acknowledgeCost=True)
    wait_for(lambda: "errors" not in operator.answer(ORDER), what=operator.server.log)


def test_a_resized_instance_is_found_again(operator: Operator) -> None:
    """Its PostgreSQL restarts meanwhile, and the operation survives that."""
    ended = operator.done("updateDatabaseInstance", name=INSTANCE, capacity="CU_2", acknowledgeCost=True)
    assert ended["durable"] is True
    found = operator.ask(f'{{ databaseInstance(name: "{INSTANCE}") {{ capacity state }} }}')["databaseInstance"]
    assert found == {"capacity": "CU_2", "state": "AVAILABLE"}
    wait_for(lambda: "errors" not in operator.answer(ORDER), what=operator.server.log)
    assert httpx.get(f"{operator.server.url}/livez").status_code == 200
