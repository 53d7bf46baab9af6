"""The events of subscriptions, on a virtual clock: paid for, resolved once for all, delivered in turn, and still allowed.

The real feed and server: tests/blackbox/changes/test_fan_out.py.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

import orjson
import pytest
from strawberry.types.graphql import OperationType

from schema import build_schema
from schema.context import Context, PageLimits
from schema.errors import Reason, UnavailableError
from schema.limits.formulas import LEAST_POINTS
from schema.permissions import Principal, Role
from schema.ports.changes import BEGINNING, StatusChange
from schema.ports.values import OrderBlock
from schema.relay.pagination import encode_change_cursor
from server.graphql.gateway import Gateway, answer_of_event
from server.graphql.request import RequestData
from server.http.consistency import Consistency, ConsistencyTokens
from server.observability.request_record import RequestRecord, current_record, note_cost
from server.traffic.events import _KEY_BYTES, Events
from server.traffic.rate_limit import RateLimit
from tests.support.clock import in_virtual_time, now

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from schema.ports.changes import FeedPlace
    from schema.ports.values import OrderColumn, OrderColumns
    from tests.server.conftest import LogLines

READER: Final = Principal("reader", frozenset({Role.READER}))
ORDERS: Final = "subscription { orderStatusChanged { version order { orderKey clerk } } }"
# The least that an operation costs is more than the event itself, its version, and the order with two fields.
ORDERS_COST: Final = 6
# The subscription, the version, and the order with two fields.
START_COST: Final = 30 + 1 + 1 + 2
# A selection that costs more than its answer's bytes.
ALIASED: Final = 90
ALIASES: Final = " ".join(f"a{number}: order {{ orderKey clerk comment }}" for number in range(ALIASED))
ALIASES_COST: Final = 4 * ALIASED
WRONG: Final = "subscription { orderStatusChanged { order { statusChanges(first: -1) { nodes { version } } } } }"
CONSISTENCY: Final = Consistency(ConsistencyTokens(b"key"), secure=False)


def change(id_: int) -> StatusChange:
    """A change of the order with the same number."""
    moment = datetime(2026, 11, 23, tzinfo=UTC)
    return StatusChange(id_, id_, "O", "P", False, "O", 1, "ann", moment, None, id_)  # as its row


class Feed:
    """A feed of changes that are there already. A subscriber gets no other."""

    def __init__(self, *ids: int) -> None:
        self.ids = ids

    async def changes(self, after: FeedPlace, order_keys: frozenset[int] | None) -> AsyncGenerator[StatusChange, None]:
        """Each change as an object of its own, as if it were read for this subscriber."""
        for id_ in self.ids:
            if id_ > after.id and (order_keys is None or id_ in order_keys):
                yield change(id_)
        await asyncio.Event().wait()


class History:
    """A history that is at its beginning."""

    async def head(self) -> FeedPlace:
        """Its head."""
        return BEGINNING


class Lookup:
    """Looks up orders of which each column is its key, a second each. Notes the keys, and how many it looks up at once.

    The next `failures` lookups fail.
    """

    def __init__(self) -> None:
        self.keys: list[int] = []
        self.failures = 0
        self.most = self._now = 0

    async def order(self, key: int, columns: OrderColumns) -> OrderBlock:
        """An order."""
        self.keys.append(key)
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            await asyncio.sleep(1)
        finally:
            self._now -= 1
        if self.failures:
            self.failures -= 1
            raise UnavailableError(Reason.DATABASE_UNAVAILABLE, "The database does not answer.")
        wanted: tuple[OrderColumn, ...] = tuple(columns)
        return OrderBlock(wanted, [tuple(str(key) for _ in wanted)])


@dataclass
class Server:
    """A process with these changes in its feed, without its transports."""

    feed: Feed
    lookup: Lookup
    events: Events
    gateway: Gateway
    context: Context

    @classmethod
    def with_changes(cls, *ids: int) -> Server:
        """A new process."""
        feed, lookup, unused = Feed(*ids), Lookup(), cast("Any", None)
        events = Events(answer_of_event)
        context = Context(
            principal=READER,
            orders=unused,
            new_lookup=lambda: cast("Any", lookup),
            statuses=unused,
            history=cast("Any", History()),
            new_change_lookup=unused,
            feed=feed,
            lakebase=unused,
            limits=PageLimits(),
        )
        gateway = Gateway(
            build_schema(executor=events.executor()),
            documents=unused,
            consistency=CONSISTENCY,
            origins=unused,
            explored_by="off",
            rates=None,
        )
        return cls(feed, lookup, events, gateway, context)

    async def answers(
        self, query: str = ORDERS, context: Context | None = None, name: str | None = None, **variables: Any
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The answers of a subscription."""
        data = RequestData(query=query, operation_name=name, variables=variables, extensions=None)
        results = self.gateway.answers(
            data, context or self.context, allowed=(OperationType.SUBSCRIPTION,), lasting_seconds=3600
        )
        async with aclosing(results):
            async for answer in results:
                yield answer

    async def first(self, count: int, *arguments: Any, **options: Any) -> list[dict[str, Any]]:
        """The first answers of a subscription; fewer if it ends."""
        found: list[dict[str, Any]] = []
        async with aclosing(self.answers(*arguments, **options)) as answers:
            async for answer in answers:
                found.append(answer)
                if len(found) == count:
                    break
        return found


def written(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer as a client reads it."""
    read: dict[str, Any] = orjson.loads(orjson.dumps(answer))
    return read


def keys_of(answers: list[dict[str, Any]]) -> list[str]:
    """The keys of the orders in answers."""
    return [written(answer)["data"]["orderStatusChanged"]["order"]["orderKey"] for answer in answers]


def reasons(answer: dict[str, Any]) -> list[str]:
    """The reasons of an answer's errors."""
    return [error["extensions"]["reason"] for error in answer["errors"]]


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


def limited(server: Server, rate: float, burst: int) -> Context:
    """The context of a caller with a rate limit."""
    return RateLimit(rate, burst, clock=now).charging(server.context)


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
    order = server.lookup.order

    async def noting(key: int, columns: OrderColumns) -> OrderBlock:
        records.append(current_record.get())
        return await order(key, columns)

    server.lookup.order = noting  # type: ignore[method-assign] # as said
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
