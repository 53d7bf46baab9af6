"""The comparison of two applications: both answer the same random queries, and every difference is reported."""

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
    from tests.differences.corpus import Corpus

_SHOWN: Final = 5
# The seed of handwritten queries.
_BY_HAND: Final = -1
# The share of the requests for tables that the fast path has to answer. It never answers a document's first request,
# and others fail or meet an odd row.
_LEAST_FAST: Final = 0.3
_ENOUGH_DOCUMENTS: Final = 50
_ACCEPTED: Final = ("*/*", "application/json", "application/graphql-response+json")
# The number of documents of all cases together. DIFFERENCES=20000 is for a longer run. A document's seed is the case's
# first seed plus its number. DIFFERENCES_FROM sets the first seed, so that DIFFERENCES=1 repeats a single document.
DOCUMENTS: Final = int(os.environ.get("DIFFERENCES", "400"))
_FROM: Final = os.environ.get("DIFFERENCES_FROM")


@dataclass
class Tally:
    """The number of requests, and the differences found."""

    documents: int = 0
    requests: int = 0
    of_tables: int = 0
    fast: int = 0
    clean: int = 0
    differences: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.documents} documents, {self.requests} requests, {self.clean} without errors; "
            f"{self.fast} were answered by the fast path, and {self.of_tables} were of tables alone"
        )

    def hold(self) -> None:
        """Fail on any difference, or if the fast path answered too few requests for the test to be meaningful."""
        assert not self.differences, self._described()
        assert self.documents < _ENOUGH_DOCUMENTS or self.fast > _LEAST_FAST * self.of_tables, str(self)

    def _described(self) -> str:
        """The first few differences in full."""
        return "\n\n".join((f"{len(self.differences)} differences:", *self.differences[:_SHOWN], str(self)))


def queries_of(schema: GraphQLSchema, corpus: Corpus, *, first_seed: int, share: float) -> Iterable[Query]:
    """The queries of a case with this share of all documents."""
    start = first_seed if _FROM is None else int(_FROM)
    return (query_of(seed, schema, corpus) for seed in range(start, start + max(1, round(DOCUMENTS * share))))


async def compare(fast: Application, ordinary: Application, queries: Iterable[Query], *, at_once: int = 1) -> Tally:
    """Send all queries to both applications, `at_once` of them concurrently."""
    tally, left = Tally(), iter(queries)

    async def work() -> None:
        for query in left:
            await _compare_one(fast, ordinary, query, tally)

    await asyncio.gather(*(work() for _ in range(at_once)))
    return tally


def written(document: str, *variables: Mapping[str, Any]) -> Query:
    """A handwritten query, sent with each of these sets of variables in turn."""
    return Query(_BY_HAND, tables_alone=True, bodies=[{"query": document, "variables": values} for values in variables])


async def _compare_one(fast: Application, ordinary: Application, query: Query, tally: Tally) -> None:
    tally.documents += 1
    how: dict[str, Any] = {"get": query.seed % 16 == 0, "accept": _ACCEPTED[query.seed % len(_ACCEPTED)]}
    expected = [await ordinary.ask(body, **how) for body in query.bodies]
    # A document's plan may be used from the second request on, whichever variables come first.
    for time, index in enumerate((*range(len(expected)), 0), 1):
        answer = await fast.ask(query.bodies[index], **how)
        tally.requests += 1
        tally.of_tables += query.tables_alone
        tally.fast += answer.fast
        tally.clean += not answer.outcomes
        if not answer.same_as(expected[index]):
            tally.differences.append(_described(query.seed, query.bodies[index], how, time, expected[index], answer))
            return


def _described(
    seed: int, body: Mapping[str, Any], how: Mapping[str, Any], time: int, expected: Answer, answer: Answer
) -> str:
    found = "written by hand" if seed == _BY_HAND else f"DIFFERENCES=1 DIFFERENCES_FROM={seed}"
    return (
        f"{found}, request {time}, {how}\n{body['query']}\n"
        f"{json.dumps({name: value for name, value in body.items() if name != 'query'})}\n"
        f"  ordinary: {expected}\n  fast:     {answer}"
    )
