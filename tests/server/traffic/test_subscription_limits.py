"""The limits of subscriptions, without a transport: how many a caller may have, and how long one lasts."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

import pytest

from schema.errors import RateLimitedError, Reason, UnavailableError
from server.observability.request_record import RequestRecord, current_record
from server.traffic.draining import Draining
from server.traffic.subscription_limits import Held, Subscriptions, lasting
from tests.support.clock import in_virtual_time, now

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

_T = TypeVar("_T")


@pytest.fixture
def record() -> Iterator[RequestRecord]:
    """The request record of a subscription."""
    record = RequestRecord("1", subscription=True)
    token = current_record.set(record)
    yield record
    current_record.reset(token)


async def numbers(until: int, ended: list[str] | None = None) -> AsyncGenerator[int, None]:
    """Yield numbers at once, and then nothing for two hours."""
    try:
        for number in range(until):
            yield number
        await asyncio.sleep(7200)  # the test cancels it
    finally:
        if ended is not None:
            ended.append("ended")


def test_a_caller_has_a_number_of_subscriptions_and_gives_them_back() -> None:
    """Each caller is counted separately, and not remembered after its last subscription."""
    subscriptions = Subscriptions(2, Draining())
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


def test_the_subscriptions_of_a_caller_hold_a_number_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of variables, and of syntax trees, which count once however many subscriptions have them."""
    monkeypatch.setattr("server.traffic.subscription_limits._HELD_BYTES", 1_000)
    subscriptions = Subscriptions(100, Draining())
    tree, other = Held(1, 600, 50), Held(2, 600, 50)
    for _ in range(8):
        subscriptions.begin("a", tree)
    for one in (tree, other):
        with pytest.raises(RateLimitedError) as refused:
            subscriptions.begin("a", one._replace(variables_bytes=51))
        assert refused.value.reason is Reason.TOO_MANY_SUBSCRIPTIONS
    subscriptions.begin("b", other)
    for _ in range(8):
        subscriptions.end("a", tree)
    for _ in range(8):
        subscriptions.begin("a", other)
    assert (subscriptions.open("a"), subscriptions.open("b")) == (8, 1)


def test_no_subscription_starts_once_the_server_stops() -> None:
    """The transports end those that have started, and would miss a later one. The client is told to try again."""
    draining = Draining()
    subscriptions = Subscriptions(2, draining)
    draining.begin()
    with pytest.raises(UnavailableError) as refused:
        subscriptions.begin("a")
    assert (refused.value.reason, refused.value.retryable) == (Reason.SERVER_STOPPING, True)
    assert subscriptions.open("a") == 0


async def received(results: AsyncGenerator[_T, None], seconds: float, *, sending: float = 0) -> list[_T | Exception]:
    """What a client receives of an operation: its results, and the error that ended it, if any.

    Args:
        results: the results of the operation.
        seconds: its longest duration.
        sending: how long it takes to send a result, in seconds.
    """
    outcome: list[_T | Exception] = []
    try:
        async with aclosing(lasting(results, seconds)) as lasting_results:
            async for result in lasting_results:
                outcome.append(result)
                await asyncio.sleep(sending)  # as a transport would
    except (UnavailableError, TimeoutError) as error:
        outcome.append(error)
    return outcome


@pytest.mark.usefixtures("record")
@in_virtual_time
async def test_a_subscription_ends_after_its_longest_duration() -> None:
    """Its source is closed, and the error says how to resume."""
    ended: list[str] = []
    *results, error = await received(numbers(3, ended), 3600)
    assert now() == 3600
    assert (results, ended) == ([0, 1, 2], ["ended"])
    assert isinstance(error, UnavailableError)
    assert error.reason is Reason.SUBSCRIPTION_ENDED


@pytest.mark.usefixtures("record")
@in_virtual_time
async def test_a_subscription_also_ends_between_two_results() -> None:
    """If its time passes while a result is being sent, that result is the last."""
    first, error = await received(numbers(3), 10, sending=30)
    assert now() == 30
    assert first == 0
    assert isinstance(error, UnavailableError)


@in_virtual_time
async def test_a_mutation_has_no_such_end(record: RequestRecord) -> None:
    """It is not ended, and its own TimeoutError is passed on."""
    record.subscription = False

    async def slow() -> AsyncGenerator[str, None]:
        await asyncio.sleep(50)  # longer than a subscription may last
        yield "made"
        raise TimeoutError("its own")

    made, error = await received(slow(), 10)
    assert made == "made"
    assert str(error) == "its own"
