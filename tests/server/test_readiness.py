"""Readiness: the last known outcome, looked at again while it is bad, whatever goes wrong."""

from __future__ import annotations

import asyncio

import pytest

from schema.errors import Reason, UnavailableError
from server import readiness as module
from server.readiness import Readiness
from tests.process import PATIENCE_SECONDS


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again soon."""
    monkeypatch.setattr(module, "_FIRST_RETRY_SECONDS", 0.001)
    monkeypatch.setattr(module, "_LAST_RETRY_SECONDS", 0.002)


async def until_ready(readiness: Readiness) -> None:
    """Wait for it."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while readiness.reason is not None:  # noqa: ASYNC110 # nobody is told, as with a probe
            await asyncio.sleep(0.001)  # between two looks at the condition


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UnavailableError(Reason.DATABASE_UNAVAILABLE, "gone"), "DATABASE_UNAVAILABLE: gone"),
        (UnavailableError(Reason.STATEMENT_TIMEOUT, "slow"), "STATEMENT_TIMEOUT: slow"),
        (RuntimeError("hunter2"), "INTERNAL: orders cannot be read; the log says why."),
    ],
)
async def test_it_looks_until_all_is_well(error: Exception, said: str) -> None:
    """Any failure is named, without its secrets, and the next look may end it."""
    readiness, reasons, looks = Readiness(), [], 0

    async def look() -> None:
        nonlocal looks
        looks += 1
        reasons.append(readiness.reason)
        if looks < 4:
            raise error
        readiness.succeeded()

    readiness.watch(look)
    await until_ready(readiness)
    assert reasons[1:] == [said] * 3
    await readiness.close()


async def test_it_does_not_look_while_all_is_well_and_looks_again_when_not() -> None:
    """A database that is asked all the time never falls asleep."""
    readiness, looks = Readiness(), 0

    async def look() -> None:
        nonlocal looks
        looks += 1
        readiness.succeeded()

    readiness.watch(look)
    await until_ready(readiness)
    readiness.failed(UnavailableError(Reason.POOL_EXHAUSTED, "busy"), cause=TimeoutError())
    assert readiness.reason is None
    await asyncio.sleep(0)  # the others have their turn
    assert looks == 1
    readiness.failed(UnavailableError(Reason.ORDERS_UNAVAILABLE, "dropped"), cause=KeyError())
    assert readiness.reason == "ORDERS_UNAVAILABLE: dropped"
    await until_ready(readiness)
    assert looks == 2
    await readiness.close()
