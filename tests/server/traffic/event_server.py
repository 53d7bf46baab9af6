"""A server of events without its transports, on a virtual clock: a feed, a lookup that takes a second, and subscribers."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

import orjson
from strawberry.types.graphql import OperationType

from schema import build_schema
from schema.context import Context, PageLimits
from schema.errors import Reason, UnavailableError
from schema.permissions import Principal, Role
from schema.ports.changes import BEGINNING, StatusChange
from schema.ports.values import Block
from server.graphql.answers import answer_of_event
from server.graphql.gateway import Gateway
from server.graphql.request import RequestData
from server.http.consistency import Consistency, ConsistencyTokens
from server.traffic.events import Events
from server.traffic.rate_limit import RateLimit
from tests.support.clock import now

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from schema.ports.changes import FeedPlace
    from schema.ports.columns import Column, Columns, Table
    from schema.ports.values import Key


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

    async def row(self, _table: Table, of: Key, columns: Columns) -> Block:
        """An order."""
        (key,) = of
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
        wanted: tuple[Column, ...] = tuple(columns)
        return Block(wanted, [tuple(str(key) for _ in wanted)])


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
            tables=unused,
            orders=unused,
            groups=unused,
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


def limited(server: Server, rate: float, burst: int) -> Context:
    """The context of a caller with a rate limit."""
    return RateLimit(rate, burst, clock=now).charging(server.context)
