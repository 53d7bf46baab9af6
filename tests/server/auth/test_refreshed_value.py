"""The cached value: who waits for a fetch, and how often one that fails is repeated. The clock jumps."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from schema.errors import Reason, UnavailableError
from server.auth import refreshed_value
from server.auth.refreshed_value import RefreshedValue
from server.traffic.backoff import Backoff
from tests.support.clock import LoopTime, in_virtual_time, now

if TYPE_CHECKING:
    from tests.server.conftest import LogLines

TTL, GRACE = 100.0, 1_000.0


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refreshed_value, "time", LoopTime)


class Source:
    """Something that is fetched: each fetch takes `seconds`, and fails with `failure` or gives the fetch's number."""

    def __init__(self, seconds: float = 0.0, failure: Exception | None = None) -> None:
        self.seconds = seconds
        self.failure = failure
        self.begun: list[float] = []

    async def fetch(self) -> int:
        """The number of this fetch, counted from 1."""
        self.begun.append(now())
        number = len(self.begun)
        await asyncio.sleep(self.seconds)
        if self.failure is not None:
            raise self.failure
        return number

    def cached(self, **options: Any) -> RefreshedValue[int]:
        """The cached value."""
        return RefreshedValue(
            "number", self.fetch, missing="no number", **{"ttl_seconds": TTL, "grace_seconds": GRACE, **options}
        )


@in_virtual_time
async def test_all_callers_share_a_fetch() -> None:
    """A caller that goes away does not cancel it for the others."""
    source = Source(seconds=5)
    cached = source.cached()
    first, *others = [asyncio.create_task(cached.get()) for _ in range(100)]
    await asyncio.sleep(1)
    first.cancel()
    assert set(await asyncio.gather(*others)) == {1}
    assert (now(), source.begun) == (5, [0])


@in_virtual_time
async def test_an_old_value_is_given_at_once_while_it_is_fetched_anew() -> None:
    """However long that takes, and however often it fails, until the value is too old."""
    source = Source()
    cached = source.cached()
    assert await cached.get() == 1
    await asyncio.sleep(TTL)
    source.seconds = 50
    began = now()
    assert [await cached.get() for _ in range(100)] == [1] * 100
    assert now() == began
    await asyncio.sleep(51)
    assert (await cached.get(), len(source.begun)) == (2, 2)
    source.seconds, source.failure = 0, UnavailableError(Reason.AUTHENTICATION_UNAVAILABLE, "gone")
    while now() < began + 50 + TTL + GRACE:
        assert await cached.get() == 2
        await asyncio.sleep(7)
    await asyncio.sleep(7)
    with pytest.raises(UnavailableError, match="no number"):
        await cached.get()


@in_virtual_time
async def test_callers_wait_for_a_moment_after_the_beginning_of_a_fetch() -> None:
    """Not each of them for a moment: only those that come in time do."""
    source = Source()
    cached = source.cached(patience_seconds=1)
    await cached.get()
    await asyncio.sleep(TTL)
    source.seconds = 0.5
    assert (await cached.get(), now()) == (2, TTL + 0.5)
    await asyncio.sleep(TTL)
    source.seconds = 20
    began = now()
    assert (await cached.get(), now()) == (2, began + 1)
    for _ in range(100):
        assert (await cached.get(), now()) == (2, began + 1)


@in_virtual_time
async def test_a_fetch_that_fails_is_repeated_after_growing_pauses() -> None:
    """Every caller is told when the next one begins. A success begins again with the shortest pause."""
    source = Source(failure=UnavailableError(Reason.AUTHENTICATION_UNAVAILABLE, "the cause, for the log only"))
    cached = source.cached()
    told = []
    while now() < 60:
        for get in (cached.get, cached.refresh):
            with pytest.raises(UnavailableError, match="no number") as refused:
                await get()
            assert refused.value.reason is Reason.AUTHENTICATION_UNAVAILABLE
            told.append(refused.value.retry_after_seconds)
        await asyncio.sleep(0.5)
    assert source.begun == [0, 1, 3, 7, 15, 25, 35, 45, 55]
    assert set(told) == set(range(1, 11))
    source.failure = None
    await asyncio.sleep(10)
    assert await cached.get() == 10
    source.failure = ValueError("a bug")
    await asyncio.sleep(TTL + GRACE)
    began = now()
    with pytest.raises(UnavailableError, match="no number"):
        await cached.get()
    assert source.begun[10:] == [began]
    await asyncio.sleep(1)
    with pytest.raises(UnavailableError, match="no number"):
        await cached.get()
    assert source.begun[10:] == [began, began + 1]


@in_virtual_time
async def test_a_refresh_that_fails_gives_no_old_value() -> None:
    """Whoever asks for a new one has no use for it."""
    source = Source()
    cached = source.cached()
    assert (await cached.get(), await cached.refresh()) == (1, 2)
    source.failure = UnavailableError(Reason.AUTHENTICATION_UNAVAILABLE, "gone")
    for _ in range(10):
        with pytest.raises(UnavailableError, match="no number"):
            await cached.refresh()
    assert await cached.get() == 2
    assert len(source.begun) == 3


async def test_a_cause_is_logged_once(monkeypatch: pytest.MonkeyPatch, log_lines: LogLines) -> None:
    """However often it is met. A bug is logged with its traceback."""
    source = Source(failure=UnavailableError(Reason.AUTHENTICATION_UNAVAILABLE, "gone"))
    cached = source.cached()
    monkeypatch.setattr(cached, "_backoff", Backoff(0.0, 0.0))
    for failure in (source.failure, source.failure, ValueError("a bug"), ValueError("a bug")):
        source.failure = failure
        with pytest.raises(UnavailableError):
            await cached.get()
    assert [(line["event"], line["what"], line["cause"]) for line in log_lines()] == [
        ("not fetched", "number", "gone"),
        ("not fetched", "number", "ValueError"),
    ]
    assert [bool(line.get("exc_info")) for line in log_lines()] == [False, True]
