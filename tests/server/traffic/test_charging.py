"""What an operation costs is charged once, before anything of it is run, whichever way it is answered."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from strawberry.http import GraphQLRequestData

from schema import DocumentCache, DocumentLimits, build_schema
from schema.errors import RateLimitedError, Reason
from server.graphql.fast_path import FastPath
from server.http.error_response import present
from server.observability.request_record import RequestRecord, current_record, note_cost
from server.traffic.rate_limit import ChargeMistakes, RateLimit
from tests.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from strawberry.extensions import SchemaExtension

    from schema.context import Context
    from tests.server.conftest import OpenStore

PAGE = "query($first: Int) { orders(first: $first) { nodes { orderKey } } }"


class Way:
    """Answers as the endpoint does, with a limit of 100 and the charges noted."""

    def __init__(self, open_store: OpenStore, *extensions: Callable[[], SchemaExtension]) -> None:
        documents = DocumentCache()
        self.schema = build_schema(
            extensions=extensions, documents=documents, plans=True, limits=DocumentLimits(cost=100)
        )
        self.fast = FastPath(documents, seconds=PATIENCE_SECONDS, limit=100)
        self.open_store = open_store
        self.charged: list[int] = []

    def context(self, table: str = "public.orders_synced") -> Context:
        """That of a request."""
        return replace(self.open_store(table)[1], charge=self.charged.append, tells_cost=True)

    async def ask(self, context: Context, **variables: Any) -> tuple[bool, dict[str, Any]]:
        """Whether there was a plan that answered, and the answer."""
        data = GraphQLRequestData(query=PAGE, variables=variables, operation_name=None, extensions=None)
        if planned := self.fast.find(data):
            written, context = await self.fast.answer(planned, data, context)
            if written is not None:
                return True, json.loads(written)
        result = await self.schema.execute(PAGE, variable_values=variables, context_value=context)
        return False, present(result)[0]


@pytest.fixture
def way(open_store: OpenStore) -> Way:
    """Both ways, with nothing planned."""
    return Way(open_store)


@pytest.fixture
def record() -> Iterator[RequestRecord]:
    """The record of the request being served."""
    token = current_record.set(RequestRecord("charged"))
    yield current_record.get()  # type: ignore[misc] # it was set
    current_record.reset(token)


async def test_both_ways_charge_and_tell_the_same(way: Way) -> None:
    """Once each."""
    answers = [await way.ask(way.context(), first=4) for _ in range(2)]
    assert [fast for fast, _ in answers] == [False, True]
    assert answers[0][1] == answers[1][1]
    assert answers[0][1]["extensions"] == {"cost": {"requested": 6, "limit": 100}}
    assert way.charged == [6, 6]


async def test_what_goes_from_one_way_to_the_other_is_charged_once(way: Way) -> None:
    """A table that is not there, and an argument that a plan leaves to the resolvers."""
    await way.ask(way.context(), first=4)
    way.charged.clear()
    for context, variables in ((way.context("public.nowhere"), {"first": 4}), (way.context(), {"first": -4})):
        fast, answer = await way.ask(context, **variables)
        assert not fast
        assert answer["errors"]
        assert answer["extensions"]["cost"]["limit"] == 100
    assert way.charged == [6, 2]


async def test_a_last_point_is_enough_for_both_ways(open_store: OpenStore) -> None:
    """What the fast way has charged and leaves to the other one is not asked for another point there."""
    rates = RateLimit(1e-9, 8)
    way = Way(open_store, lambda: ChargeMistakes(rates))
    await way.ask(rates.charging(way.context()), first=4)
    fast, answer = await way.ask(rates.charging(way.context()), first=-4)
    assert not fast
    assert [error["extensions"]["reason"] for error in answer["errors"]] == ["PAGE_SIZE_INVALID"]
    assert rates.callers == 1
    with pytest.raises(RateLimitedError):
        rates.demand_any(way.context().principal.user)


@pytest.mark.parametrize(
    ("document", "points"),
    [
        ("{", 1),
        ("{ nothing }", 1),
        (f"{{ {'orders { totalCount } ' * 21} }}", 1),
        ("{ orders(first: 999) { nodes { orderKey } } }", 1),
        ("query a { __typename } query b { __typename }", 1),
        ("{ __typename }", 1),
        ("{ orders(first: -1) { nodes { orderKey } } }", 2),
    ],
)
async def test_what_is_not_run_costs_a_point_and_what_is_run_its_cost(
    open_store: OpenStore, document: str, points: int
) -> None:
    """Whatever finds it wrong, before it is run; what is found wrong within it afterwards costs nothing beside."""
    rates = RateLimit(1e-9, 10)
    way = Way(open_store, lambda: ChargeMistakes(rates))
    await way.schema.execute(document, context_value=rates.charging(way.context()))
    user = way.context().principal.user
    rates.spend(user, 10 - points)
    with pytest.raises(RateLimitedError):
        rates.demand_any(user)


async def test_what_costs_too_much_is_refused_and_not_charged(way: Way) -> None:
    """Nothing is run of it."""
    for _ in range(2):
        fast, answer = await way.ask(way.context(), first=99)
        assert not fast
        assert answer["errors"][0]["extensions"]["reason"] == "COST_EXCEEDED"
        assert "data" not in answer
        await way.ask(way.context(), first=4)
    assert way.charged == [6, 6]


async def test_who_may_not_be_charged_is_refused_alike_on_both_ways(way: Way, statements: list[str]) -> None:
    """In the words of whoever charges, who is asked once; nothing is read."""
    asked: list[int] = []

    def refuse(cost: int) -> None:
        asked.append(cost)
        raise RateLimitedError(Reason.RATE_LIMITED, "Come back later.", retry_after_seconds=3)

    before = await way.ask(replace(way.context(), charge=refuse), first=4)
    await way.ask(way.context(), first=4)
    statements.clear()
    assert await way.ask(replace(way.context(), charge=refuse), first=4) == before
    assert before[1]["errors"][0]["message"] == "Come back later."
    assert "data" not in before[1]
    assert asked == [6, 6]
    assert statements == []


async def test_the_cost_stands_on_the_requests_record(way: Way, record: RequestRecord) -> None:
    """As the server has it."""
    await way.ask(replace(way.context(), charge=note_cost), first=4)
    assert record.cost == 6
