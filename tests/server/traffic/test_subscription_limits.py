"""How many subscriptions a caller may have, and how long one lasts, without a transport."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

import pytest

from schema.errors import RateLimitedError, Reason, UnavailableError
from server.observability.request_record import RequestRecord, current_record
from server.traffic.subscription_limits import Subscriptions, lasting
from tests.clock import in_virtual_time, now

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_T = TypeVar("_T")


@pytest.fixture
def record() -> RequestRecord:
    """That of a subscription."""
    record = RequestRecord("1", subscription=True)
    current_record.set(record)
    return record


async def numbers(until: int, ended: list[str] | None = None) -> AsyncGenerator[int, None]:
    """Numbers at once, and then nothing for long."""
    try:
        for number in range(until):
            yield number
        await asyncio.sleep(7200)  # it is cancelled
    finally:
        if ended is not None:
            ended.append("ended")


def test_a_caller_has_so_many_and_gives_them_back() -> None:
    """Each has a number of its own, and nobody is remembered who has none."""
    subscriptions = Subscriptions(2)
    for user in ("a", "a", "b"):
        subscriptions.begin(user)
    with pytest.raises(RateLimitedError) as refused:
        subscriptions.begin("a")
    assert refused.value.reason is Reason.TOO_MANY_SUBSCRIPTIONS
    assert (subscriptions.open("a"), subscriptions.open("b"), subscriptions.open("c")) == (2, 1, 0)
    for user in ("a", "a", "b"):
        subscriptions.end(user)
    subscriptions.begin("a")
    assert subscriptions.open("a") == 1


async def heard_of(results: AsyncGenerator[_T, None], seconds: float, *, sending: float = 0) -> list[_T | Exception]:
    """All results of what lasts for so long, each of which takes a time to send, and what was raised in the end."""
    heard: list[_T | Exception] = []
    try:
        async with aclosing(lasting(results, seconds)) as lasting_results:
            async for result in lasting_results:
                heard.append(result)
                await asyncio.sleep(sending)  # as a transport does
    except (UnavailableError, TimeoutError) as error:
        heard.append(error)
    return heard


@pytest.mark.usefixtures("record")
@in_virtual_time
async def test_a_subscription_lasts_for_so_long() -> None:
    """What it waits for is ended, and the reason says how to go on."""
    ended: list[str] = []
    *heard, error = await heard_of(numbers(3, ended), 3600)
    assert now() == 3600
    assert (heard, ended) == ([0, 1, 2], ["ended"])
    assert isinstance(error, UnavailableError)
    assert error.reason is Reason.SUBSCRIPTION_ENDED


@pytest.mark.usefixtures("record")
@in_virtual_time
async def test_it_ends_also_between_two_results() -> None:
    """Where its time passes while a result is being sent, that one is the last."""
    first, error = await heard_of(numbers(3), 10, sending=30)
    assert now() == 30
    assert first == 0
    assert isinstance(error, UnavailableError)


@in_virtual_time
async def test_what_is_no_subscription_has_no_such_end(record: RequestRecord) -> None:
    """A change is not ended by it, and a fault goes through."""
    record.subscription = False

    async def slow() -> AsyncGenerator[str, None]:
        await asyncio.sleep(50)  # longer than a subscription would last
        yield "made"
        raise TimeoutError("its own")

    made, error = await heard_of(slow(), 10)
    assert made == "made"
    assert str(error) == "its own"
