"""Tokens that end in the middle of a load: nobody notices, and no more of them are minted than are needed.

`make faults` has tokens of 20 s and connections of 2 s, for 70 s.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from typing import TYPE_CHECKING

import pytest

from tests.blackbox.feed_clients import Subscriber, following, head, over_sse
from tests.blackbox.load import Load
from tests.operator import INSTANCE, Operator, operated
from tests.platform import platform_directory, running_platform
from tests.process import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.platform import LocalPlatform

pytestmark = pytest.mark.faults

_LONG = "FAULTS" in os.environ
LIFETIME_SECONDS = 20 if _LONG else 4
RECYCLE_SECONDS = 2 if _LONG else 0.4
EXPIRIES = 3
_CREDENTIALS = "/api/2.0/(database|postgres)/credentials"
# What a login may take between being given a token and being counted.
_LEEWAY_SECONDS = 0.5


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
    """A server whose orders are there, reached by the name of an instance."""
    with operated(platform, POOL_RECYCLE=str(RECYCLE_SECONDS)) as operator:
        operator.provisioned()
        yield operator


@contextlib.asynccontextmanager
async def loaded(url: str) -> AsyncIterator[Load]:
    """A load of queries, changes and a subscription, none of which may fail."""
    load, subscriber = Load(url), Subscriber(over_sse, url, await head(url))
    async with following(subscriber), load.running():
        await load.answered(10)
        yield load
    assert not load.bad, load.bad[:3]
    assert len(load.fates) > 100
    # The server's own pings and connections are its own business: the subscriber was never cut off.
    assert (subscriber.cut_off, subscriber.refusals) == (0, [])
    assert subscriber.events


def check_mints(platform: LocalPlatform, since: float, *, good: bool = True) -> None:
    """One at a time; and with a platform that answers, none before the one before has lived for half of its life."""
    counted = platform.counters()
    assert counted["mints_at_once"] == 1
    times = [moment for moment in counted["mint_times"] if moment >= since]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    if good:
        assert all(gap >= LIFETIME_SECONDS / 2 - 0.05 for gap in gaps), gaps


async def test_no_request_fails_while_tokens_end(platform: LocalPlatform, operator: Operator) -> None:
    """Over three expiries, with at least ten logins after each, counted by the platform."""
    began = time.time()
    async with loaded(operator.server.url):
        await asyncio.sleep(EXPIRIES * LIFETIME_SECONDS + LIFETIME_SECONDS / 2)  # the time is what is tested
    check_mints(platform, began)
    counted = platform.counters()
    ends = [moment + LIFETIME_SECONDS for moment in counted["mint_times"] if moment >= began - LIFETIME_SECONDS]
    ends = [end for end in ends if end < time.time() - LIFETIME_SECONDS / 2]
    assert len(ends) >= EXPIRIES
    for end in ends[:EXPIRIES]:
        logins = [moment for moment in counted["login_times"] if end <= moment < end + LIFETIME_SECONDS]
        assert len(logins) >= 10, (end, len(logins))
    assert counted["logins_refused"] == 0


async def test_a_platform_that_mints_nothing_for_most_of_a_life_is_not_noticed(
    platform: LocalPlatform, operator: Operator
) -> None:
    """For 60 % of each token's life minting fails: the old token is used, and the next attempt comes in time."""
    began, lives = time.time(), 2
    async with loaded(operator.server.url):
        for _ in range(lives):
            known = len(platform.counters()["mint_times"])
            await until(lambda known=known: len(platform.counters()["mint_times"]) > known)  # type: ignore[misc]
            minted = platform.counters()["mint_times"][-1]
            platform.fault("internal_error", path=_CREDENTIALS, method="POST")
            await asyncio.sleep(max(0.0, minted + 0.6 * LIFETIME_SECONDS - time.time()))  # the time is what is tested
            platform.clear_faults()
    check_mints(platform, began, good=False)
    assert "no new token" in operator.server.log()
    assert platform.counters()["logins_refused"] == 0


async def test_a_token_that_is_revoked_early_is_replaced(platform: LocalPlatform, operator: Operator) -> None:
    """The login that is refused drops it, and tries once more with a new one."""
    refused = platform.counters()["logins_refused"]
    async with loaded(operator.server.url) as load:
        for _ in range(2):
            platform.revoke(INSTANCE)
            logins = platform.counters()["logins_accepted"]
            await until(lambda logins=logins: platform.counters()["logins_accepted"] >= logins + 10)  # type: ignore[misc]
            await load.answered(20)
            await asyncio.sleep(1)  # two revocations within the second that passes between two tokens are not tested
    assert 1 <= platform.counters()["logins_refused"] - refused <= 20
    assert platform.counters()["mints_at_once"] == 1


def test_an_endpoint_of_the_autoscaling_api_is_served_alike(platform: LocalPlatform, operator: Operator) -> None:
    """`LAKEBASE_ENDPOINT` alone says which database: found, logged in to, and administered as the same instance."""
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
