"""The tokens of logins: kept while valid, renewed after half of their life, one minting at a time."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, timedelta
from typing import Final

import pytest

from schema.errors import Reason, UnavailableError
from server.lakebase.login import tokens as module
from server.lakebase.login.tokens import TokenProvider
from server.lakebase.platform.login_api import Credential
from tests.support.clock import LoopDatetime, LoopTime, in_virtual_time, now

LIFE_SECONDS: Final = 3600.0
FAILURE: Final = UnavailableError(Reason.CONTROL_PLANE_UNAVAILABLE, "The platform is down.")


class Mint:
    """Mints tokens `1`, `2` and so on, as slowly as the test says, or fails."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.seconds, self.life_seconds, self.skew_seconds = 0.0, LIFE_SECONDS, 0.0
        self.fails = False
        self.at_once = self.most_at_once = 0

    async def __call__(self) -> Credential:
        """Mint a token."""
        self.times.append(now())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.seconds)  # the time that the platform takes
        finally:
            self.at_once -= 1
        if self.fails:
            raise FAILURE
        ends = LoopDatetime.now(UTC) + timedelta(seconds=self.life_seconds + self.skew_seconds)
        return Credential(str(len(self.times)), ends, longest_seconds=self.life_seconds)


@pytest.fixture
def mint(monkeypatch: pytest.MonkeyPatch) -> Mint:
    """A mint; providers use the loop's clock."""
    monkeypatch.setattr(module, "time", LoopTime)
    monkeypatch.setattr(module, "datetime", LoopDatetime)
    return Mint()


async def later(moment: float) -> None:
    """Wait until this time of the loop."""
    await asyncio.sleep(max(0.0, moment - now()))


@in_virtual_time
async def test_a_crowd_shares_one_minting(mint: Mint) -> None:
    """A hundred logins at once make one call to the platform."""
    mint.seconds = 5
    provider = TokenProvider(mint)
    assert set(await asyncio.gather(*(provider.get() for _ in range(100)))) == {"1"}
    assert (len(mint.times), mint.most_at_once) == (1, 1)


@in_virtual_time
async def test_a_token_is_renewed_after_half_of_its_life_while_the_old_one_is_used(mint: Mint) -> None:
    """No login waits for the new one, however long the platform takes."""
    provider = TokenProvider(mint)
    assert await provider.get() == "1"
    await later(0.49 * LIFE_SECONDS)
    assert await provider.get() == "1"
    assert len(mint.times) == 1
    mint.seconds = 60
    await later(0.51 * LIFE_SECONDS)
    started = now()
    assert await provider.get() == "1"
    assert now() == started
    await later(started + 59)
    assert await provider.get() == "1"
    assert len(mint.times) == 2
    await later(started + 61)
    assert await provider.get() == "2"


@in_virtual_time
async def test_while_minting_fails_the_old_token_is_used_until_its_end_and_then_logins_fail(mint: Mint) -> None:
    """Attempts come after growing pauses. A login between two of them fails at once."""
    provider = TokenProvider(mint)
    assert await provider.get() == "1"
    mint.fails = True
    for moment in (0.6 * LIFE_SECONDS, LIFE_SECONDS - 1):
        await later(moment)
        for _ in range(20):
            assert await provider.get() == "1"
            await asyncio.sleep(0)  # lets the renewal run
        assert provider.failure is FAILURE
    assert len(mint.times) == 3
    # The first pause was of 1 s, and this one is of 2 s; the next is of 4 s.
    for moment, minted in ((LIFE_SECONDS, 3), (LIFE_SECONDS + 2, 4), (LIFE_SECONDS + 5, 4), (LIFE_SECONDS + 7, 5)):
        await later(moment)
        for _ in range(20):
            with pytest.raises(UnavailableError):
                await provider.get()
            assert now() == moment
        assert len(mint.times) == minted
    mint.fails = False
    await later(LIFE_SECONDS + 16)
    assert await provider.get() == "6"
    assert provider.failure is None


@in_virtual_time
async def test_a_refused_token_is_dropped_and_its_successor_is_not(mint: Mint) -> None:
    """Late refusals of the old token do not concern the new one."""
    provider = TokenProvider(mint)
    first = await provider.get()
    provider.reject(first)
    second = await provider.get()
    assert (first, second) == ("1", "2")
    provider.reject(first)
    assert await provider.get() == second
    assert len(mint.times) == 2


@in_virtual_time
async def test_a_refused_token_is_replaced_at_once_even_after_a_failed_renewal(mint: Mint) -> None:
    """The pause after a failed renewal does not apply when there is no token left."""
    provider = TokenProvider(mint)
    token = await provider.get()
    mint.fails = True
    await later(0.6 * LIFE_SECONDS)
    await provider.get()
    await asyncio.sleep(0.1)  # for the renewal in the background to fail
    assert provider.failure is FAILURE
    mint.fails = False
    provider.reject(token)
    assert await provider.get() == "3"


@in_virtual_time
async def test_tokens_that_are_always_refused_are_not_minted_without_end(mint: Mint) -> None:
    """If the role does not exist, for example: one more token comes at once, others after growing pauses, with an error."""
    provider = TokenProvider(mint)
    while now() < 30:
        with contextlib.suppress(UnavailableError):
            provider.reject(await provider.get())
        await asyncio.sleep(0.01)  # between two logins
    # "At once" is a second after the first one; the pauses are of 1, 2, 4 and 8 s.
    assert [round(moment) for moment in mint.times] == [0, 1, 2, 4, 8, 16]
    assert provider.failure is not None
    assert "refuses the server's logins" in provider.failure.message


@pytest.mark.parametrize("skew_seconds", [-300.0, 300.0])
@in_virtual_time
async def test_a_clock_that_is_wrong_by_minutes_costs_nothing(mint: Mint, skew_seconds: float) -> None:
    """A token that seems to have ended is used until PostgreSQL refuses it; none is trusted for too long."""
    mint.skew_seconds, mint.life_seconds = skew_seconds, 60
    provider = TokenProvider(mint)
    assert [await provider.get() for _ in range(10)] == ["1"] * 10
    await later(0.6 * mint.life_seconds)
    await provider.get()
    await asyncio.sleep(0.1)  # for the renewal in the background
    assert await provider.get() == "2"
