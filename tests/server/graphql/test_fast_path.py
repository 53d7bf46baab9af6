"""The fast path: which documents have a plan, and what happens if answering from it fails."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from schema import DocumentCache, DocumentLimits, build_schema
from schema.plans.replay import Failures
from server.http.error_response import present
from tests.server.conftest import engines_of, patient_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from schema.context import Context
    from schema.plans.operation import PlannedOperation
    from tests.server.conftest import OpenStore

PAGE = "{ orders(first: 2) { nodes { orderKey customerKey orderDate } } }"


class Way:
    """A schema with plans: the ordinary path answers a document first, and its plan from then on."""

    def __init__(self, documents: DocumentCache) -> None:
        self.documents = documents
        # None of the limits of a document is about plans.
        limits = DocumentLimits(aliases=200, root_fields=100)
        self.schema = build_schema(documents=documents, plans=True, limits=limits)

    def plan(self, document: str) -> PlannedOperation | None:
        """The plan of a document's only operation."""
        known = self.documents.get(document)
        return known.plans.get(None) if known else None

    async def learn(self, document: str, context: Context, **variables: Any) -> bool:
        """Whether the document has a plan once it has been answered."""
        await self.schema.execute(document, context_value=context, variable_values=variables)
        return self.plan(document) is not None

    async def write(self, document: str, context: Context, failures: Failures | None = None, **variables: Any) -> Any:
        """The data that its plan writes; None if that is left to the ordinary path."""
        planned = self.plan(document)
        assert planned
        pieces = await planned.write(context, variables, failures or Failures())
        return None if pieces is None else json.loads("".join(pieces))


@pytest.fixture
def way() -> Way:
    """A schema with a cache as large as the server's."""
    return Way(DocumentCache())


@pytest.fixture
async def table(database: asyncpg.Connection) -> AsyncIterator[str]:
    """A table of some orders that a test may change."""
    await database.execute("CREATE TABLE public.changing AS SELECT * FROM orders_synced ORDER BY o_orderkey LIMIT 50")
    yield "public.changing"
    await database.execute("DROP TABLE public.changing")


@pytest.mark.parametrize(
    ("document", "planned"),
    [
        (PAGE, True),
        ("{ order(orderKey: 1) { clerk } }", True),
        ("{ orders { nodes { statusChanges { nodes { version } } } } }", False),
        ("{ orderCount { count } }", False),
        (f"{{ orders {{ nodes {{ {' '.join(f'a{n}: clerk' for n in range(100))} }} }} }}", True),
        (f"{{ orders {{ nodes {{ {' '.join(f'a{n}: clerk' for n in range(101))} }} }} }}", False),
        (f"{{ {' '.join(f'a{n}: order(orderKey: {n}) {{ clerk }}' for n in range(50))} }}", True),
        (f"{{ {' '.join(f'a{n}: order(orderKey: {n}) {{ clerk }}' for n in range(51))} }}", False),
        (f"{{ orders {{ {' '.join(f'a{n}: nodes {{ {c} }}' for n, c in enumerate('abcdefgh'))} }} }}", False),
    ],
)
async def test_what_is_planned_is_orders_alone_and_of_a_bounded_size(
    way: Way,
    open_store: OpenStore,
    document: str,
    planned: bool,  # noqa: FBT001 # pytest gives it by name
) -> None:
    """A caller cannot choose how much memory its documents take."""
    assert await way.learn(document, open_store()[1]) is planned


async def test_a_document_is_planned_for_four_choices_of_its_variables(way: Way, open_store: OpenStore) -> None:
    """Further choices are answered by the ordinary path."""
    names = ("a", "b", "c")
    skips = " ".join(f"{name}: clerk @skip(if: ${name})" for name in names)
    document = (
        f"query({', '.join(f'${name}: Boolean!' for name in names)}) {{ orders(first: 1) {{ nodes {{ {skips} }} }} }}"
    )
    context = open_store()[1]
    choices = [dict(zip(names, (bool(n & 1), bool(n & 2), bool(n & 4)), strict=True)) for n in range(5)]
    assert await way.learn(document, context, **choices[0])
    written = [await way.write(document, context, None, **choice) for choice in choices]
    assert [answer is not None for answer in written] == [True, True, True, True, False]


async def test_plans_are_forgotten_by_the_length_of_their_documents(open_store: OpenStore) -> None:
    """The oldest go first."""
    way, context = Way(DocumentCache(characters=3 * len(PAGE))), open_store()[1]
    documents = [PAGE.replace("2", str(n)) for n in range(5)]
    for document in documents:
        assert await way.learn(document, context)
    assert [way.plan(document) is not None for document in documents] == [False, False, True, True, True]


async def test_who_may_not_read_is_told_so_by_the_resolvers(way: Way, open_store: OpenStore) -> None:
    """A plan gives nobody access."""
    assert await way.learn(PAGE, open_store()[1])
    assert await way.write(PAGE, open_store(roles=frozenset())[1]) is None


async def test_a_failure_is_met_once_and_told_as_ever(way: Way, open_store: OpenStore) -> None:
    """The ordinary path does not ask the database again for what the plan could not read."""
    assert await way.learn(PAGE, open_store()[1])
    context, failures = open_store("public.nowhere")[1], Failures()
    assert await way.write(PAGE, context, failures) is None
    replayed = failures.replayed(context)
    answer = present(await way.schema.execute(PAGE, context_value=replayed))[0]
    asked = present(await way.schema.execute(PAGE, context_value=context))[0]
    assert answer == asked
    assert answer["errors"][0]["extensions"]["reason"] == "ORDERS_UNAVAILABLE"
    assert replayed.tables is not context.tables


@pytest.mark.parametrize(
    "change",
    [
        'o_custkey TYPE text USING \'1","clerk":"nobody\'',
        'o_orderdate TYPE text USING \'1","clerk":"nobody\'',
        "o_custkey TYPE numeric USING o_custkey + 0.5",
    ],
)
async def test_a_column_that_becomes_another_type_cannot_write_json_of_its_own(
    way: Way, open_store: OpenStore, database: asyncpg.Connection, table: str, change: str
) -> None:
    """Until the table is inspected again, an answer has exactly the fields that were selected, or is the ordinary path's."""
    context = open_store(table)[1]
    assert await way.learn(PAGE, context)
    assert await way.write(PAGE, context)
    await database.execute(f"ALTER TABLE {table} ALTER COLUMN {change}")
    answer = await way.write(PAGE, context)
    assert answer is None or {key for node in answer["orders"]["nodes"] for key in node} == {
        "orderKey",
        "customerKey",
        "orderDate",
    }


async def test_dates_are_read_as_they_are_whatever_the_database_writes(
    way: Way, open_store: OpenStore, database: asyncpg.Connection, orders_url: str
) -> None:
    """A database with another DateStyle gives the same answers on both paths."""
    expected = present(await way.schema.execute(PAGE, context_value=open_store()[1]))[0]
    name = await database.fetchval("SELECT current_database()")
    await database.execute(f'ALTER DATABASE "{name}" SET datestyle = "German"')
    try:
        async with engines_of(patient_settings(orders_url)) as engines:
            context = open_store(engines=engines)[1]
            assert present(await way.schema.execute(PAGE, context_value=context))[0] == expected
            assert {"data": await way.write(PAGE, context)} == expected
    finally:
        await database.execute(f'ALTER DATABASE "{name}" RESET datestyle')
