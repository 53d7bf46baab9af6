"""Thousands of random requests: the good ones are answered correctly, and the bad ones cause no internal error."""

from __future__ import annotations

import http.client
import json
import os
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, Any, Final

import pytest

from schema import build_schema
from schema.errors import Reason
from schema.graph import TABLES
from tests.bad_inputs.mistakes import mistaken
from tests.bad_inputs.truth import Truth
from tests.bad_inputs.watching import leaks
from tests.differences.applications import PATH, application, decoded
from tests.differences.corpus import corpus_of
from tests.differences.database import make_database
from tests.differences.queries import query_of
from tests.differences.tables import CLEAN, PADDED, settings_for
from tests.differences.unlimited import UNLIMITED
from tests.servers.process import PATIENCE_SECONDS, Server, running_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from server.local.cluster import Cluster

pytestmark = pytest.mark.faults

# The number of valid requests. There are twice as many with mistakes. GENERATED=5000 is for a longer run. The requests
# are always the same; GENERATED_SEED makes others.
COUNT: Final = int(os.environ.get("GENERATED", "100"))
SEED: Final = int(os.environ.get("GENERATED_SEED", "7"))
_HEADERS: Final = {"content-type": "application/json", "accept": "*/*"}
# The share of the requests with mistakes that has to be refused. Some mistakes do no harm, a doubled field for example.
_LEAST_REFUSED: Final = 0.5
# The rows are good. A platform that is not configured is not a fault, so its reason is not in here.
_OUR_FAULT: Final = frozenset({Reason.INTERNAL.name, Reason.DATA_INVALID.name})
_FAULT: Final = 500
_REFUSALS: Final = range(400, 500)
_AS_APPLICATION: Final[dict[str, Any]] = {
    "PAGE_SIZE_DEFAULT": "6",
    "altered": {"server.process.lifespan._AGGREGATES_SECONDS": 60},
}


@pytest.fixture(scope="module")
async def database_url(cluster: Cluster) -> str:
    """The URL of a database with the tables of random queries and with status changes."""
    await make_database(cluster.url)
    return cluster.url


def environment_of(table: str) -> dict[str, str]:
    """The environment of a server of this table of orders."""
    settings = settings_for(table)
    tables = ",".join(f"{name}={beside}" for name, beside in settings.pop("tables").items())
    return {"TABLES": tables, **{name.upper(): value for name, value in settings.items()}}


@contextmanager
def asking(server: Server) -> Iterator[Callable[[bytes], tuple[int, bytes]]]:
    """Connect to the server, and give a function that posts a body and returns the response's status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", int(server.url.rpartition(":")[2]), PATIENCE_SECONDS)

    def ask(body: bytes) -> tuple[int, bytes]:
        connection.request("POST", PATH, body, _HEADERS)
        response = connection.getresponse()
        return response.status, response.read()

    try:
        yield ask
    finally:
        connection.close()


def test_valid_queries_get_the_true_answer(database_url: str, record_property: Callable[[str, object], None]) -> None:
    """Each random query gets the answer that Python works out from the rows, without SQL or GraphQL."""
    truth = Truth(Random(SEED))  # noqa: S311 # the same in every run
    wrong = []
    settings: dict[str, Any] = {**_AS_APPLICATION, "ORDERS_TABLE": CLEAN, "APP_SCHEMA": "generated_truth"}
    with running_server(database_url, **settings) as server, asking(server) as ask:
        for _ in range(COUNT):
            question = truth.question()
            status, body = ask(json.dumps(question.body).encode())
            if status != 200 or json.loads(body) != question.answer:
                wrong.append(
                    f"{json.dumps(question.body)}\n  expected {json.dumps(question.answer)}\n  got {body.decode()}"
                )
    record_property("summary", f"generated, seed {SEED}: {COUNT} valid queries answered correctly")
    assert not wrong, f"{len(wrong)} of {COUNT}, seed {SEED}\n" + "\n".join(wrong[:3])


async def test_the_process_answers_as_graphql_core_does(
    database_url: str, record_property: Callable[[str, object], None]
) -> None:
    """Over the whole schema and odd rows, the server answers as graphql-core does without the fast path."""
    schema = build_schema(tables=TABLES)._schema  # noqa: SLF001 # graphql-core's, to generate queries from
    corpus, count = corpus_of(PADDED), max(1, COUNT // 4)
    unlimited = {name.upper(): str(value) for name, value in UNLIMITED.items()}
    settings: dict[str, Any] = {**_AS_APPLICATION, **unlimited, **environment_of(PADDED)}
    wrong = []
    async with application(database_url, fast=False, fresh=False, **settings_for(PADDED)) as ordinary:
        with (
            running_server(database_url, module="tests.differences.unlimited", **settings) as server,
            asking(server) as ask,
        ):
            for seed in range(SEED * 1_000_000, SEED * 1_000_000 + count):
                for request in query_of(seed, schema, corpus).bodies:
                    expected = await ordinary.ask(request)
                    status, body = ask(json.dumps(request).encode())
                    if status != expected.status or decoded(body) != decoded(expected.body):
                        wrong.append(f"{json.dumps(request)}\n  expected {expected}\n  got {status} {body.decode()}")
    record_property("summary", f"generated, seed {SEED}: {count} more answered as graphql-core does")
    assert not wrong, f"{len(wrong)} of {count}, seed {SEED}\n" + "\n".join(wrong[:3])


def test_no_mistake_is_an_internal_error(database_url: str, record_property: Callable[[str, object], None]) -> None:
    """Whatever is lost, doubled, replaced or inflated: the server refuses with a reason, or answers. Nothing leaks."""
    random = Random(SEED)  # noqa: S311 # the same in every run
    truth, schema, corpus = Truth(random), build_schema(tables=TABLES)._schema, corpus_of(CLEAN)  # noqa: SLF001 # as above
    wrong, refused, count = [], 0, 2 * COUNT
    settings: dict[str, Any] = {**_AS_APPLICATION, **environment_of(CLEAN), "APP_SCHEMA": "generated_mistakes"}
    with running_server(database_url, **settings) as server, asking(server) as ask:
        for number in range(count):
            good: dict[str, Any] = (
                query_of(random.randrange(10**9), schema, corpus).bodies[0]
                if number % 3 == 0
                else truth.question().body
            )
            sent = mistaken(good, random)
            status, body = ask(sent)
            refused += b'"errors":[' in body
            if complaint := _complaint(sent, status, body):
                wrong.append(f"{complaint}\n  sent {sent[:2_000]!r}\n  got {status} {body[:2_000]!r}")
        assert server.process.poll() is None
        assert [line for line in server.log().splitlines() if '"fault"' in line or "Traceback" in line] == []
    record_property(
        "summary", f"generated, seed {SEED}: {count} mistaken requests, {refused} refused, no internal error"
    )
    assert not wrong, f"{len(wrong)} of {count}, seed {SEED}\n" + "\n".join(wrong[:3])
    assert refused > _LEAST_REFUSED * count


def _complaint(sent: bytes, status: int, body: bytes) -> str | None:
    """What is wrong with the response to a request with mistakes, if anything."""
    answer = json.loads(body)
    reasons = {error["extensions"]["reason"] for error in answer.get("errors", ())}
    if status == _FAULT or reasons & _OUR_FAULT:
        return f"our fault: {reasons}"
    if status in _REFUSALS and answer.get("data") is not None:
        return "data beside a refusal"
    if not reasons and "data" not in answer:
        return "neither data nor errors"
    found = leaks(body.decode(), canaries=(), sent=sent.decode("utf-8", "replace"))
    return f"leaks: {found}" if found else None
