"""Tokens that end under load: no request fails, and no more tokens are minted than needed.

`make faults` has tokens of 20 s and connections of 2 s, for 70 s.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import pytest

from server.db.engine import connections_of
from server.settings import Settings
from tests.blackbox.feed_clients import Subscriber, following, head, over_sse
from tests.blackbox.load import Load
from tests.servers.operator import HASTE, INSTANCE, Operator, operated
from tests.servers.platform import AT_ONCE, platform_directory, running_platform
from tests.servers.process import until
from tests.support.calibration import MEASURES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.servers.platform import LocalPlatform

    Brief = tuple[LocalPlatform, Operator]

pytestmark = pytest.mark.faults

# The lifetime of a token and of a connection, in seconds. A token has to outlive the time from its minting to the login,
# or the server would mint another one for each login.
LIFETIME_SECONDS, RECYCLE_SECONDS = 3, 0.3
LONG_LIFETIME_SECONDS, LONG_RECYCLE_SECONDS = 20, 2
EXPIRIES = 3
LOGINS = 10
# The server regards a token as just minted for less than this. If PostgreSQL refuses it then, the server pauses before it
# mints the next one.
YOUNG_SECONDS = 0.6
_CREDENTIALS = "/api/2.0/(database|postgres)/credentials"
# Shorter pauses between two mintings, and after one that failed.
_QUICK: Final = MappingProxyType(
    {
        **HASTE,
        "server.db.engine._RECYCLE_SECONDS": RECYCLE_SECONDS,
        "server.lakebase.login.tokens._LEAST_SECONDS": 0.1,
        "server.lakebase.login.tokens._FIRST_PAUSE_SECONDS": 0.2,
    }
)


def replacing(seconds: float) -> dict[str, float]:
    """Constants of a server that replaces a connection after this many seconds."""
    return {**HASTE, "server.db.engine._RECYCLE_SECONDS": seconds}


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform whose tokens outlive every test."""
    with platform_directory() as directory, running_platform(directory, **AT_ONCE) as platform:
        yield platform


@pytest.fixture(scope="module")
def operator(platform: LocalPlatform) -> Iterator[Operator]:
    """An operator who has provisioned; the server finds its database by the name of an instance."""
    with operated(platform, altered=replacing(RECYCLE_SECONDS)) as operator:
        operator.provisioned()
        yield operator


@contextlib.contextmanager
def whose_tokens_end(seconds: float, *, recycle: float) -> Iterator[Brief]:
    """A platform whose tokens have this lifetime, and an operator who has provisioned."""
    options = {**AT_ONCE, "token_lifetime": seconds}
    with (
        platform_directory() as directory,
        running_platform(directory, **options) as platform,
        operated(platform, altered=replacing(recycle)) as operator,
    ):
        operator.provisioned()
        yield platform, operator


@pytest.fixture(scope="module")
def twenty_seconds() -> Iterator[Brief]:
    """Tokens that live for 20 s."""
    with whose_tokens_end(LONG_LIFETIME_SECONDS, recycle=LONG_RECYCLE_SECONDS) as parts:
        yield parts


@contextlib.asynccontextmanager
async def loaded(url: str) -> AsyncIterator[Load]:
    """Run a load of queries, changes and a subscription, none of which may fail."""
    load, subscriber = Load(url), Subscriber(over_sse, url, await head(url))
    async with following(subscriber), load.running():
        await load.answered(10)
        yield load
        await load.answered(100)
        await subscriber.hear(1)
    assert not load.bad, load.bad[:3]
    # The server may reconnect as it likes, but the subscriber was never cut off.
    assert (subscriber.cut_off, subscriber.refusals) == (0, [])


def check_mints(platform: LocalPlatform, since: float, *, good: bool = True) -> None:
    """Tokens are minted one at a time; if minting succeeds, none sooner than after half of the last one's life."""
    counted = platform.counters()
    assert counted["mints_at_once"] == 1
    times = [moment for moment in counted["mint_times"] if moment >= since]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    if good:
        assert all(gap >= LONG_LIFETIME_SECONDS / 2 - 0.05 for gap in gaps), gaps


async def logged_in(platform: LocalPlatform) -> None:
    """Wait for ten more logins."""
    goal = platform.counters()["logins_accepted"] + LOGINS
    await until(lambda: platform.counters()["logins_accepted"] >= goal)


def has_ended(platform: LocalPlatform, number: int) -> bool:
    """Whether the token of this number, counted from 0, was minted and has ended."""
    moments = platform.counters()["mint_times"][number:]
    return bool(moments) and time.time() > moments[0] + LIFETIME_SECONDS


async def test_no_request_fails_while_tokens_end() -> None:
    """Over three expiries, with at least ten logins after each, counted by the platform."""
    with whose_tokens_end(LIFETIME_SECONDS, recycle=RECYCLE_SECONDS) as (platform, operator):
        async with loaded(operator.server.url):
            newest = len(platform.counters()["mint_times"]) - 1
            for number in range(newest, newest + EXPIRIES):
                await until(lambda number=number: has_ended(platform, number))  # type: ignore[misc] # mypy knows no default of a lambda
                await logged_in(platform)
        assert platform.counters()["mints_at_once"] == 1


@pytest.mark.long
async def test_a_token_of_twenty_seconds_is_renewed_at_half_of_its_life(twenty_seconds: Brief) -> None:
    """Over three expiries, with at least ten logins in the life after each, and none refused."""
    platform, operator = twenty_seconds
    began = time.time()
    async with loaded(operator.server.url):
        await asyncio.sleep((EXPIRIES + 0.5) * LONG_LIFETIME_SECONDS)  # the time is what is tested
    check_mints(platform, began)
    counted = platform.counters()
    ends = [moment + LONG_LIFETIME_SECONDS for moment in counted["mint_times"]]
    ends = [end for end in ends if began <= end < time.time() - LONG_LIFETIME_SECONDS / 2]
    assert len(ends) >= EXPIRIES
    for end in ends[:EXPIRIES]:
        logins = [moment for moment in counted["login_times"] if end <= moment < end + LONG_LIFETIME_SECONDS]
        assert len(logins) >= LOGINS, (end, len(logins))
    assert counted["logins_refused"] == 0


async def test_no_request_fails_while_minting_fails_for_a_while(platform: LocalPlatform, operator: Operator) -> None:
    """A token that cannot be renewed is used until its end, and minting is tried again until it succeeds."""
    assert operator.ask("{ orders(first: 1) { nodes { orderKey } } }")
    refused = platform.counters()["logins_refused"]
    with operated(platform, module="tests.servers.hasty", altered=_QUICK, RENEW_AFTER="0.3") as ours:
        await until(lambda: "errors" not in ours.answer("{ orders(first: 1) { nodes { orderKey } } }"))
        async with loaded(ours.server.url):
            for _ in range(2):
                failures = ours.server.log().count("no new token")
                platform.fault("internal_error", path=_CREDENTIALS, method="POST", times=None)
                await until(lambda failures=failures: ours.server.log().count("no new token") > failures)  # type: ignore[misc] # as above
                await logged_in(platform)
                mints = platform.counters()["mints"]
                platform.clear_faults()
                await until(lambda mints=mints: platform.counters()["mints"] > mints)  # type: ignore[misc] # as above
    assert platform.counters()["mints_at_once"] == 1
    assert platform.counters()["logins_refused"] == refused


@pytest.mark.long
async def test_no_request_fails_while_minting_fails_for_most_of_a_life(twenty_seconds: Brief) -> None:
    """Minting fails for 60 % of each token's life. The old token is used, and the next attempt comes in time."""
    platform, operator = twenty_seconds
    began, lives = time.time(), 2
    async with loaded(operator.server.url):
        for _ in range(lives):
            known = len(platform.counters()["mint_times"])
            await until(lambda known=known: len(platform.counters()["mint_times"]) > known)  # type: ignore[misc] # as above
            minted = platform.counters()["mint_times"][-1]
            platform.fault("internal_error", path=_CREDENTIALS, method="POST")
            await asyncio.sleep(
                max(0.0, minted + 0.6 * LONG_LIFETIME_SECONDS - time.time())
            )  # the time is what is tested
            platform.clear_faults()
    check_mints(platform, began, good=False)
    assert "no new token" in operator.server.log()
    assert platform.counters()["logins_refused"] == 0


async def test_a_revoked_token_is_replaced(platform: LocalPlatform, operator: Operator) -> None:
    """The login that PostgreSQL refuses drops the token, and tries once more with a new one."""
    refused = platform.counters()["logins_refused"]
    async with loaded(operator.server.url) as load:
        for _ in range(2):
            await until(lambda: time.time() - platform.counters()["mint_times"][-1] > YOUNG_SECONDS)
            platform.revoke(INSTANCE)
            await logged_in(platform)
            await load.answered(20)
    # On a slow machine all connections may be logging in with the revoked token.
    connections = connections_of(Settings.model_validate({"database_url": "postgresql://127.0.0.1/orders"}))
    assert 1 <= platform.counters()["logins_refused"] - refused <= (20 if MEASURES else 2 * connections)
    assert platform.counters()["mints_at_once"] == 1


def test_an_endpoint_of_the_autoscaling_api_is_served_too(platform: LocalPlatform, operator: Operator) -> None:
    """`LAKEBASE_ENDPOINT` alone names the database; it is administered as the same instance."""
    assert operator.ask("{ orders(first: 1) { nodes { orderKey } } }")
    before = platform.counters()["requests"].get("POST /api/2.0/postgres/credentials", 0)
    endpoint = platform.endpoint_name(INSTANCE)
    with operated(platform, LAKEBASE_ENDPOINT=endpoint, LAKEBASE_INSTANCE_NAME="") as other:
        operation = other.send("provisionLakebase", acknowledgeCost=True)
        assert "CREATE" not in {step["action"] for step in operation["plan"]["steps"]}, operation
        assert other.ended(operation)["state"] == "SUCCEEDED"
        assert other.ask("{ orders(first: 1) { nodes { orderKey } } }")
        assert other.ask("{ lakebase { instance { name } } }") == {"lakebase": {"instance": {"name": INSTANCE}}}
    assert platform.counters()["requests"]["POST /api/2.0/postgres/credentials"] > before
