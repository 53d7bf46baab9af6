"""Readiness: the server checks again and again while orders cannot be read, whatever the failure is."""

from __future__ import annotations

import asyncio

import pytest

from schema.errors import Reason, UnavailableError
from server.tables.reading.readiness import Readiness
from tests.support.clock import in_virtual_time, now


async def found() -> None:
    """The platform has the database."""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UnavailableError(Reason.DATABASE_UNAVAILABLE, "gone"), "DATABASE_UNAVAILABLE: gone"),
        (UnavailableError(Reason.STATEMENT_TIMEOUT, "slow"), "STATEMENT_TIMEOUT: slow"),
        (RuntimeError("hunter2"), "INTERNAL: orders cannot be read; the log says why."),
    ],
)
@in_virtual_time
async def test_it_looks_until_all_is_well(error: Exception, reason: str) -> None:
    """Any failure is named, without its secrets, and the next check may end it."""
    readiness, reasons, looks = Readiness(), [], 0

    async def look() -> None:
        nonlocal looks
        looks += 1
        reasons.append(readiness.reason)
        if looks < 4:
            raise error
        readiness.succeeded()

    readiness.watch(look, look_up=found)
    await readiness.settled(seconds=60)
    assert readiness.reason is None
    assert reasons[1:] == [reason] * 3
    # Pauses of 0.5 s, and then of 1 s.
    assert now() == 2.5
    await readiness.close()


@in_virtual_time
async def test_it_does_not_look_while_all_is_well_and_looks_again_when_not() -> None:
    """A database that is queried all the time never falls asleep."""
    readiness, looks = Readiness(), 0

    async def look() -> None:
        nonlocal looks
        looks += 1
        readiness.succeeded()

    readiness.watch(look, look_up=found)
    await readiness.settled(seconds=60)
    readiness.failed(UnavailableError(Reason.POOL_EXHAUSTED, "busy"), cause=TimeoutError())
    assert readiness.reason is None
    await asyncio.sleep(3600)
    assert looks == 1
    readiness.failed(UnavailableError(Reason.ORDERS_UNAVAILABLE, "dropped"), cause=KeyError())
    assert readiness.reason == "ORDERS_UNAVAILABLE: dropped"
    await asyncio.sleep(3600)
    assert readiness.reason is None
    assert looks == 2
    await readiness.close()
