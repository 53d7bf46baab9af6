"""The cost of an operation: compared with costs worked out by hand, for any variables, and for every list."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from graphql import (
    FieldNode,
    NameNode,
    OperationDefinitionNode,
    SelectionSetNode,
    Visitor,
    get_introspection_query,
    get_operation_ast,
    parse,
    validate,
    visit,
)
from graphql import build_schema as build_graphql_schema
from hypothesis import given, settings
from hypothesis import strategies as st

from schema import DocumentLimits, build_schema
from schema.context import PageLimits
from schema.errors import LimitError, Reason
from schema.graph import TABLES
from schema.limits.cost import check_cost, formula_of
from schema.limits.prices import PRICES, SIZES, check_sizes
from schema.ports.statistics import NO_STATISTICS
from schema.tables.registry import REGISTERED
from tests.schema.limits.test_scans import LARGE
from tests.servers.process import ROOT
from tests.support.examples import examples

if TYPE_CHECKING:
    from graphql import DocumentNode

    from schema.limits.formulas import Formula

SCHEMA = build_schema(tables=TABLES)._schema  # noqa: SLF001 # Strawberry has no public way to it
PAGES = PageLimits(default=50, maximum=1_000)
SCALARS = " ".join(
    name
    for name, field in SCHEMA.type_map["Order"].fields.items()  # type: ignore[attr-defined] # an object type
    if name not in {"statusChanges", "customer", "lineItems"}
)
MOST = 1 << 62


def formula(document: str) -> Formula:
    """The formula of a document, which has to be valid."""
    parsed = parse(document)
    assert not validate(SCHEMA, parsed)
    operation = get_operation_ast(parsed)
    assert operation
    return formula_of(SCHEMA, parsed, operation)


def cost(document: str, **variables: Any) -> int:
    """What an operation costs."""
    return points(formula(document), **variables)


def points(operation: Formula, **variables: Any) -> int:
    """What a formula comes to, if nothing is known of the orders."""
    return operation.evaluate(variables, PAGES, lambda _table: NO_STATISTICS)


@pytest.mark.parametrize(
    ("document", "variables", "worked_out"),
    [
        ("{ __typename }", {}, 1),
        ("{ order(orderKey: 1) { id clerk } }", {}, 1 + 2),
        # A field that is selected twice is read once, even through fragments.
        ("{ order(orderKey: 1) { id id ...F ...F } } fragment F on Order { id clerk }", {}, 1 + 2),
        (
            "{ ...A ...B } fragment A on Query { order(orderKey: 1) { id } } fragment B on Query { order(orderKey: 1) { id clerk } }",
            {},
            1 + 2,
        ),
        # The same holds if one of them selects the field of an interface, as Relay does.
        ('{ node(id: "a") { __typename id ...F } } fragment F on Order { id clerk }', {}, 1 + 3),
        ('{ node(id: "a") { __typename ...F } } fragment F on Order { __typename clerk }', {}, 1 + 2),
        ("{ __typename orders(first: 7) { __typename nodes { __typename a: __typename } } }", {}, 1 + 3 + 7 * 2),
        ('{ node(id: "a") { id ... on Node { id ... on Order { id } } ... on Operation { id state } } }', {}, 1 + 2),
        (
            "mutation { setOrderStatus(input: {orderKey: 1, status: OPEN}) { order { id } ...F } } fragment F on OrderStatusOutcome { order { id clerk } ... on SetOrderStatusPayload { order { clerk } } }",
            {},
            10 + 1 + 2,
        ),
        ("{ a: order(orderKey: 1) { id } b: order(orderKey: 2) { id } }", {}, 2 * (1 + 1)),
        ("{ orders { nodes { id clerk } } }", {}, 1 + 1 + 50 * 2),
        ("{ orders(first: 7) { edges { cursor node { id clerk } } pageInfo { endCursor } } }", {}, 4 + 7 * 4),
        ("{ orders(last: 7) { nodes { id } } }", {}, 2 + 7),
        ("{ orders(first: 0) { nodes { id } } }", {}, 2),
        # An element has to be found, even if only its type is asked for.
        ("{ orders(first: 7) { nodes { __typename } } }", {}, 2 + 7),
        ("query($n: Int) { orders(first: $n) { nodes { id } } }", {"n": 9}, 2 + 9),
        ("query($n: Int) { orders(first: $n) { nodes { id } } }", {}, 2 + 50),
        ("query($n: Int = 3) { orders(first: $n) { nodes { id } } }", {}, 2 + 3),
        ("query($n: Int = 3) { orders(first: $n) { nodes { id } } }", {"n": None}, 2 + 50),
        ("{ orders(first: 7) { totalCount } }", {}, 1 + 1_000),
        ("{ orders(first: 7) { totalCount(precision: ESTIMATED) } }", {}, 1 + 10),
        ("query($p: CountPrecision) { orders { totalCount(precision: $p) } }", {"p": "ESTIMATED"}, 1 + 10),
        ("query($p: CountPrecision) { orders { totalCount(precision: $p) } }", {}, 1 + 1_000),
        (
            "{ orders(first: 2) { nodes { statusChanges(first: 3) { nodes { id note } } } } }",
            {},
            2 + 2 * (20 + 1 + 3 * 2),
        ),
        ("{ ordersPage(pageSize: 4) { nodes { id } hasNextPage } }", {}, 10 + 1 + 4 + 1),
        ("{ ordersPage { totalCount totalPages } }", {}, 10 + 2_000),
        ("{ orderSample { id } }", {}, 20 + 10),
        ("query($n: Int) { orderSample(size: $n) { id clerk } }", {"n": 5}, 20 + 5 * 2),
        ("{ orderCount { count } }", {}, 1_000 + 1),
        ("{ orderStats { count byStatus { count } byPriority { count } } }", {}, 3_000 + 1 + 4 + 6),
        ('{ nodes(ids: ["a", "b"]) { id } }', {}, 1 + 2 + 2),
        ("query($i: [ID!]!) { nodes(ids: $i) { ... on Order { id clerk } } }", {"i": ["a"] * 9}, 1 + 9 + 9 * 2),
        ("query($i: ID!) { nodes(ids: [$i, $i]) { id } }", {"i": "a"}, 1 + 2 + 2),
        ('{ orders(first: 1, filter: {clerk: {in: ["a", "b"]}}) { nodes { id } } }', {}, 2 + 2 + 1),
        (
            "query($f: OrderFilter) { orders(first: 1, filter: $f) { nodes { id } } }",
            {"f": {"clerk": {"in": ["a", "b"]}, "orderKey": {"in": [1] * 5}}},
            2 + 7 + 1,
        ),
        (
            "query($k: [BigInt!]) { orders(first: 1, filter: {orderKey: {in: $k}}) { nodes { id } } }",
            {"k": [1, 2, 3]},
            2 + 3 + 1,
        ),
        ("subscription($k: [BigInt!]) { orderStatusChanged(orderKeys: $k) { id } }", {"k": [1, 2]}, 30 + 2 + 1),
        ("mutation { setOrderStatus(input: {orderKey: 1, status: OPEN}) { order { id } } }", {}, 10 + 1 + 1),
        (
            "mutation($i: SetOrderStatusesInput!) { setOrderStatuses(input: $i) { results { order { id } } } }",
            {"i": {"changes": [{"orderKey": 1, "status": "OPEN"}] * 6}},
            10 + 6 + 1 + 6 * 2,
        ),
        ("{ databaseInstances(first: 500) { nodes { name } } }", {}, 100 + 1 + 100),
        # Two calls for each instance, however many fields of its computes are selected.
        ("{ databaseInstances(first: 9) { edges { node { name host } } } }", {}, 100 + 1 + 9 * (1 + 2 + 200)),
        (
            "{ databaseInstances(first: 9) { nodes { ... on Node { ... on DatabaseInstance { host state } } } } }",
            {},
            100 + 1 + 9 * (2 + 200),
        ),
        ("{ lakebase { syncedTable { indexes { name } } } }", {}, 100 + 100 + 100 + 10),
        # A call for each table that can be served, and for its indexes.
        (
            "{ lakebase { syncedTables { indexes { name } } } }",
            {},
            100 + len(REGISTERED) * (100 + 100 + 10),
        ),
    ],
)
def test_the_cost_is_as_worked_out_by_hand(document: str, variables: dict[str, Any], worked_out: int) -> None:
    """A point for each field, times the length of its list. A field that is more work than a value has a price."""
    assert cost(document, **variables) == worked_out


def test_the_largest_page_and_list_are_within_the_default_limit() -> None:
    """A page of 1,000 orders with all their fields, and 1,000 changes with the result of each."""
    limit = DocumentLimits().cost
    page = f"{{ __typename orders(first: 1000) {{ __typename edges {{ __typename cursor node {{ __typename {SCALARS} }} }} pageInfo {{ endCursor }} totalCount }} }}"
    assert cost(page) < limit
    changes = "mutation($i: SetOrderStatusesInput!) { setOrderStatuses(input: $i) { results { order { id status statusVersion } change { version status changedAt } userErrors { code message } } } }"
    given_ = [{"orderKey": key, "status": "OPEN", "note": "n" * 1_000} for key in range(1_000)]
    assert cost(changes, i={"changes": given_}) < limit
    assert cost(f"{{ orders(first: 1000) {{ nodes {{ {SCALARS} statusChanges {{ nodes {{ id }} }} }} }} }}") > limit


class Typenames(Visitor):
    """Selects `__typename` in every selection below the root, as Apollo Client, urql and Relay do."""

    def enter_selection_set(self, node: SelectionSetNode, _key: object, parent: object, *_: object) -> SelectionSetNode:
        """A selection with it."""
        if isinstance(parent, OperationDefinitionNode):
            return node
        return SelectionSetNode(selections=(FieldNode(name=NameNode(value="__typename")), *node.selections))


def examples_of_clients() -> list[str]:
    """The documents of the READMEs and of GraphiQL's tabs."""
    readmes = (path.read_text() for path in (ROOT / "README.md", *ROOT.glob("s*/**/*.md")))
    tabs = (ROOT / "server/graphql/graphiql/static/graphiql.js").read_text()
    shown = [text for readme in readmes for text in re.findall(r"```graphql\n(.*?)```", readme, re.DOTALL)]
    return [*shown, *re.findall(r"query: `(.*?)`", tabs, re.DOTALL)]


def test_the_examples_are_within_the_default_limit_for_clients_that_add_typename() -> None:
    """With the largest pages, and a million and a half orders with the indexes that the API builds."""
    documents: list[DocumentNode] = [visit(parse(text), Typenames()) for text in examples_of_clients()]
    assert len(documents) > 10
    for document in documents:
        for operation in document.definitions:
            if isinstance(operation, OperationDefinitionNode):
                priced = formula_of(SCHEMA, document, operation)
                assert priced.evaluate({"first": 1_000}, PAGES, lambda _table: LARGE) < DocumentLimits().cost


@pytest.mark.parametrize(
    "size", [-1, "5", 1.5, True, [], {}, float("inf"), float("nan"), -(2**70), "x" * 1_000, [1] * 1_000]
)
def test_an_invalid_page_size_counts_as_none_or_as_zero(size: object) -> None:
    """Other checks refuse it."""
    assert cost("query($n: Int) { orders(first: $n) { nodes { id } } }", n=size) in {2, 2 + 50}


@pytest.mark.parametrize("size", [1_001, 2**31, 2**63, 10**400, 1e300, 1_000.0])
def test_too_large_a_page_size_costs_as_much_as_the_largest(size: object) -> None:
    """The resolver refuses the size, so no more is ever read."""
    assert cost("query($n: Int) { orders(first: $n) { nodes { id } } }", n=size) == 2 + 1_000


OPERATIONS = [
    formula(document)
    for document in (
        "query($n: Int, $f: OrderFilter) { orders(first: $n, filter: $f) { nodes { id } } }",
        "query($i: [ID!]!) { nodes(ids: $i) { id } }",
        "mutation($i: SetOrderStatusesInput!) { setOrderStatuses(input: $i) { results { order { id } } } }",
        "query($k: [BigInt!]) { orders(filter: {orderKey: {in: $k}}) { nodes { id } } }",
    )
]


@pytest.mark.faults
@given(
    st.dictionaries(
        st.sampled_from("nifk"),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["changes", "in", "clerk", "orderKey"]), inner)
            ),
        ),
    )
)
@settings(max_examples=examples(80, many=200))
def test_no_variables_break_the_evaluation(variables: dict[str, Any]) -> None:
    """The cost is evaluated before anything else looks at the variables."""
    for operation in OPERATIONS:
        assert 0 < points(operation, **variables) < MOST


def test_the_cost_of_pages_within_pages_is_a_number_that_json_can_hold() -> None:
    """The reported cost is a number that every JSON parser reads exactly."""
    document = "{ orderStatusChanges(first: 1000) { nodes { " * 1 + "order { statusChanges(first: 1000) { nodes { " * 7
    document += "id" + " } } }" * 7 + " } } }"
    operation = formula(document)
    assert points(operation) > 10**24
    with pytest.raises(LimitError) as refused:
        check_cost(operation, points(operation), 20_000)
    assert refused.value.reason is Reason.COST_EXCEEDED
    assert refused.value.details == {"limit": "cost", "requested": 2**53 - 1, "allowed": 20_000}


def test_a_cost_at_the_limit_passes_and_one_point_more_does_not() -> None:
    """The error has both numbers."""
    operation = formula("query($n: Int) { orders(first: $n) { nodes { id } } }")
    check_cost(operation, points(operation, n=10), 12)
    with pytest.raises(LimitError) as refused:
        check_cost(operation, points(operation, n=11), 12)
    assert refused.value.details == {"limit": "cost", "requested": 13, "allowed": 12}


def test_introspection_is_within_any_cost_limit_but_bounded() -> None:
    """It has a cost, but a bound of its own."""
    operation = formula(get_introspection_query())
    assert points(operation) > 1_000
    check_cost(operation, points(operation), 1)
    everything = "fields { name args { name type { name fields { name args { name } } } } }"
    document = f"{{ __schema {{ {' '.join(f'a{n}: types {{ {everything} }}' for n in range(10))} }} }}"
    with pytest.raises(LimitError) as refused:
        formula(document)
    assert refused.value.details["limit"] == "introspection"


def test_introspection_has_one_bound_for_the_whole_operation() -> None:
    """A selection that is within the bound once exceeds it under twenty aliases."""
    everything = (
        "__schema { types { fields { args { type { ofType { ofType { name } } } } type { fields { name } } } } }"
    )
    formula(f"{{ {everything} }}")
    with pytest.raises(LimitError) as refused:
        formula(f"{{ {' '.join(f'a{n}: {everything}' for n in range(20))} }}")
    assert refused.value.details["limit"] == "introspection"


def test_every_list_of_the_schema_has_a_length() -> None:
    """`build_schema` refuses a schema with a list of unknown length, and no table names a field that does not exist."""
    check_sizes(SCHEMA)
    for coordinate in (*SIZES, *PRICES):
        type_name, field = coordinate.split(".")
        assert field in SCHEMA.type_map[type_name].fields, coordinate  # type: ignore[attr-defined] # an object type
    with pytest.raises(ValueError, match=r"Thing\.parts"):
        check_sizes(build_graphql_schema("type Query { thing: Thing } type Thing { parts: [Thing] }"))
