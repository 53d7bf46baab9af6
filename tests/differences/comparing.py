"""Owns the comparing of two applications: random queries are asked of both, and every difference is told."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tests.differences.queries import Query, query_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from graphql import GraphQLSchema

    from tests.differences.applications import Answer, Application
    from tests.differences.tables import Corpus

_TOLD: Final = 5
# The seed of what no seed has made.
_BY_HAND: Final = -1
# Of the requests that it knows. The first one of a document never is, and others fail or meet an odd order.
_LEAST_FAST: Final = 0.3
_ENOUGH_DOCUMENTS: Final = 50
_ACCEPTED: Final = ("*/*", "application/json", "application/graphql-response+json")
# How many documents all cases have together: DIFFERENCES=20000 is for a longer run. A document's seed is its case's
# first one and its number; DIFFERENCES_FROM begins with another, so that DIFFERENCES=1 repeats a single one.
DOCUMENTS: Final = int(os.environ.get("DIFFERENCES", "400"))
_FROM: Final = os.environ.get("DIFFERENCES_FROM")


@dataclass
class Tally:
    """What was asked and found."""

    documents: int = 0
    requests: int = 0
    of_orders: int = 0
    fast: int = 0
    clean: int = 0
    differences: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.documents} documents, {self.requests} requests, {self.clean} without errors; "
            f"{self.fast} were answered by the fast path, and {self.of_orders} were of orders alone"
        )

    def hold(self) -> None:
        """Fail where there is any difference, or where too little was answered by the fast path to say so."""
        assert not self.differences, self._told()
        assert self.documents < _ENOUGH_DOCUMENTS or self.fast > _LEAST_FAST * self.of_orders, str(self)

    def _told(self) -> str:
        """The differences, the first few in full."""
        return "\n\n".join((f"{len(self.differences)} differences:", *self.differences[:_TOLD], str(self)))


def queries_of(schema: GraphQLSchema, corpus: Corpus, *, first_seed: int, share: float) -> Iterable[Query]:
    """The queries of a case that has this share of all documents."""
    start = first_seed if _FROM is None else int(_FROM)
    return (query_of(seed, schema, corpus) for seed in range(start, start + max(1, round(DOCUMENTS * share))))


async def compare(fast: Application, ordinary: Application, queries: Iterable[Query], *, at_once: int = 1) -> Tally:
    """Ask both all of the queries, as many at once as is said."""
    tally, left = Tally(), iter(queries)

    async def work() -> None:
        for query in left:
            await _compare_one(fast, ordinary, query, tally)

    await asyncio.gather(*(work() for _ in range(at_once)))
    return tally


def written(document: str, *variables: Mapping[str, Any]) -> Query:
    """A query that a person wrote, asked with these variables one after another."""
    return Query(_BY_HAND, orders_alone=True, bodies=[{"query": document, "variables": values} for values in variables])


async def _compare_one(fast: Application, ordinary: Application, query: Query, tally: Tally) -> None:
    tally.documents += 1
    how: dict[str, Any] = {"get": query.seed % 16 == 0, "accept": _ACCEPTED[query.seed % len(_ACCEPTED)]}
    expected = [await ordinary.ask(body, **how) for body in query.bodies]
    # What is kept of a document may be used from its second time on, whichever variables come first.
    for time, index in enumerate((*range(len(expected)), 0), 1):
        answer = await fast.ask(query.bodies[index], **how)
        tally.requests += 1
        tally.of_orders += query.orders_alone
        tally.fast += answer.fast
        tally.clean += not answer.outcomes
        if not answer.same_as(expected[index]):
            tally.differences.append(_told(query.seed, query.bodies[index], how, time, expected[index], answer))
            return


def _told(
    seed: int, body: Mapping[str, Any], how: Mapping[str, Any], time: int, expected: Answer, answer: Answer
) -> str:
    found = "written by hand" if seed == _BY_HAND else f"DIFFERENCES=1 DIFFERENCES_FROM={seed}"
    return (
        f"{found}, request {time}, {how}\n{body['query']}\n"
        f"{json.dumps({name: value for name, value in body.items() if name != 'query'})}\n"
        f"  ordinary: {expected}\n  fast:     {answer}"
    )
