"""The cost of an operation is charged once, before it runs, on the fast path and on the ordinary path."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from strawberry.http import GraphQLRequestData

from schema import DocumentCache, DocumentLimits, build_schema
from schema.errors import RateLimitedError, Reason
from schema.orders.types import ORDERS
from schema.ports.statistics import TableStatistics
from server.graphql.fast_path import FastPath
from server.http.error_response import present
from server.observability.request_record import RequestRecord, current_record, note_cost
from server.traffic.rate_limit import ChargeMistakes, RateLimit
from tests.servers.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from strawberry.extensions import SchemaExtension

    from schema.context import Context
    from tests.server.conftest import OpenStore

BURST = 1_000_000
PAGE = "query($first: Int) { orders(first: $first) { nodes { orderKey } } }"


class Endpoint:
    """Answers by the fast path or the ordinary path, like the endpoint, with a cost limit of 100. Notes the charges."""

    def __init__(self, open_store: OpenStore, *extensions: Callable[[], SchemaExtension]) -> None:
        documents = DocumentCache()
        self.schema = build_schema(
            extensions=extensions, documents=documents, plans=True, limits=DocumentLimits(cost=100)
        )
        self.fast = FastPath(documents, seconds=PATIENCE_SECONDS, limit=100)
        self.open_store = open_store
        self.charged: list[int] = []

    def context(self, table: str = "public.orders_synced") -> Context:
        """The context of a request on this table."""
        return replace(self.open_store(table)[1], charge=self.charged.append, tells_cost=True)

    async def ask(self, context: Context, **variables: Any) -> tuple[bool, dict[str, Any]]:
        """Whether the fast path answered, and the response."""
        data = GraphQLRequestData(query=PAGE, variables=variables, operation_name=None, extensions=None)
        if planned := self.fast.find(data):
            written, context = await self.fast.answer(planned, data, context)
            if written is not None:
                return True, json.loads(written)
        result = await self.schema.execute(PAGE, variable_values=variables, context_value=context)
        return False, present(result)[0]


@pytest.fixture
def endpoint(open_store: OpenStore) -> Endpoint:
    """An endpoint that has planned nothing yet."""
    return Endpoint(open_store)


@pytest.fixture
def record() -> Iterator[RequestRecord]:
    """The record of the request being served."""
    token = current_record.set(RequestRecord("charged"))
    yield current_record.get()  # type: ignore[misc] # it has just been set
    current_record.reset(token)


async def test_both_paths_charge_and_report_the_same_cost(endpoint: Endpoint) -> None:
    """Each response is charged once."""
    answers = [await endpoint.ask(endpoint.context(), first=4) for _ in range(2)]
    assert [fast for fast, _ in answers] == [False, True]
    assert answers[0][1] == answers[1][1]
    assert answers[0][1]["extensions"] == {"cost": {"requested": 6, "limit": 100}}
    assert endpoint.charged == [6, 6]


async def test_an_operation_that_leaves_the_fast_path_is_charged_once(endpoint: Endpoint) -> None:
    """The table does not exist, or a plan leaves the argument to the resolvers."""
    await endpoint.ask(endpoint.context(), first=4)
    endpoint.charged.clear()
    for context, variables in ((endpoint.context("public.nowhere"), {"first": 4}), (endpoint.context(), {"first": -4})):
        fast, answer = await endpoint.ask(context, **variables)
        assert not fast
        assert answer["errors"]
        assert answer["extensions"]["cost"]["limit"] == 100
    assert endpoint.charged == [6, 6]


async def test_a_scan_that_can_never_be_paid_for_is_refused_with_advice(open_store: OpenStore) -> None:
    """Not only to ask for smaller pages, which would not help."""
    rates = RateLimit(1e-9, 20)
    schema = build_schema(extensions=[lambda: ChargeMistakes(rates)])
    known = TableStatistics(1_500_000, frozenset({(ORDERS["order_key"],)}))
    context = rates.charging(replace(open_store()[1], statistics=lambda _table: known))
    result = await schema.execute('{ orders(filter: {clerk: {eq: "a"}}) { nodes { id } } }', context_value=context)
    (error,) = present(result)[0]["errors"]
    assert error["extensions"]["reason"] == "RATE_LIMITED"
    assert "retryAfter" not in error["extensions"]
    assert "No index serves the condition on `clerk`" in error["message"]


async def test_the_last_points_are_enough_for_an_operation_that_leaves_the_fast_path(open_store: OpenStore) -> None:
    """The fast path has charged it, so the ordinary path does not require another point."""
    rates = RateLimit(1e-9, BURST)
    endpoint = Endpoint(open_store, lambda: ChargeMistakes(rates))
    await endpoint.ask(rates.charging(endpoint.context()), first=4)
    user = endpoint.context().principal.user
    rates.spend(user, left(rates, user) - 6)
    fast, answer = await endpoint.ask(rates.charging(endpoint.context()), first=-4)
    assert not fast
    assert [error["extensions"]["reason"] for error in answer["errors"]] == ["PAGE_SIZE_INVALID"]
    assert rates.callers == 1
    with pytest.raises(RateLimitedError):
        rates.demand_any(user)


def left(rates: RateLimit, user: str) -> int:
    """How many points a caller has left."""
    return int(rates._left(user, rates._clock()))  # noqa: SLF001 # nobody else asks for it


@pytest.mark.parametrize(
    ("document", "mistakes"),
    [
        ("{", 1),
        ("{ nothing }", 1),
        ("{ nothing either }", 2),
        (f"{{ {'orders { totalCount } ' * 21} }}", 1),
        ("{ orders(first: 999) { nodes { orderKey } } }", 1),
        ("query a { __typename } query b { __typename }", 1),
    ],
)
async def test_a_refused_document_costs_its_reading_and_its_mistakes(
    open_store: OpenStore, document: str, mistakes: int
) -> None:
    """It does not matter which check refuses it. How long it took to refuse it is charged too."""
    rates = RateLimit(1e-9, BURST)
    endpoint = Endpoint(open_store, lambda: ChargeMistakes(rates))
    await endpoint.schema.execute(document, context_value=rates.charging(endpoint.context()))
    assert BURST - left(rates, endpoint.context().principal.user) >= 3 + len(document) // 10 + 8 * mistakes


@pytest.mark.parametrize(
    ("document", "variables", "points"),
    [
        ("{ __typename }", {}, 6),
        ("{ orders(first: -1) { nodes { orderKey } } }", {}, 6),
        (PAGE, {"first": "x"}, 52 + 8),
    ],
)
async def test_a_known_document_costs_what_it_costs(
    open_store: OpenStore, document: str, variables: dict[str, Any], points: int
) -> None:
    """Its reading is free. Errors of resolvers cost nothing more, and mistakes in variables do."""
    rates = RateLimit(1e-9, BURST)
    endpoint = Endpoint(open_store, lambda: ChargeMistakes(rates))
    spent = []
    for _ in range(3):
        before = left(rates, endpoint.context().principal.user)
        await endpoint.schema.execute(
            document, variable_values=variables, context_value=rates.charging(endpoint.context())
        )
        spent.append(before - left(rates, endpoint.context().principal.user))
    assert spent[1:] == [points] * 2


async def test_mistakes_in_the_variables_of_a_planned_operation_cost_too(open_store: OpenStore) -> None:
    """The fast path has charged its cost, and the ordinary path reports the mistakes."""
    rates = RateLimit(1e-9, BURST)
    endpoint = Endpoint(open_store, lambda: ChargeMistakes(rates))
    user = endpoint.context().principal.user
    for _ in range(2):
        await endpoint.ask(rates.charging(endpoint.context()), first=4)
    before = left(rates, user)
    fast, answer = await endpoint.ask(rates.charging(endpoint.context()), first="x")
    assert not fast
    assert len(answer["errors"]) == 1
    assert before - left(rates, user) == 52 + 8


async def test_an_operation_above_the_cost_limit_is_refused_and_not_charged(endpoint: Endpoint) -> None:
    """No part of it is executed."""
    for _ in range(2):
        fast, answer = await endpoint.ask(endpoint.context(), first=99)
        assert not fast
        assert answer["errors"][0]["extensions"]["reason"] == "COST_EXCEEDED"
        assert "data" not in answer
        await endpoint.ask(endpoint.context(), first=4)
    assert endpoint.charged == [6, 6]


async def test_an_operation_whose_charge_is_refused_gets_the_same_error_on_both_paths(
    endpoint: Endpoint, statements: list[str]
) -> None:
    """The error has the rate limit's message. The rate limit is asked once, and nothing is read."""
    charges: list[int] = []

    def refuse(cost: int) -> None:
        charges.append(cost)
        raise RateLimitedError(Reason.RATE_LIMITED, "Come back later.", retry_after_seconds=3)

    before = await endpoint.ask(replace(endpoint.context(), charge=refuse), first=4)
    await endpoint.ask(endpoint.context(), first=4)
    statements.clear()
    assert await endpoint.ask(replace(endpoint.context(), charge=refuse), first=4) == before
    assert before[1]["errors"][0]["message"] == "Come back later."
    assert "data" not in before[1]
    assert charges == [6, 6]
    assert statements == []


async def test_the_request_record_has_the_cost(endpoint: Endpoint, record: RequestRecord) -> None:
    """The server's context notes it there."""
    await endpoint.ask(replace(endpoint.context(), charge=note_cost), first=4)
    assert record.cost == 6
