"""Plans of documents over several tables: what they ask the store for, and their bounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest
from graphql import OperationDefinitionNode, parse

from schema import build_schema
from schema.context import Context, PageLimits
from schema.graph import TABLES
from schema.limits.formulas import Formula
from schema.orders.types import ORDERS
from schema.permissions import Principal, Role
from schema.plans.arguments import UnplannedError
from schema.plans.operation import PlannedOperation
from schema.plans.replay import Failures
from schema.ports.templates import JsonPage, NestedPage, NestedRow
from schema.relay.cursors import encode_cursor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from schema.ports.columns import Table
    from schema.ports.tables import TableStore
    from schema.ports.templates import NestedRequest, Template
    from schema.ports.values import Key, PageRequest

SCHEMA = build_schema(tables=TABLES, plans=True)
LINES = TABLES["line_items"]


@dataclass
class RecordingStore:
    """A store whose pages and rows are all written alike. It remembers what it was asked for."""

    pages: list[tuple[PageRequest, tuple[Template, ...], tuple[NestedRequest, ...]]] = field(default_factory=list)
    rows: list[tuple[Table, list[Key], tuple[NestedRequest, ...]]] = field(default_factory=list)

    async def json_page(
        self,
        request: PageRequest,
        templates: tuple[Template, ...],
        *,
        ends: bool,
        nested: tuple[NestedRequest, ...] = (),
    ) -> JsonPage:
        """A page of one row."""
        self.pages.append((request, templates, nested))
        end = ((), (1,)) if ends else None
        return JsonPage(("1",) * len(templates), more_ahead=False, any_behind=False, first=end, last=end)

    async def json_rows(
        self,
        table: Table,
        keys: Sequence[Key],
        templates: tuple[Template, ...],
        *,
        nested: tuple[NestedRequest, ...] = (),
    ) -> Mapping[Key, tuple[str, ...]]:
        """All rows exist."""
        self.rows.append((table, list(keys), nested))
        return {key: tuple(f'"{table} {index}"' for index in range(len(templates))) for key in keys}


def plan(document: str) -> PlannedOperation:
    """The plan of a document."""
    ast = parse(document)
    operation = cast("OperationDefinitionNode", ast.definitions[0])
    return PlannedOperation(SCHEMA, ast, operation, Formula())


async def write(document: str, store: RecordingStore, **variables: object) -> str | None:
    """What the plan of a document writes."""
    nothing: Any = None
    context = Context(
        principal=Principal("tester", frozenset({Role.READER})),
        tables=cast("TableStore", store),
        orders=nothing,
        groups=nothing,
        new_lookup=nothing,
        statuses=nothing,
        history=nothing,
        new_change_lookup=nothing,
        feed=nothing,
        lakebase=nothing,
        limits=PageLimits(),
    )
    pieces = await plan(document).write(context, variables, Failures())
    return None if pieces is None else "".join(pieces)


async def test_each_nested_page_has_its_own_arguments() -> None:
    """Under different keys the same relation is different pages. Without a size a page has 20 entries."""
    store = RecordingStore()
    document = (
        """query($n: Int) { orders { nodes { a: lineItems(last: $n) { nodes { id } } lineItems { totalCount } } } }"""
    )
    assert await write(document, store, n=3) == '{"orders":{"nodes":[1]}}'
    ((_, (template,), nested),) = store.pages
    assert [part.number for part in template.parts if isinstance(part, NestedPage)] == [0, 1]
    assert [(request.page.size, request.page.backward, request.parent) for request in nested] == [
        (3, True, None),
        (20, False, None),
    ]
    assert {request.page.ordering.within for request in nested} == {LINES["order_key"]}


async def test_a_nested_cursor_names_its_parent() -> None:
    """The store is told whose page the position is in."""
    store = RecordingStore()
    document = "query($at: String) { orders { nodes { lineItems(after: $at) { nodes { id } } } } }"
    await write(document, store)
    ordering = store.pages[0][2][0].page.ordering
    await write(document, store, at=encode_cursor(ordering, (), (7, 2), 7))
    (request,) = store.pages[1][2]
    assert request.parent == 7
    assert request.page.position is not None
    assert request.page.position.key == (7, 2)


@pytest.mark.parametrize(
    "arguments", ["first: 1001", "first: 1, last: 1", 'after: "x"', 'after: "W10"', 'before: "WzEsIngiLCIxIiwxXQ"']
)
async def test_an_invalid_argument_of_a_nested_page_reads_nothing(arguments: str) -> None:
    """The ordinary path reports it."""
    store = RecordingStore()
    assert await write(f"{{ orders {{ nodes {{ lineItems({arguments}) {{ nodes {{ id }} }} }} }} }}", store) is None
    assert store.pages == []


async def test_rows_that_lead_to_others_are_read_in_calls_of_their_own() -> None:
    """Rows that do not share a call by all their templates."""
    store = RecordingStore()
    written = await write(
        "{ a: order(orderKey: 1) { clerk } b: order(orderKey: 2) { comment } c: order(orderKey: 3) { customer { name } } }",
        store,
    )
    assert written == '{"a":"orders 0","b":"orders 1","c":"orders 0"}'
    assert [(table, keys) for table, keys, _ in store.rows] == [(ORDERS, [(1,), (2,)]), (ORDERS, [(3,)])]


async def test_the_type_of_an_id_decides_what_is_read() -> None:
    """Also of ids with keys of several parts. An id of a type that is no table's is left to the ordinary path."""
    store = RecordingStore()
    document = "query($ids: [ID!]!) { nodes(ids: $ids) { id ... on Order { customer { name } } } }"
    ids = ["TGluZUl0ZW06MTox", "T3JkZXI6MQ==", "TGluZUl0ZW06MTox"]
    assert await write(document, store, ids=ids) == '{"nodes":["line_items 0","orders 0","line_items 0"]}'
    assert [(table, keys) for table, keys, _ in store.rows] == [(LINES, [(1, 1)]), (ORDERS, [(1,)])]
    for bad in ("TGluZUl0ZW06MQ==", "TGluZUl0ZW06MTow", "T3JkZXJTdGF0dXNDaGFuZ2U6MQ=="):
        assert await write(document, store, ids=[bad]) is None


async def test_a_selection_without_a_plan_concerns_its_own_type_alone() -> None:
    """Status changes are not in a table."""
    store = RecordingStore()
    document = "query($id: ID!) { node(id: $id) { id ... on Order { statusChanges { nodes { version } } } } }"
    assert await write(document, store, id="Q3VzdG9tZXI6MQ==") == '{"node":"customers 0"}'
    assert await write(document, store, id="T3JkZXI6MQ==") is None


def test_a_statement_has_a_bounded_number_of_places_at_all_depths() -> None:
    """A caller cannot choose how long it is."""
    aliases = " ".join(f"a{n}: name" for n in range(98))
    document = f"{{ orders {{ nodes {{ clerk customer {{ {aliases} }} }} }} }}"
    assert plan(document)
    with pytest.raises(UnplannedError):
        plan(document.replace("clerk", "clerk comment"))


def test_fragments_cannot_repeat_a_selection_without_bound() -> None:
    """A short document may select as much as a long one."""
    fragments = " ".join(
        f"fragment F{n} on Order {{ a: customer {{ orders {{ nodes {{ ...F{n + 1} }} edges {{ node {{ ...F{n + 1} }} }} }} }} }}"
        for n in range(20)
    )
    with pytest.raises(UnplannedError):
        plan(f"{{ orders {{ nodes {{ ...F0 }} }} }} {fragments} fragment F20 on Order {{ clerk }}")


async def test_merged_selections_are_one_part() -> None:
    """As graphql-core merges fields with the same key."""
    document = "{ orders { nodes { customer { name } customer { nation { name } } ...M } } } fragment M on Order { customer { phone } }"
    store = RecordingStore()
    await write(document, store)
    ((_, (template,), _),) = store.pages
    (customer,) = [part for part in template.parts if not isinstance(part, str)]
    assert isinstance(customer, NestedRow)
    assert len([part for part in customer.parts if not isinstance(part, str)]) == 3
