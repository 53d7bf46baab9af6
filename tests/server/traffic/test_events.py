"""The events of subscriptions, on a virtual clock: paid for, delivered in turn, and still allowed.

The real feed and server: tests/blackbox/changes/test_fan_out.py.
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

import orjson
import pytest
from graphql.execution.collect_fields import CollectedFields

from schema.limits.formulas import LEAST_POINTS
from schema.permissions import Principal
from server.observability.request_record import RequestRecord, current_record, note_cost
from tests.server.traffic.event_server import (
    ALIASED,
    ALIASES,
    ALIASES_COST,
    ORDERS,
    ORDERS_COST,
    READER,
    START_COST,
    Server,
    keys_of,
    limited,
    reasons,
)
from tests.support.clock import in_virtual_time, now

if TYPE_CHECKING:
    from schema.ports.columns import Columns, Table
    from schema.ports.values import Block, Key
    from tests.server.conftest import LogLines


@in_virtual_time
async def test_a_selection_is_paid_for_once_and_a_shared_answer_by_its_bytes() -> None:
    """By the subscriber for which the event is resolved. The list of keys is paid for at the start only."""
    server = Server.with_changes(1, 2)
    document = f"subscription($k: [BigInt!]) {{ orderStatusChanged(orderKeys: $k) {{ {ALIASES} }} }}"
    charged: list[list[int]] = [[], [], []]
    subscribers = (
        server.first(2, document, replace(server.context, charge=charges.append), k=[1, 2, 3]) for charges in charged
    )
    answers, *_ = await asyncio.gather(*subscribers)
    size = len(orjson.dumps(answers[0]["data"]))
    assert size > 4_096
    paid = [1 + ALIASES_COST, *[LEAST_POINTS + size // 4_096] * 2]
    assert [charges[0] for charges in charged] == [30 + 3 + ALIASES_COST] * 3
    assert sorted(charges[1] for charges in charged) == sorted(paid)
    assert sorted(charges[2] for charges in charged) == sorted(paid)
    assert Counter(server.lookup.keys) == {1: ALIASED, 2: ALIASED}


@in_virtual_time
async def test_a_caller_may_have_as_many_equal_subscriptions_as_it_can_pay_answers_for() -> None:
    """While all of them wait for the points of the selection, one pays, and the others have its answer."""
    server = Server.with_changes(1)
    document = f"subscription {{ orderStatusChanged {{ {ALIASES} }} }}"
    await server.first(1, document)
    context = limited(server, rate=ALIASES_COST, burst=91 * (30 + ALIASES_COST))
    found = await asyncio.gather(*(server.first(1, document, context) for _ in range(90)))
    assert [len(answers) for answers in found] == [1] * 90
    assert all("data" in answer for (answer,) in found)
    assert len(server.lookup.keys) == 2 * ALIASED


@in_virtual_time
async def test_a_record_has_what_a_subscription_paid_in_all() -> None:
    """At its start and for its events."""
    server = Server.with_changes(1, 2)
    record = RequestRecord("1")
    current_record.set(record)
    await server.first(2, ORDERS, replace(server.context, charge=note_cost))
    assert record.cost == START_COST + 2 * ORDERS_COST


@in_virtual_time
async def test_a_subscription_holds_no_more_after_many_events() -> None:
    """graphql-core remembers the fields of each event's selection: it has to forget them with the event."""
    server, held = Server.with_changes(*range(1, 31)), dict[int, int]()
    async with aclosing(server.answers(ORDERS)) as answers:
        for number in server.feed.ids:
            await anext(answers)
            if number in {10, 30}:
                # Not `isinstance`, which asks a weak proxy for its object.
                held[number] = sum(type(one) is CollectedFields for one in gc.get_objects())
    assert held[30] <= held[10]


@in_virtual_time
async def test_a_subscriber_without_points_is_slowed() -> None:
    """Its events come at the rate of its bucket, all of them and in order. Nobody else is slowed."""
    server = Server.with_changes(*range(1, 101))
    slowed = asyncio.ensure_future(
        server.first(100, ORDERS, limited(server, rate=ORDERS_COST / 12, burst=START_COST + 2 * ORDERS_COST))
    )
    # A second for each lookup.
    assert keys_of(await server.first(100)) == [str(key) for key in range(1, 101)]
    assert now() < 300
    assert not slowed.done()
    assert keys_of(await slowed) == [str(key) for key in range(1, 101)]
    # The burst paid for the start and two events.
    assert now() == pytest.approx(12 * 98, abs=15)


@in_virtual_time
async def test_a_subscriber_that_cannot_pay_for_long_is_ended() -> None:
    """The error says when to resume. The others go on."""
    server = Server.with_changes(1, 2, 3)
    # A new text costs more.
    await server.first(1, ORDERS)
    context = limited(server, rate=ORDERS_COST / 40, burst=START_COST + ORDERS_COST)
    *events, end = await server.first(9, ORDERS, context)
    assert keys_of(events) == ["1"]
    assert reasons(end) == ["RATE_LIMITED"]
    assert "data" not in end
    assert end["errors"][0]["extensions"]["retryAfter"] == pytest.approx(40, abs=2)
    assert keys_of(await server.first(3)) == ["1", "2", "3"]


@in_virtual_time
async def test_subscriptions_of_a_caller_share_its_points() -> None:
    """A subscription that gets none of them for half a minute ends, and the last one gets all the rest."""
    server = Server.with_changes(*range(1, 101))
    context = limited(server, rate=ORDERS_COST / 20, burst=20 * ORDERS_COST)
    found = await asyncio.gather(*(server.first(100, ORDERS, context) for _ in range(10)))
    ended = [answers for answers in found if "errors" in answers[-1]]
    assert len(ended) == 9
    assert all(reasons(end) == ["RATE_LIMITED"] for *_, end in ended)
    assert sum(len(keys_of(answers[:100])) for answers in found if answers not in ended) == 100


@in_virtual_time
async def test_an_event_is_not_delivered_to_a_caller_that_has_lost_the_role() -> None:
    """Also if it lost the role while the event was being resolved."""
    server, roles = Server.with_changes(1, 2), [READER.roles]

    async def renew(principal: Principal) -> Principal:
        return replace(principal, roles=roles[-1])

    current_record.set(RequestRecord("1", subscription=True))
    answers = server.answers(ORDERS, replace(server.context, renew=renew))
    async with aclosing(answers):
        assert keys_of([await anext(answers)]) == ["1"]
        coming = asyncio.ensure_future(anext(answers))
        await asyncio.sleep(0.5)
        roles.append(frozenset())
        end = await coming
        assert reasons(end) == ["ROLE_MISSING"]
        assert "data" not in end
    assert server.lookup.keys == [1, 2]


@in_virtual_time
async def test_the_loop_serves_others_between_two_deliveries(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many events are ready for however many subscribers."""
    # No place rests: the loop is never idle here, so that its clock stands still.
    monkeypatch.setattr("time.thread_time", lambda: 0.0)
    server, delivered, turn = Server.with_changes(*range(1, 11)), Counter[int](), 0

    def next_turn() -> None:
        nonlocal turn
        turn += 1
        asyncio.get_running_loop().call_soon(next_turn)

    async def subscriber() -> None:
        received = 0
        async with aclosing(server.answers("subscription { orderStatusChanged { version } }")) as answers:
            async for _ in answers:
                delivered[turn] += 1
                received += 1
                if received == 10:
                    return

    next_turn()
    await asyncio.gather(*(subscriber() for _ in range(50)))
    assert delivered.total() == 500
    # The first one finds nobody before it.
    assert max(delivered.values()) <= 2


@in_virtual_time
async def test_many_different_selections_leave_connections_to_others() -> None:
    """A few are resolved at once, and of another caller none waits for all of them."""
    server = Server.with_changes(1)
    other = replace(server.context, principal=Principal("other", READER.roles))
    crowd = [asyncio.ensure_future(server.first(1, ORDERS + " " * number)) for number in range(100)]
    await asyncio.sleep(0.5)
    await server.first(1, ORDERS + "#", other)
    assert len(server.lookup.keys) < 12
    await asyncio.gather(*crowd)
    assert server.lookup.most == 2
    assert len(server.lookup.keys) == 101


@in_virtual_time
async def test_an_event_that_fails_ends_each_of_its_subscriptions_with_an_error_of_its_own(
    monkeypatch: pytest.MonkeyPatch, log_lines: LogLines
) -> None:
    """The fault is logged once. The exception, with a traceback that every subscriber would lengthen, is not shared."""
    server, raised = Server.with_changes(1, 2), [ValueError("secret")]

    def fail(*_: object) -> None:
        raise raised[0]

    monkeypatch.setattr("server.traffic.events._EventExecutor.of_event", fail)
    found = await asyncio.gather(*(server.first(2) for _ in range(20)))
    assert {len(answers) for answers in found} == {1}
    assert {str(answer) for (answer,) in found} == {str(found[0][0])}
    assert reasons(found[0][0]) == ["INTERNAL"]
    assert "data" not in found[0][0]
    assert raised[0].__traceback__ is None
    (fault,) = (line for line in log_lines() if line["event"] == "fault")
    assert fault["error_id"] == found[0][0]["errors"][0]["extensions"]["errorId"]


@in_virtual_time
async def test_what_an_event_reads_is_noted_on_a_record_of_its_own() -> None:
    """With an id, and the operation's name and transport: the log of a slow statement has them."""
    server, records = Server.with_changes(1), list[RequestRecord | None]()
    row = server.lookup.row

    async def noting(table: Table, key: Key, columns: Columns) -> Block:
        records.append(current_record.get())
        return await row(table, key, columns)

    server.lookup.row = noting  # type: ignore[method-assign, assignment] # as said
    own = RequestRecord("1", transport="websocket", operation="Feed")
    current_record.set(own)
    await server.first(1)
    (record,) = records
    assert record is not None
    assert record is not own
    assert (record.operation, record.transport, len(record.request_id)) == ("Feed", "websocket", 36)


@in_virtual_time
async def test_the_end_of_the_process_ends_what_is_being_resolved() -> None:
    """It leaves no task behind, whose statement would fail on a closed pool."""
    server = Server.with_changes(1)
    subscriber = asyncio.ensure_future(server.first(1))
    await asyncio.sleep(0.5)
    (task,) = (one for one in asyncio.all_tasks() if one.get_name() == "event")
    await server.events.close()
    assert task.cancelled()
    await asyncio.gather(subscriber, return_exceptions=True)


@in_virtual_time
async def test_a_place_rests_for_its_processor_time_and_not_for_its_wait() -> None:
    """Ten events of ten callers, each of which waits a second for the database, take half of that in two places."""
    server = Server.with_changes(1)
    callers = [replace(server.context, principal=Principal(str(number), READER.roles)) for number in range(10)]
    await asyncio.gather(*(server.first(1, ORDERS + "#" * number, one) for number, one in enumerate(callers)))
    assert server.lookup.most == 2
    assert now() == pytest.approx(5, abs=1)
