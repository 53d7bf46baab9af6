"""Documents over several tables: the fast path answers as the ordinary path does, with one statement per root field."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from schema import DocumentCache, build_schema
from schema.graph import TABLES
from schema.limits.document import DocumentLimits
from schema.plans.replay import Failures
from server.http.error_response import present
from server.tables.catalog.synced_table import Definition
from tests.servers.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from schema.context import Context
    from tests.server.conftest import OpenStore
    from tests.server.graph_tables import GraphTables

ORDER = "orderKey status statusVersion totalPrice orderDate"
PAGE_INFO = "pageInfo { hasNextPage hasPreviousPage startCursor endCursor }"
DETAIL = f"""{{ orders(first: 5) {{ nodes {{
    {ORDER} customer {{ name marketSegment accountBalance nation {{ name region {{ name }} }} }}
    lineItems(first: 10) {{ nodes {{ lineNumber quantity shipDate part {{ name brand }} }} }}
}} pageInfo {{ hasNextPage endCursor }} }} }}"""
# Each kind of nesting: the document, and its statements on the fast path.
DOCUMENTS = {
    "a detail page": (DETAIL, 1),
    "to one, of one, of one": ("{ order(orderKey: 1) { customer { nation { region { id name } } } } }", 1),
    "a row that leads to the same row again": (
        "{ order(orderKey: 1) { a: customer { name } b: customer { phone nation { name } } customer { id } } }",
        1,
    ),
    "all four arguments": (
        f"""{{ orders(first: 4) {{ edges {{ cursor node {{ id
            a: lineItems(first: 2) {{ totalCount {PAGE_INFO} edges {{ cursor node {{ id }} }} }}
            b: lineItems(last: 2) {{ {PAGE_INFO} edges {{ cursor node {{ id lineNumber }} }} nodes {{ tax }} }}
            c: lineItems(first: 0) {{ totalCount {PAGE_INFO} nodes {{ id }} }}
            d: lineItems(last: 0) {{ {PAGE_INFO} }}
            e: lineItems {{ __typename totalCount(precision: ESTIMATED) }}
        }} }} }} }}""",
        1,
    ),
    "orders below customers, merged": (
        f"""{{ customers(first: 6, orderBy: {{field: NAME, direction: DESC}}) {{ {PAGE_INFO} nodes {{
            name orders(first: 3, orderBy: {{field: TOTAL_PRICE, direction: DESC}}, filter: {{status: {{eq: PARTIAL}}}}) {{
                totalCount {PAGE_INFO} edges {{ cursor node {{ {ORDER} statusSuperseded customer {{ customerKey }} }} }}
            }}
        }} }} }}""",
        1,
    ),
    "customers below nations below regions": (
        f"""{{ regions {{ name nations {{ nationKey name region {{ id }}
            customers(first: 2, filter: {{name: {{startsWith: "Customer#0000000"}}}}) {{ {PAGE_INFO} nodes {{ name }} }}
            last: customers(last: 1, orderBy: {{field: NAME}}) {{ edges {{ cursor node {{ name }} }} {PAGE_INFO} }}
        }} }} }}""",
        1,
    ),
    "the same table at each level": (
        """{ customers(first: 3, filter: {customerKey: {in: ["4", "7"]}}) { nodes { orders(first: 2) { nodes {
            orderKey customer { orders(last: 1) { nodes { orderKey status customer { name } } } }
        } } } } }""",
        1,
    ),
    "a list at the root": ("{ nations { name region { name } } regions { name } }", 2),
    "rows of several tables by id": (
        """{ nodes(ids: ["T3JkZXI6MQ==", "Q3VzdG9tZXI6NA==", "TGluZUl0ZW06MTox", "T3JkZXI6OA=="]) {
            id __typename ... on Order { status customer { name } } ... on Customer { name }
            ... on LineItem { lineNumber part { name } }
        } }""",
        3,
    ),
    "lookups side by side": (
        "{ a: order(orderKey: 1) { orderKey } b: order(orderKey: 2) { clerk } c: order(orderKey: 3) { customer { name } } }",
        2,
    ),
    "a part, and where it is used": (
        f"{{ part(partKey: 3) {{ id name size lineItems(first: 3) {{ totalCount {PAGE_INFO} nodes {{ id order {{ {ORDER} }} }} }} }} }}",
        1,
    ),
    "no row": ("{ order(orderKey: 9) { customer { name } } customer(customerKey: 0) { name nation { name } } }", 2),
}


class Answers(NamedTuple):
    """What the two ways answer: the ordinary one, and the fast one, or None if it leaves the answer to the other."""

    ordinary: dict[str, Any]
    fast: dict[str, Any] | None
    failures: Failures


class BothWays:
    """Answers documents both ways, over a graph."""

    def __init__(self, context: Context, statements: list[str]) -> None:
        self.context = context
        self.statements = statements
        self._documents = DocumentCache()
        self._schema = build_schema(
            tables=TABLES, documents=self._documents, plans=True, limits=DocumentLimits(cost=1_000_000)
        )

    async def answer(self, document: str, **variables: object) -> Answers:
        """Answer on the ordinary path, which plans the document, and then by the plan."""
        context = self.context.for_operation()
        result = await self._schema.execute(document, variable_values=variables, context_value=context)
        known = self._documents.get(document)
        assert known, result.errors
        planned, failures = known.plans[None], Failures()
        assert planned
        self.statements.clear()
        pieces = await planned.write(self.context.for_operation(), variables, failures)
        fast = None if pieces is None else {"data": json.loads("".join(pieces))}
        return Answers(present(result, is_admin=True)[0], fast, failures)


@pytest.fixture
def ways(graph: GraphTables, open_store: OpenStore, statements: list[str]) -> BothWays:
    """Both ways over TPC-H."""
    return BothWays(graph.open(open_store), statements)


@pytest.fixture
def odd(odd_graph: GraphTables, open_store: OpenStore, statements: list[str]) -> BothWays:
    """Both ways over odd rows."""
    return BothWays(odd_graph.open(open_store), statements)


@pytest.mark.parametrize(("document", "statements_sent"), DOCUMENTS.values(), ids=DOCUMENTS)
async def test_both_ways_answer_alike(ways: BothWays, document: str, statements_sent: int) -> None:
    """The fast one sends one statement for a root field, whatever is nested in it."""
    answers = await ways.answer(document)
    assert "errors" not in answers.ordinary
    assert answers.fast == answers.ordinary
    assert len(ways.statements) == statements_sent


@pytest.mark.parametrize("document", [document for document, _ in DOCUMENTS.values()], ids=DOCUMENTS)
async def test_odd_rows_are_answered_alike_or_left_to_the_ordinary_path(odd: BothWays, document: str) -> None:
    """A value that its type refuses is reported at its own field, which only graphql-core does."""
    answers = await odd.answer(document)
    assert answers.fast in (None, answers.ordinary)
    assert (answers.fast is None) == ("errors" in answers.ordinary)


@pytest.mark.parametrize("direction", ["ASC", "DESC"])
@pytest.mark.parametrize("field", ["TOTAL_PRICE", "ORDER_KEY", "ORDER_DATE"])
@pytest.mark.parametrize(
    ("size", "cursor", "end"), [("first", "after", "endCursor"), ("last", "before", "startCursor")]
)
async def test_a_nested_connection_is_paged_to_its_end(
    odd: BothWays, field: str, direction: str, size: str, cursor: str, end: str
) -> None:
    """Cursors of the fast way lead both ways to the same pages, past nulls too."""
    document = f"""query($at: String) {{ customer(customerKey: 4) {{
        orders({size}: 1, {cursor}: $at, orderBy: {{field: {field}, direction: {direction}}}) {{
            edges {{ cursor node {{ orderKey }} }} {PAGE_INFO} }} }} }}"""
    at, seen = None, []
    for _ in range(4):
        answers = await odd.answer(document, at=at)
        assert answers.fast == answers.ordinary
        page = answers.ordinary["data"]["customer"]["orders"]
        seen += [edge["node"]["orderKey"] for edge in page["edges"]]
        at = page["pageInfo"][end]
    assert sorted(seen, key=int) == ["1", "2", "3", "6"]
    assert page["pageInfo"]["hasNextPage" if size == "first" else "hasPreviousPage"] is False


async def test_a_text_of_any_characters_is_in_a_cursor(odd: BothWays) -> None:
    """Names are sorted by code points, and a cursor holds the name."""
    document = f"""query($at: String) {{ nation: node(id: "TmF0aW9uOjg=") {{ ... on Nation {{
        customers(first: 1, after: $at, orderBy: {{field: NAME}}) {{ edges {{ cursor node {{ name }} }} {PAGE_INFO} }}
    }} }} }}"""
    answers = await odd.answer(document)
    assert answers.fast == answers.ordinary
    name = answers.ordinary["data"]["nation"]["customers"]["edges"][0]["node"]["name"]
    assert name.startswith('"')
    at = answers.ordinary["data"]["nation"]["customers"]["pageInfo"]["endCursor"]
    answers = await odd.answer(document, at=at)
    assert answers.fast == answers.ordinary


@pytest.mark.parametrize("order_by", ["", ", orderBy: {field: TOTAL_PRICE}"])
async def test_a_nested_cursor_belongs_to_one_parent(ways: BothWays, order_by: str) -> None:
    """The page of that parent alone is answered by both ways; below others the ordinary path reports the error."""
    document = f"query($at: String) {{ customers(first: 5) {{ nodes {{ orders(first: 1, after: $at{order_by}) {{ edges {{ cursor }} }} }} }} }}"
    first = (await ways.answer(document)).ordinary["data"]["customers"]["nodes"]
    cursor = next(edge["cursor"] for node in first for edge in node["orders"]["edges"])
    answers = await ways.answer(document, at=cursor)
    assert answers.fast is None
    assert {error["extensions"]["reason"] for error in answers.ordinary["errors"]} == {"CURSOR_INVALID"}
    assert [node["orders"] is not None for node in answers.ordinary["data"]["customers"]["nodes"]].count(True) == 1
    for bad in ("", "x", "W10=", "WzEsIm9yZGVycy5jdXN0b21lcl9rZXkub3JkZXJfa2V5KyIsIjEiLDFd"):
        assert (await ways.answer(document, at=bad)).fast is None


async def test_arguments_are_checked_before_anything_is_read(ways: BothWays) -> None:
    """A nested page that is too large costs no statement on the fast path."""
    answers = await ways.answer("query($n: Int) { orders { nodes { lineItems(first: $n) { nodes { id } } } } }", n=1001)
    assert answers.fast is None
    assert ways.statements == []
    assert answers.ordinary["errors"][0]["extensions"]["reason"] == "PAGE_SIZE_INVALID"


async def test_a_table_that_is_missing_costs_its_own_fields_alone(
    graph: GraphTables, open_store: OpenStore, statements: list[str]
) -> None:
    """The plan leaves the answer to the ordinary path, which may read the orders again."""
    tables = {**graph.tables, "customers": "graph.nowhere"}
    ways = BothWays(graph.open(open_store, tables=tables), statements)
    answers = await ways.answer(DETAIL)
    assert answers.fast is None
    assert answers.failures.replayed(ways.context) is ways.context
    assert {error["extensions"]["reason"] for error in answers.ordinary["errors"]} == {"TABLE_UNAVAILABLE"}
    nodes = answers.ordinary["data"]["orders"]["nodes"]
    assert all(node["customer"] is None and node["lineItems"]["nodes"] for node in nodes)


async def test_a_missing_table_is_not_looked_up_for_each_request(
    graph: GraphTables, open_store: OpenStore, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor are the others, whatever asks for it: the catalog is read again after a while."""
    lookups: list[str] = []
    read = Definition.read

    async def note_and_read(definition: Definition, connection: AsyncConnection) -> dict[str, str]:
        lookups.append(definition.table.name)
        return await read(definition, connection)

    monkeypatch.setattr(Definition, "read", note_and_read)
    monkeypatch.setattr("server.tables.catalog.synced_table._LOOK_AGAIN_SECONDS", PATIENCE_SECONDS)
    tables = {**graph.tables, "customers": "public.nowhere"}
    ways = BothWays(graph.open(open_store, tables=tables), statements)
    for _ in range(3):
        assert (await ways.answer(DETAIL)).fast is None
    assert sorted(lookups) == sorted(["orders", *tables])
