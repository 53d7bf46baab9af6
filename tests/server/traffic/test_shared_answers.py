"""The answers of events, on a virtual clock: resolved once for equal subscriptions, and for no other."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from typing import Any, Final

import orjson
import pytest

from schema.permissions import Principal, Role
from schema.relay.cursors import encode_change_cursor
from server.observability.request_record import RequestRecord, current_record
from server.traffic.events import _KEY_BYTES
from tests.server.traffic.event_server import WRONG, Server, change, keys_of, reasons, written
from tests.support.clock import in_virtual_time


@in_virtual_time
async def test_equal_selections_of_an_event_are_resolved_and_written_once() -> None:
    """All subscribers get the same JSON, each in order."""
    server = Server.with_changes(1, 2, 3)
    found = await asyncio.gather(*(server.first(3) for _ in range(100)))
    assert server.lookup.keys == [1, 2, 3]
    assert all(keys_of(answers) == ["1", "2", "3"] for answers in found)
    for number in range(3):
        assert len({id(answers[number]["data"]) for answers in found}) == 1


VARIABLES: Final = """
subscription A($after: String, $keys: [BigInt!], $clerk: Boolean = true) {
  ...Changed
}
subscription B($after: String, $keys: [BigInt!], $clerk: Boolean = true) {
  ...Changed
}
fragment Changed on Subscription {
  orderStatusChanged(after: $after, orderKeys: $keys) { order { orderKey ...Clerk @include(if: $clerk) } }
}
fragment Clerk on Order { clerk }
"""


@pytest.mark.parametrize(
    "different",
    [
        {"after": encode_change_cursor(change(1).place)},
        {"keys": ["2", "4"]},
        {"keys": [2]},
        {"unknown": 1},
    ],
)
@in_virtual_time
async def test_what_decides_which_events_a_subscriber_gets_keeps_no_answers_apart(different: dict[str, Any]) -> None:
    """A cursor to resume from and a choice of orders are no part of an event."""
    server = Server.with_changes(2)
    both = await asyncio.gather(server.first(1, VARIABLES, name="A"), server.first(1, VARIABLES, name="A", **different))
    assert server.lookup.keys == [2]
    assert both[0] == both[1]


@pytest.mark.parametrize(
    "different",
    [
        {"clerk": False},
        {"name": "B"},
        {"query": VARIABLES.replace("{ clerk }", "{ clerk comment }")},
        {"context": {"principal": Principal("reader", frozenset({Role.WRITER}))}},
        {"context": {"explores": True}},
    ],
)
@in_virtual_time
async def test_whatever_an_answer_depends_on_keeps_answers_apart(different: dict[str, Any]) -> None:
    """The text, the operation, its variables, the roles, and whether errors may name the schema."""
    server = Server.with_changes(2)
    if changed := different.get("context"):
        different = {"context": replace(server.context, **changed)}
    one, other = await asyncio.gather(
        server.first(1, VARIABLES, name="A"), server.first(1, **{"query": VARIABLES, "name": "A", **different})
    )
    assert server.lookup.keys == [2, 2]
    assert ("clerk" in str(written(one[0]))) is True
    assert ("clerk" in str(written(other[0]))) is different.get("clerk", True)


@in_virtual_time
async def test_values_that_are_nested_too_deeply_are_refused() -> None:
    """They are compared before they are converted to their types."""
    nested: list[Any] = []
    for _ in range(3_000):
        nested = [nested]
    server = Server.with_changes(2)
    (refused,) = await server.first(1, VARIABLES, name="A", clerk=nested)
    assert "data" not in refused
    assert "non boolean value" in refused["errors"][0]["message"]


@in_virtual_time
async def test_an_answer_is_shared_for_a_few_seconds() -> None:
    """A subscriber that is far behind gets the order as it is then."""
    server = Server.with_changes(1, 2)
    async with AsyncExitStack() as stack:
        subscribers = [await stack.enter_async_context(aclosing(server.answers())) for _ in range(3)]
        await asyncio.gather(*map(anext, subscribers))
        for subscriber, pause, lookups in zip(subscribers, (0, 1, 30), ([1, 2], [1, 2], [1, 2, 2]), strict=True):
            await asyncio.sleep(pause)
            assert keys_of([await anext(subscriber)]) == ["2"]
            assert server.lookup.keys == lookups


@pytest.mark.parametrize("seconds", [0.5, 1.5])
@in_virtual_time
async def test_a_subscription_shares_no_answer_that_is_older_than_itself(seconds: float) -> None:
    """Its client may have changed the order meanwhile, on the same socket or elsewhere, and has to see it."""
    server = Server.with_changes(1)
    first = asyncio.ensure_future(server.first(1))
    await asyncio.sleep(seconds)
    later = [asyncio.ensure_future(server.first(1)) for _ in range(2)]
    await asyncio.gather(first, *later)
    assert server.lookup.keys == [1, 1]


@in_virtual_time
async def test_answers_that_are_shared_have_a_bound_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten first. What they are found by counts too."""
    server = Server.with_changes(1, 2, 3, 4)
    async with aclosing(server.answers()) as one, aclosing(server.answers()) as other:
        answers = await asyncio.gather(anext(one), anext(other))
        size = len(orjson.dumps(answers[0]["data"])) + _KEY_BYTES
        monkeypatch.setattr("server.traffic.events._SHARED_BYTES", 2 * size + 10)
        for subscriber in (one, other):
            assert keys_of([await anext(subscriber) for _ in range(3)]) == ["2", "3", "4"]
    assert server.lookup.keys == [1, 2, 3, 4, 2, 3, 4]


@in_virtual_time
async def test_a_subscriber_that_leaves_takes_nothing_from_the_others() -> None:
    """The one for which an event is being resolved goes away, and the rest get their answer from the same lookup."""
    server = Server.with_changes(1)
    first, *rest = (asyncio.ensure_future(server.first(1)) for _ in range(5))
    await asyncio.sleep(0.5)
    first.cancel()
    assert [keys_of(answers) for answers in await asyncio.gather(*rest)] == [["1"]] * 4
    assert server.lookup.keys == [1]


@in_virtual_time
async def test_an_answer_with_errors_is_shared_too() -> None:
    """The record of each request has each reason once, however many events had it."""
    server = Server.with_changes(*range(1, 6))

    async def wrong() -> tuple[list[dict[str, Any]], list[str]]:
        record = RequestRecord("1")
        current_record.set(record)
        return await server.first(5, WRONG), record.errors

    for answers, noted in await asyncio.gather(*(wrong() for _ in range(3))):
        assert [reasons(answer) for answer in answers] == [["PAGE_SIZE_INVALID"]] * 5
        assert noted == ["PAGE_SIZE_INVALID"]
    assert server.lookup.keys == [1, 2, 3, 4, 5]


@in_virtual_time
async def test_an_answer_is_not_kept_if_another_attempt_may_succeed() -> None:
    """Those that wait for it share the error, and the next subscriber causes another attempt."""
    server = Server.with_changes(1)
    server.lookup.failures = 1
    for (answer,) in await asyncio.gather(*(server.first(1) for _ in range(3))):
        assert reasons(answer) == ["DATABASE_UNAVAILABLE"]
        assert written(answer)["data"] == {"orderStatusChanged": {"version": 1, "order": None}}
    assert keys_of(await server.first(1)) == ["1"]
    assert server.lookup.keys == [1, 1]
