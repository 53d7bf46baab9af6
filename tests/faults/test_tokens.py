"""Faults F5 to F8: tokens expire, cannot be fetched, or are revoked, under load. Their lifetime here is 20 s.

The shorter cases are in tests/blackbox/lakebase/test_tokens.py.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import pytest

from tests.faults.lakebase import on_platform
from tests.faults.scenario import Scenario
from tests.faults.test_database import AWAY, END_OURS, hold, on
from tests.servers.operator import INSTANCE
from tests.servers.process import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.proxy import Proxy
    from tests.faults.rig import Rig
    from tests.faults.traffic import Traffic
    from tests.servers.platform import LocalPlatform

pytestmark = pytest.mark.long

LIFE_SECONDS: Final = 20.0
CREDENTIALS: Final = "/api/2.0/(database|postgres)/credentials"
# Lifetimes of connections: so short that each token is used for many logins, or longer than any test.
SHORT_SECONDS, LONGER_SECONDS = 2, 3000
_Parts = tuple["Rig", "LocalPlatform", "Proxy"]


@pytest.fixture(scope="module")
def parts() -> Iterator[_Parts]:
    """A server that replaces its connections every two seconds."""
    with on_platform(token_seconds=LIFE_SECONDS, recycle_seconds=SHORT_SECONDS) as parts:
        yield parts


def minted(platform: LocalPlatform) -> list[float]:
    """The times at which the platform issued tokens."""
    return list(platform.counters()["mint_times"])


def token_requests(platform: LocalPlatform) -> int:
    """How often the server asked for a token, successfully or not."""
    requests = platform.counters()["requests"]
    return sum(count for name, count in requests.items() if name.startswith("POST") and name.endswith("credentials"))


async def test_f5_tokens_that_end(parts: _Parts, tmp_path: Path) -> None:
    """Three tokens expire in turn, and no request fails."""
    rig, platform, _ = parts

    async def inject(_: Traffic) -> None:
        await hold(3 * LIFE_SECONDS + LIFE_SECONDS / 2)

    before = len(minted(platform))
    report = await Scenario("F5", "three tokens of 20 s expire", inject, rate=60).run(rig, tmp_path)
    assert len(minted(platform)) - before >= 3
    if failed := [reply for reply in report.replies if not reply.good]:
        report.miss(f"{len(failed)} failed: {failed[:3]}")
    report.check(recovery_seconds=1)


async def test_f6_a_platform_that_mints_nothing_for_a_while(parts: _Parts, tmp_path: Path) -> None:
    """For 60 % of a token's life the platform issues none: the server uses the old one and logs the failures."""
    rig, platform, _ = parts

    async def inject(_: Traffic) -> None:
        known = len(minted(platform))
        await until(lambda: len(minted(platform)) > known, seconds=2 * LIFE_SECONDS)
        at = minted(platform)[-1]
        platform.fault("internal_error", path=CREDENTIALS, method="POST", times=None)
        await asyncio.sleep(max(0.0, at + 0.6 * LIFE_SECONDS - time.time()))  # the length of the outage
        platform.clear_faults()

    report = await Scenario("F6", "no token for 60 % of a lifetime", inject, rate=60).run(rig, tmp_path)
    assert "no new token" in rig.server.log()
    if failed := [reply for reply in report.replies if not reply.good]:
        report.miss(f"{len(failed)} failed: {failed[:3]}")
    report.check(recovery_seconds=1)


async def test_f7_a_platform_that_mints_nothing_past_the_end(tmp_path: Path) -> None:
    """Open connections serve on. A new one is refused with 503. The server asks for a token once a second at most."""
    per_second: list[float] = []
    with on_platform(token_seconds=LIFE_SECONDS, recycle_seconds=LONGER_SECONDS) as (rig, platform, _):

        async def inject(traffic: Traffic) -> None:
            platform.fault("internal_error", path=CREDENTIALS, method="POST", times=None)
            failed = sum(not reply.good for reply in traffic.replies)
            await asyncio.sleep(LIFE_SECONDS + 1)  # until the token has expired
            assert sum(not reply.good for reply in traffic.replies) == failed
            before, began = token_requests(platform), time.monotonic()
            await on(rig.database, END_OURS)
            await hold(5)
            # The SDK also retries, within its own limits.
            per_second.append((token_requests(platform) - before) / (time.monotonic() - began))
            platform.clear_faults()

        allowed = AWAY | {"CONTROL_PLANE_UNAVAILABLE", "CONTROL_PLANE_TIMEOUT"}
        report = await Scenario("F7", "no token after the last one expires", inject, allowed, rate=60).run(
            rig, tmp_path
        )
        assert platform.counters()["mints_at_once"] == 1
    assert sum(report.refused.values()), "every login was good"
    if per_second[0] > 1.2:
        report.miss(f"the platform was asked {per_second[0]:.1f} times a second")
    report.check(recovery_seconds=5)


async def test_f8_tokens_that_are_revoked(parts: _Parts, tmp_path: Path) -> None:
    """A refused login discards the token, and the server tries once more with a new one."""
    rig, platform, _ = parts
    refused = platform.counters()["logins_refused"]

    async def inject(_: Traffic) -> None:
        platform.revoke(INSTANCE)
        await hold(5)

    report = await Scenario("F8", "every token revoked", inject, rate=60).run(rig, tmp_path)
    assert platform.counters()["logins_refused"] > refused
    failed = [reply for reply in report.replies if not reply.good]
    if len(failed) > rig.own_connections:
        report.miss(f"{len(failed)} failed: {failed[:3]}")
    report.check(recovery_seconds=1)
