"""The query plans of statements with nested pages: index scans of as many rows as are written, wherever they lie."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from schema import DocumentCache, build_schema
from schema.graph import TABLES
from schema.limits.document import DocumentLimits
from schema.plans.replay import Failures
from server.db.driver import Compiled, Driver
from server.db.engine import RANDOM_PAGE_COST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import asyncpg

    from tests.server.conftest import OpenStore
    from tests.server.graph_tables import GraphTables

# Tables of a page or two, which PostgreSQL reads as cheaply without an index.
TINY = {"nation_synced", "region_synced"}
# The document, its variables, and the most rows that it may read of each table: those that it writes, one more where
# it tells whether others follow, and one where it tells whether others come before.
PLANS: dict[str, tuple[str, dict[str, Any], Mapping[str, int]]] = {
    "a detail page": (
        """query($at: String) { orders(first: 10, after: $at) { nodes { orderKey status customer { name nation { name } }
            lineItems(first: 3) { nodes { lineNumber part { name } } } } pageInfo { hasNextPage endCursor } } }""",
        {"at": "orders"},
        {"orders_synced": 11, "order_status": 11, "customer_synced": 10, "lineitem_synced": 30, "part_synced": 30},
    ),
    "flags and cursors of nested pages": (
        """query($at: String) { orders(last: 10, before: $at) { nodes {
            lineItems(last: 2) { edges { cursor } pageInfo { hasPreviousPage hasNextPage startCursor } } } } }""",
        {"at": "orders"},
        {"orders_synced": 11, "lineitem_synced": 30},
    ),
    "line items of a part, from the middle": (
        """query($at: String) { part(partKey: 3) {
            lineItems(first: 3, after: $at) { nodes { id order { status } } pageInfo { hasPreviousPage hasNextPage } } } }""",
        {"at": "part"},
        {"part_synced": 1, "lineitem_synced": 5, "orders_synced": 3, "order_status": 3},
    ),
    "orders of customers of a nation": (
        """query($at: String) { node(id: "TmF0aW9uOjE=") { ... on Nation { customers(first: 5, after: $at) { nodes {
            name orders(first: 3) { nodes { orderKey status } } } } } } }""",
        {"at": "nation"},
        {"customer_synced": 5, "orders_synced": 15, "order_status": 15},
    ),
    "all orders of a customer, in another order": (
        """{ customer(customerKey: 4) { orders(first: 2, orderBy: {field: TOTAL_PRICE}) { nodes { orderKey } } } }""",
        {},
        {"customer_synced": 1, "orders_synced": 31},
    ),
}
# A document that gives a cursor in the middle of each connection, and where the cursor is.
CURSORS = {
    "orders": ('{ orders(first: 1, filter: {orderKey: {gt: "30000"}}) { pageInfo { endCursor } } }', ("orders",)),
    "part": ("{ part(partKey: 3) { lineItems(first: 9) { pageInfo { endCursor } } } }", ("part", "lineItems")),
    "nation": (
        '{ node(id: "TmF0aW9uOjE=") { ... on Nation { customers(first: 30) { pageInfo { endCursor } } } } }',
        ("node", "customers"),
    ),
}


class Planned:
    """Runs documents by their plans, and tells the statements with their values."""

    def __init__(self, graph: GraphTables, open_store: OpenStore) -> None:
        self._context = graph.open(open_store)
        self._documents = DocumentCache()
        limits = DocumentLimits(cost=1_000_000)
        self._schema = build_schema(tables=TABLES, documents=self._documents, plans=True, limits=limits)
        self.sent: list[tuple[str, Sequence[Any]]] = []

    async def run(self, document: str, variables: dict[str, Any]) -> Any:
        """The data of the answer; `sent` has its statements."""
        await self._schema.execute(document, variable_values=variables, context_value=self._context.for_operation())
        known = self._documents.get(document)
        assert known
        planned = known.plans[None]
        assert planned
        self.sent.clear()
        pieces = await planned.write(self._context.for_operation(), variables, Failures())
        assert pieces
        return json.loads("".join(pieces))


@pytest.fixture
def planned(graph: GraphTables, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch) -> Planned:
    """Runs documents over TPC-H."""
    planned, sent = Planned(graph, open_store), Driver.rows

    async def note_and_send(driver: Driver, statement: Any, parameters: dict[str, Any], **counting: Any) -> Any:
        if isinstance(statement, Compiled):
            planned.sent.append((statement.text, statement.values(parameters)))
        return await sent(driver, statement, parameters, **counting)

    monkeypatch.setattr(Driver, "rows", note_and_send)
    return planned


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize(("document", "variables", "most"), PLANS.values(), ids=PLANS)
async def test_a_statement_reads_as_many_rows_as_it_writes(
    planned: Planned,
    database: asyncpg.Connection,
    document: str,
    variables: dict[str, Any],
    most: Mapping[str, int],
    mode: str,
) -> None:
    """By indexes alone, at any depth of any parent, also if PostgreSQL does not know the values."""
    if variables:
        asked, path = CURSORS[variables["at"]]
        found = await planned.run(asked, {})
        for name in path:
            found = found[name]
        variables = {"at": found["pageInfo"]["endCursor"]}
    await planned.run(document, variables)
    ((text, values),) = planned.sent
    read: dict[str, int] = dict.fromkeys(most, 0)
    for scan in scans(await explain(database, text, values, mode)):
        if (table := scan["Relation Name"]) in TINY:
            continue
        assert scan["Node Type"] != "Seq Scan", scan
        assert not scan.get("Rows Removed by Filter"), scan
        read[table] += scan["Actual Rows"] * scan["Actual Loops"]
    assert {table: rows for table, rows in read.items() if rows > most[table]} == {}
    assert any(read.values())


async def test_a_statement_of_single_rows_is_planned_once(planned: Planned, database: asyncpg.Connection) -> None:
    """Whatever the number of its keys is: PostgreSQL would take longer to plan it than to run it."""
    await planned.run(
        "{ order(orderKey: 1) { customer { nation { name } } lineItems { nodes { part { name } } } } }", {}
    )
    ((text, values),) = planned.sent
    prepared = await database.prepare(text, name="planned_once")
    for _ in range(8):
        await prepared.fetch(*values)
    kept = "SELECT generic_plans FROM pg_prepared_statements WHERE name = 'planned_once'"
    assert await database.fetchval(kept) == 3


async def explain(database: asyncpg.Connection, text: str, values: Sequence[Any], mode: str) -> dict[str, Any]:
    """The plan that PostgreSQL runs for a statement with these values."""
    literals = [await literal(database, value) for value in values]
    await database.execute(f"SET plan_cache_mode = {mode}; SET random_page_cost = {RANDOM_PAGE_COST}")
    await database.execute(f"PREPARE nested AS {text}")
    given = f"({', '.join(literals)})" if literals else ""
    try:
        plan = await database.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE nested{given}")
    finally:
        await database.execute("DEALLOCATE nested; RESET plan_cache_mode; RESET random_page_cost")
    root: dict[str, Any] = json.loads(plan)[0]["Plan"]
    return root


async def literal(database: asyncpg.Connection, value: object) -> str:
    """The value as SQL text."""
    if isinstance(value, list):
        return f"ARRAY[{', '.join(str(item) for item in value)}]"
    return str(await database.fetchval("SELECT quote_literal($1::text)", str(value)))


def scans(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The nodes of a plan that read tables."""
    if "Relation Name" in plan:
        yield plan
    for child in plan.get("Plans", []):
        yield from scans(child)
